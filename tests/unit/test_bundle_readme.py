"""A bundle's README.md: for each wrapper that is in it the lines that use it, and of no other."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from fixtures.manifests import minimal
from fixtures.reports import report

from edgekit import bundle_readme
from edgekit.manifest import Manifest
from edgekit.resources import runtime
from edgekit.runtimes import LANGUAGES

HEADINGS = {"python": "Python", "js": "JavaScript", "c": "C", "java": "Java", "swift": "Swift"}
KINDS = {
    "embedding": {},
    "text-classification": {"kind": "classifier", "embedding": None},
    "token-classification": {"kind": "classifier", "embedding": None},
    "image-classification": {"kind": "classifier", "embedding": None, "text": None},
    "causal-lm": {"kind": "base", "engine": "llama.cpp", "embedding": None},
    "chat": {"kind": "chat", "engine": "llama.cpp", "embedding": None, "task": "causal-lm"},
    "tensors": {"kind": "module", "embedding": None, "text": None},
}


def readme(folder: Path, kind: str, languages: tuple[str, ...]) -> str:
    for language in languages:
        (folder / "runtime" / language).mkdir(parents=True)
    made = minimal() | {"task": kind} | KINDS[kind]
    made["provenance"] = {**made["provenance"], "tools": {"edgekit": "1"}}  # type: ignore[dict-item]
    return bundle_readme.text(Manifest.model_validate_json(json.dumps(made)), report(), folder)


@pytest.mark.parametrize("kind", KINDS)
def test_each_language_in_five_lines(tmp_path: Path, kind: str) -> None:
    text = readme(tmp_path, kind, LANGUAGES)
    sections = dict(re.findall(r"^## (\w+)[^\n]*\n\n((?:    .*\n)+)", text, re.MULTILINE))
    assert set(sections) == {"Command", *HEADINGS.values()}
    for name, lines in sections.items():
        assert len(lines.splitlines()) <= 5, name
        assert max(map(len, lines.splitlines())) <= 120, name
    assert "{" not in sections["Command"]
    assert "runtime/python/run.py" in sections["Command"]
    assert ("chat" in sections["C"]) == (kind == "chat")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_of_c_compiles(tmp_path: Path, kind: str) -> None:
    """In a function that has what an app brings: its callback, its pixels, its tensors."""
    (lines,) = re.findall(r"^## C [^\n]*\n\n((?:    .*\n)+)", readme(tmp_path, kind, ("c",)), re.MULTILINE)
    (tmp_path / "app.c").write_text(
        '#include <stdio.h>\n#include "edgekit.h"\n'
        "int on_text(const char *text, void *user);\n"
        "int app(const uint8_t *rgb, int height, int width, const edgekit_tensor *inputs, size_t input_count);\n"
        "int app(const uint8_t *rgb, int height, int width, const edgekit_tensor *inputs, size_t input_count) {\n"
        f"    (void)rgb, (void)height, (void)width, (void)inputs, (void)input_count;\n{lines}    return 0;\n}}\n"
    )
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", str(runtime("c")), "app.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_a_language_that_is_not_there_nothing_is_told(tmp_path: Path, language: str) -> None:
    others = tuple(each for each in LANGUAGES if each != language)
    text = readme(tmp_path, "embedding", others)
    assert f"runtime/{language}" not in text
    assert all(f"## {HEADINGS[each]}" in text for each in others)


def test_a_bundle_without_wrappers_says_how_to_get_one(tmp_path: Path) -> None:
    text = readme(tmp_path, "embedding", ())
    assert "edgekit runtime LANGUAGE" in text
    assert "swift" in text


def test_what_is_built_is_built_in_a_copy(tmp_path: Path) -> None:
    assert "refused" not in readme(tmp_path / "one", "embedding", ("python",))
    assert "refused" in readme(tmp_path / "two", "embedding", ("python", "swift"))
