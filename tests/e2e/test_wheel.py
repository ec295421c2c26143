"""What is shipped: the built wheel, installed outside the checkout, packs; its bundle runs with the runtime's wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from fixtures import environments, tiny_models

import edgekit

pytestmark = pytest.mark.engines

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED_KINDS = {
    "edgekit": {".py", ".typed", ".json", ".txt", ".css", ".html", ".js", ".svg"},
    "device_profiles": {".toml"},
    "runtimes/python": {".py", ".typed", ".toml", ".md"},
    "runtimes/js": {".js", ".json", ".ts", ".md"},
    "runtimes/c": {".c", ".h", ".txt", ".md"},
    "runtimes/java": {".java", ".kt", ".kts", ".c", ".txt", ".map", ".pro", ".xml", ".md"},
    "runtimes/swift": {".swift", ".modulemap", ".md"},
}
# What builds and package managers leave in a checkout.
LEFTOVERS = ("runtimes/js/node_modules/left/index.js", "runtimes/swift/.build/x.o", "runtimes/java/build/x.class")
ENTRY_POINT = """
import sys
from importlib.metadata import distribution
(found,) = [each for each in distribution("edgekit").entry_points if each.group == "console_scripts"]
assert found.name == "edgekit", found
sys.exit(found.load()())
"""
LEFT_OUT = {"__pycache__", "node_modules", "build", ".build"}
LOOSE = ("--min-cosine", "0.9", "--max-slowdown", "100")


def build(source: Path, target: str, folder: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(CHECKOUT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(CHECKOUT, "sdist", folder / "built")) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


@dataclass(frozen=True)
class Installed:
    """The wheel in an environment of its own; `elsewhere` is a working directory outside the checkout."""

    python: Path
    site: Path
    elsewhere: Path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.python), *map(str, arguments)],
            cwd=self.elsewhere,
            env={"HOME": str(self.elsewhere), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    def edgekit(self, *words: object) -> str:
        return self.run("-c", ENTRY_POINT, *words).stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    python, site = environments.with_everything_behind(folder / "venv")
    shutil.unpack_archive(wheel, site, "zip")
    (folder / "elsewhere").mkdir()
    return Installed(python, site, folder / "elsewhere")


@pytest.fixture(scope="module")
def packed(installed: Installed) -> Path:
    """A bundle that the installed wheel made from a tiny sentence encoder."""
    tiny_models.tiny_sentence_encoder(installed.elsewhere / "encoder")
    installed.edgekit("pack", "encoder", "--out", "bundle", *LOOSE)
    return installed.elsewhere / "bundle"


def checked_in(folder: str, below: str) -> set[str]:
    """The names, below `below` in the wheel, of the checkout's files in `folder`."""
    root = CHECKOUT / folder
    files = [path for path in root.rglob("*") if path.is_file() and not LEFT_OUT.intersection(path.parts)]
    return {f"{below}/{path.relative_to(root).as_posix()}" for path in files}


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    names = {name for name in contents(wheel) if ".dist-info/" not in name}
    package = checked_in("edgekit", "edgekit")
    profiles = checked_in("device_profiles", "edgekit/data/device_profiles")
    runtimes = checked_in("runtimes", "edgekit/data/runtimes")
    assert names == package | profiles | runtimes
    for folder, kinds in SHIPPED_KINDS.items():
        place = "edgekit/" if folder == "edgekit" else f"edgekit/data/{folder}/"
        inside = {name for name in names if name.startswith(place)}
        inside -= {name for name in inside if folder == "edgekit" and name in profiles | runtimes}
        assert {PurePosixPath(name).suffix for name in inside} == kinds, folder
    assert not [name for name in names if "tests" in name.split("/") or name.split("/")[-1].startswith("test_")]
    (metadata,) = (text.decode() for name, text in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    assert f"Version: {edgekit.__version__}\n" in metadata
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents(wheel))


def test_the_source_distribution_holds_no_leftovers_and_builds_the_same_wheel(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    names = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    assert names >= {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "pyproject.toml"}
    assert names >= {"tests/e2e/test_wheel.py", "examples/demo.py", "benchmarks/README.md", "docs/architecture.md"}
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"__pycache__", "dist", "build", "bundles", ".git", ".venv", ".venv-demo", ".hypothesis"}
    assert not [name for name in names if name.endswith((".pyc", ".onnx", ".gguf", ".safetensors", ".log"))]
    for name in LEFTOVERS:
        (sdist / name).parent.mkdir(parents=True)
        (sdist / name).touch()
    again = contents(build(sdist, "wheel", tmp_path / "again"))
    assert again == contents(wheel)


def test_the_installed_package_is_the_wheels_and_finds_its_data_inside(installed: Installed) -> None:
    code = "import edgekit, edgekit.resources as r; print(edgekit.__file__, r.device_profiles(), r.runtime('python'))"
    package = installed.site / "edgekit"
    expected = (package / "__init__.py", package / "data" / "device_profiles", package / "data" / "runtimes" / "python")
    assert installed.run("-c", code).stdout.split() == [str(path) for path in expected]


def test_the_installed_command_lists_the_devices(installed: Installed) -> None:
    told = installed.edgekit("devices", "list")
    names = [line.split()[0] for line in told.splitlines()[2:]]
    assert names == sorted(path.stem for path in (CHECKOUT / "device_profiles").glob("*.toml"))


def test_the_installed_command_packs_and_its_bundle_verifies_and_answers(installed: Installed, packed: Path) -> None:
    assert edgekit.verify(packed).status == "passed"
    shipped = {path.name for path in (packed / "runtime" / "python" / "edgekit_runtime").iterdir()}
    assert {"__init__.py", "__main__.py", "py.typed"} <= shipped - {"__pycache__"}
    assert "every hash right" in installed.edgekit("verify", "bundle")
    vectors = json.loads(installed.edgekit("run", "bundle", "the sky", "the sea", "--json"))
    assert [len(vector) for vector in vectors] == [64, 64]


def test_the_runtimes_wheel_alone_runs_the_bundle(packed: Path, installed: Installed, tmp_path: Path) -> None:
    runtime = build(CHECKOUT / "runtimes" / "python", "wheel", tmp_path / "dist")
    assert {name.split("/")[0].partition("-")[0] for name in contents(runtime)} == {"edgekit_runtime"}
    assert not [name for name in contents(runtime) if name.endswith(".pyc") or "test" in name]
    python = environments.with_packages(tmp_path / "venv", (*environments.ONNX, *environments.LLAMA))
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    shutil.unpack_archive(runtime, site, "zip")
    bundle = shutil.copytree(packed, tmp_path / "bundle")
    alone = Installed(python, site, tmp_path)
    for absent in ("edgekit", "torch", "transformers"):
        assert alone.run("-c", f"import importlib.util as u; print(u.find_spec({absent!r}))").stdout == "None\n"
    told = alone.run("-m", "edgekit_runtime", bundle, "the sky", "the sea", "--json").stdout
    same = json.loads(installed.edgekit("run", "bundle", "the sky", "the sea", "--json"))
    np.testing.assert_allclose(json.loads(told)["embeddings"], same, atol=1e-6)
    assert "passed" in alone.run("-m", "edgekit_runtime", bundle, "--self-test").stdout
