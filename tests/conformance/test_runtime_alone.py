"""A finished bundle runs in a new virtual environment that has its engine and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import pytest
from edgekit_runtime import goldens
from fixtures import bundles
from fixtures.environments import LLAMA, ONNX, with_packages

from edgekit import runtimes

pytestmark = pytest.mark.engines

ABSENT = ("torch", "transformers", "edgekit", "onnx", "optimum", "huggingface_hub", "PIL", "pydantic", "gguf")


def _run(
    python: Path, *arguments: str, check: bool = True, stdin: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *bundles.STRICT, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment or {},
        cwd=python.parent,  # the checkout's folder would make edgekit importable
        check=check,
    )


def _importable(python: Path, names: Sequence[str]) -> set[str]:
    program = f"import importlib.util as u; print(*[name for name in {list(names)} if u.find_spec(name)])"
    return set(_run(python, "-c", program).stdout.split())


def _packed(make: Callable[[Path], Path], folder: Path, given: Any) -> Path:
    """A bundle as pack leaves it: with goldens and the runtime."""
    make(folder)
    with rt.open(folder, threads=1) as session:
        document = goldens.document([goldens.make_case(session, given, "first")])
    (folder / "golden.json").write_text(json.dumps(document), encoding="utf-8")
    return bundles.add_runtime(folder)


@pytest.fixture(scope="module")
def onnx_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_packages(tmp_path_factory.mktemp("onnx") / "venv", ONNX)


@pytest.fixture(scope="module")
def llama_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_packages(tmp_path_factory.mktemp("llama") / "venv", LLAMA)


def test_the_environments_are_as_bare_as_they_should_be(onnx_python: Path, llama_python: Path) -> None:
    everything = (*ONNX, *LLAMA, *ABSENT)
    assert _importable(onnx_python, everything) == set(ONNX)
    assert _importable(llama_python, everything) == set(LLAMA)


def test_an_embedding_bundle_alone(onnx_python: Path, tmp_path: Path) -> None:
    run = str(_packed(bundles.embedding_bundle, tmp_path / "b", "the sky is blue") / "runtime" / "python" / "run.py")
    told = _run(onnx_python, run, "the sky is blue", "grass", "the sky is blue").stdout
    assert "8 values" in told
    assert " 1.000" in told.splitlines()[-3]
    piped = json.loads(_run(onnx_python, run, "--json", stdin="the sky\n\ngrass\n").stdout)
    assert len(piped["embeddings"]) == 2
    assert "passed  first tokens" in _run(onnx_python, run, "--self-test").stdout
    info = json.loads(_run(onnx_python, run, "--info", "--threads", "1").stdout)
    assert info["task"] == "embedding"
    assert info["runtime"]["threads"] == 1


def test_a_classifier_bundle_alone(onnx_python: Path, tmp_path: Path) -> None:
    run = str(_packed(bundles.tagger_bundle, tmp_path / "b", "the sky is blue") / "runtime" / "python" / "run.py")
    assert "COLOUR  blue" in _run(onnx_python, run, "the sky is blue").stdout
    labels = json.loads(_run(onnx_python, run, "--json", "blue").stdout)["labels"]
    assert labels[0][0]["label"] == "COLOUR"


def test_a_chat_bundle_alone(llama_python: Path, tmp_path: Path) -> None:
    run = str(_packed(bundles.chain_bundle, tmp_path / "b", "A") / "runtime" / "python" / "run.py")
    answered = _run(llama_python, run, "oA")
    assert answered.stdout == "é🌍z!\n"
    assert answered.stderr == ""
    assert json.loads(_run(llama_python, run, "--json", "--max-tokens", "2", "A").stdout) == {"text": "é"}
    assert _run(llama_python, run, "--self-test").stdout.count("passed") == 2


def test_failures_are_one_line_with_the_errors_name(onnx_python: Path, llama_python: Path, tmp_path: Path) -> None:
    bundle = _packed(bundles.embedding_bundle, tmp_path / "b", "blue")
    run = str(bundle / "runtime" / "python" / "run.py")
    wrong_engine = _run(llama_python, run, "blue", check=False)
    assert (wrong_engine.returncode, wrong_engine.stdout) == (1, "")
    assert wrong_engine.stderr.splitlines()[0].endswith("[LoadFailed]")
    assert "pip install onnxruntime tokenizers" in wrong_engine.stderr
    nothing = _run(onnx_python, run, check=False)
    assert (nothing.returncode, nothing.stderr.count("\n")) == (1, 1)
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    garbled = subprocess.run(
        [onnx_python, *bundles.STRICT, run], input=b"caf\xe9\n", capture_output=True, env=strict, check=False
    )
    assert (garbled.returncode, garbled.stderr.count(b"\n")) == (1, 1)
    assert b"is not UTF-8 at byte 3" in garbled.stderr
    usage = _run(onnx_python, run, "--thread-count", "3", check=False)
    assert usage.returncode == 2
    (bundle / "config.json").write_text("{}", encoding="utf-8")
    changed = _run(onnx_python, run, "blue", check=False)
    assert changed.returncode == 1
    assert "config.json is in the bundle's folder and not in its manifest" in changed.stderr


def test_a_golden_that_fails_is_told_by_the_exit_code(onnx_python: Path, tmp_path: Path) -> None:
    bundle = _packed(bundles.embedding_bundle, tmp_path / "b", "blue")
    cases = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    cases["cases"][0]["expected"]["token_ids"][0] += 1
    (bundle / "golden.json").write_text(json.dumps(cases), encoding="utf-8")
    bundles.reseal(bundle)
    run = str(bundle / "runtime" / "python" / "run.py")
    failed = _run(onnx_python, run, "--self-test", check=False)
    assert failed.returncode == 1
    assert "FAILED  first tokens" in failed.stdout
    results = json.loads(_run(onnx_python, run, "--self-test", "--json", check=False).stdout)
    assert [one["passed"] for one in results] == [True, False]


def test_a_bundle_runs_after_it_was_moved_and_made_read_only(onnx_python: Path, tmp_path: Path) -> None:
    bundle = _packed(bundles.embedding_bundle, tmp_path / "b", "blue")
    moved = tmp_path / "elsewhere with spaces é"
    shutil.move(bundle, moved)
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert "8 values" in _run(onnx_python, str(moved / "runtime" / "python" / "run.py"), "blue").stdout
    finally:
        for path in (moved, *moved.rglob("*")):
            path.chmod(0o755)


def test_the_runtime_is_a_package_of_its_own(onnx_python: Path, tmp_path: Path) -> None:
    """Installed by pip from the folder that a bundle carries, it runs as a module on a bundle without a runtime."""
    runtimes.assemble("python", tmp_path / "python")
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", tmp_path / "site", tmp_path / "python"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    (metadata,) = (tmp_path / "site").glob("*.dist-info/METADATA")
    told = metadata.read_text(encoding="utf-8")
    assert f"Version: {rt.__version__}\n" in told
    needed = {line.partition(": ")[2] for line in told.splitlines() if line.startswith("Requires-Dist")}
    assert {name for name in needed if "extra ==" not in name} == {"numpy<3,>=1.26"}
    bundle = bundles.embedding_bundle(tmp_path / "b")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    told = _run(onnx_python, "-m", "edgekit_runtime", str(bundle), "blue", environment=environment).stdout
    assert "8 values" in told


def test_running_twice_leaves_a_bundle_that_still_verifies(onnx_python: Path, tmp_path: Path) -> None:
    bundle = _packed(bundles.embedding_bundle, tmp_path / "b", "blue")
    for _ in range(2):
        _run(onnx_python, str(bundle / "runtime" / "python" / "run.py"), "blue")
    assert list((bundle / "runtime" / "python").rglob("*.pyc"))
    rt.verify(bundle)
