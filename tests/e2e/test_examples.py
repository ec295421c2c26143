"""Every example runs as a person would run it, in a process of its own, and says what it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import environments
from fixtures.packing import minilm_folder

import edgekit

pytestmark = pytest.mark.engines

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUN_HERE = {"app.py", "demo.py", "pack_chat_model.py", "pack_sentence_encoder.py", "pack_torch_module.py"}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a device has: the engines and numpy, but neither edgekit nor torch."""
    packages = (*environments.ONNX, *environments.LLAMA)
    return environments.with_packages(tmp_path_factory.mktemp("bare") / "venv", packages)


def example(name: str, *arguments: object, python: Path = Path(sys.executable)) -> str:
    """The example's standard output."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), str(EXAMPLES / name), *map(str, arguments)],
        env=kept | {"HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == RUN_HERE


def test_the_demo_packs_minilm_and_tells_cats_from_stocks(tmp_path: Path) -> None:
    told = example("demo.py", tmp_path / "bundle")
    assert re.match(r"all-minilm-l6-v2: \S+ for host: passed\n", told)
    rows = [re.findall(r"-?\d\.\d\d", line) for line in told.splitlines() if line.startswith("  [")]
    similarity = [[float(value) for value in row] for row in rows]
    assert [row[index] for index, row in enumerate(similarity)] == [1.0] * 4
    assert min(similarity[0][1], similarity[2][3]) > 0.4 > 0.2 > max(*similarity[0][2:], *similarity[1][2:])
    assert f"bundle: {tmp_path / 'bundle'}" in told
    assert edgekit.verify(tmp_path / "bundle").name == "all-minilm-l6-v2"


def test_a_sentence_encoder_is_packed_and_finds_the_right_document(bare_python: Path, tmp_path: Path) -> None:
    told = example("pack_sentence_encoder.py", minilm_folder(), tmp_path / "bundle")
    assert re.match(r"\S+( \S+)?: mean cosine (0\.9[89]|1\.0)\d+\n", told)
    assert "best match: Hold the power button for ten seconds" in told
    ranked = example("app.py", tmp_path / "bundle", "a small cat", "the bond market", "a kitten", python=bare_python)
    assert [line.split(maxsplit=1)[1] for line in ranked.splitlines()] == ["a kitten", "the bond market"]


def test_a_torch_module_is_packed_and_run_without_torch(bare_python: Path, tmp_path: Path) -> None:
    told = example("pack_torch_module.py", tmp_path / "bundle")
    assert re.match(r"onnx-\S+: mean cosine (0\.9[89]|1\.0)\d+\n", told)
    assert f"python examples/app.py {tmp_path / 'bundle'}" in told
    ran = example("app.py", tmp_path / "bundle", python=bare_python)
    assert re.fullmatch(r"output: float32 \[2, 10\], -?\d+\.\d{3} to -?\d+\.\d{3}\n", ran)


def test_a_chat_model_is_packed_and_answers_the_same_without_edgekit(
    chat_model: Path, bare_python: Path, tmp_path: Path
) -> None:
    told = example("pack_chat_model.py", chat_model, tmp_path / "bundle")
    first, answer = told.split("\n", maxsplit=1)
    assert re.fullmatch(r"gguf \S+: mean KL 0\.0\d{3}, top-1 agreement (0\.[89]\d\d|1\.000)", first)
    assert answer.strip()
    assert example("app.py", tmp_path / "bundle", "What is a list?", python=bare_python) == answer
