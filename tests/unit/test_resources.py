"""Whose Python wrapper measures a bundle: its own where it carries one, else edgekit's, and then the report says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import resources


def wrapper(folder: Path) -> Path:
    (folder / "edgekit_runtime").mkdir(parents=True)
    (folder / "edgekit_runtime" / "probe.py").write_text("", encoding="utf-8")
    return folder


def test_the_bundle_s_own_measures_it_and_nothing_is_said(tmp_path: Path) -> None:
    own = wrapper(tmp_path / "runtime" / "python")
    assert resources.probe_runtime(tmp_path) == own
    assert resources.probe_note(tmp_path) is None


@pytest.mark.parametrize("carried", [None, "runtime", "runtime/js", "runtime/python/inner"])
def test_edgekit_s_does_where_there_is_none_or_an_older_one(tmp_path: Path, carried: str | None) -> None:
    if carried is not None:
        wrapper(tmp_path / carried)
    assert resources.probe_runtime(tmp_path) == resources.runtime("python")
    assert "edgekit's own measured it" in (resources.probe_note(tmp_path) or "")
