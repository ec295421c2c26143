"""Wrappers in bundles and alone: those asked for, whole, and the bundle stays what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.chat_templates import KNOWN, MORE
from fixtures.packing import LOOSE

import edgekit
from edgekit.cli import main
from edgekit.packer import Packed
from edgekit.runtimes import LANGUAGES

pytestmark = pytest.mark.engines

# Of each wrapper a file that an app uses, and one that only its makers have.
FILES = {
    "python": ("edgekit_runtime/__init__.py", "edgekit_runtime/__pycache__"),
    "js": ("index.d.ts", "package-lock.json"),
    "c": ("edgekit.c", "parts"),
    "java": ("src/main/cpp/edgekit/edgekit.c", "src/test"),
    "swift": ("Sources/CEdgekit/include/edgekit.h", "Tests"),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_sentence_encoder(tmp_path_factory.mktemp("runtimes") / "encoder")


@pytest.fixture(scope="module")
def packed_all(encoder: Path) -> Packed:
    return edgekit.pack(
        encoder, "host", out=encoder.parent / "all", strategy="onnx-int8", limits=LOOSE, languages=LANGUAGES
    )


def test_every_wrapper_goes_into_the_bundle_and_counts(packed_all: Packed) -> None:
    folder = packed_all.folder
    assert {path.name for path in (folder / "runtime").iterdir()} == set(LANGUAGES)
    for language, (own, others) in FILES.items():
        wrapper = folder / "runtime" / language
        assert (wrapper / own).is_file(), language
        assert (wrapper / "README.md").is_file(), language
        assert not (wrapper / others).exists(), language
    assert not [path for path in folder.rglob("*") if path.name in ("node_modules", "__pycache__", "probe.c")]
    wrappers = sum(path.stat().st_size for path in (folder / "runtime").rglob("*") if path.is_file())
    assert (packed_all.report.figure("bundle on disk") or 0) > wrappers + packed_all.manifest.memory.file_bytes
    assert edgekit.verify(folder).status == "passed"
    assert not [note for note in packed_all.report.notes if "wrapper" in note]


def test_the_wrappers_are_those_that_are_written_alone(packed_all: Packed, tmp_path: Path) -> None:
    for language in LANGUAGES:
        assert main(["runtime", language, "--out", str(tmp_path / language)]) == 0
        inside = packed_all.folder / "runtime" / language
        written = {path.relative_to(tmp_path / language): path.read_bytes() for path in files(tmp_path / language)}
        assert written == {path.relative_to(inside): path.read_bytes() for path in files(inside)}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_a_bundle_without_python_is_measured_and_says_by_whom(encoder: Path, tmp_path: Path) -> None:
    words = ["pack", str(encoder), "--out", str(tmp_path / "out"), "--runtime", "none", "--max-slowdown", "100"]
    assert main([*words, "--min-cosine", "0.5", "--strategy", "onnx-int8", "--json"]) == 0
    assert not (tmp_path / "out" / "runtime").exists()
    for report in (
        edgekit.Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes()),
        edgekit.validate(tmp_path / "out", history="none"),
    ):
        assert [note for note in report.notes if "no Python wrapper" in note]
        assert report.status == "passed"
    assert edgekit.verify(tmp_path / "out")


def test_an_unknown_language_stops_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["pack", "no such model", "--out", str(tmp_path / "out"), "--runtime", "python,rust"],
        ["runtime", "rust"],
    ):
        assert main(words) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert "'rust'" in said
        assert "python, js, c, java, swift" in said
    assert list(tmp_path.iterdir()) == []


def test_a_wrapper_is_told_of_and_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["runtime", "c", "--out", str(tmp_path / "vendor" / "edgekit")]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["language"], told["folder"], told["files"]) == ("c", str(tmp_path / "vendor" / "edgekit"), 5)
    assert main(words) == 40
    assert main([*words, "--force"]) == 0
    (tmp_path / "vendor" / "edgekit" / "app.c").touch()
    assert main([*words, "--force"]) == 40
    assert "app.c is no part of the c wrapper" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("template", "noted"), [(KNOWN["ChatML"].template, False), (MORE["thinking"], True)])
def test_what_a_language_without_jinja_cannot_do_is_noted(tmp_path: Path, template: str, noted: bool) -> None:
    model = tiny_models.tiny_llama(tmp_path / "model", chat_template=template)
    packed = edgekit.pack(
        model, "host", out=tmp_path / "out", strategy="gguf-Q8_0", limits=LOOSE, languages=("python", "c")
    )
    assert packed.manifest.generation is not None
    assert (packed.manifest.generation.chat_format is None) is noted
    assert bool([note for note in packed.report.notes if "Jinja" in note]) is noted
