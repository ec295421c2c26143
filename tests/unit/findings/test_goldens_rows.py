"""Goldens replayed on a target, with the runtime's guard against saturation and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fixtures.measured import candidate, report, row, with_ram

from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.report import Report


class Haswell:
    """A target that only pretends to be a CPU."""

    name = "emulated:Haswell"
    kind = "emulated"
    times = False


def replayed(*differences: float) -> list[dict[str, Any]]:
    return [
        {"name": f"input {index}", "passed": away <= 0.0124, "difference": away, "tolerance": 0.0124}
        for index, away in enumerate(differences)
    ]


def reported(tmp_path: Path, manifest: Manifest, **goldens: Any) -> Report:
    emulated = {"emulator": "qemu-user 10.0.13", "kernels": ["VPMADDUBSW"], **goldens}
    return report(tmp_path, manifest, candidate(), Limits(), with_ram(2**30), None, None, Haswell(), **emulated)


def test_goldens_that_only_the_guard_holds_are_named(tmp_path: Path, manifest: Manifest) -> None:
    found = reported(tmp_path, manifest, goldens=replayed(0, 0, 0), unsafe_goldens=replayed(0.001, 0.0144, 0.0175))
    assert row(found, "goldens that fail").measured == 0
    unguarded = row(found, "goldens that fail without the guard")
    assert (unguarded.measured, unguarded.limit, found.status) == (2, None, "passed")
    (note,) = [note for note in found.notes if "saturate" in note]
    assert "input 1 differs by 0.0144 (tolerance 0.0124), input 2 differs by 0.0175 (tolerance 0.0124)" in note
    assert note.endswith("an app that opens onnx/model.onnx with plain ONNX Runtime must set it")


def test_what_fails_with_the_guard_too_is_no_saturation(tmp_path: Path, manifest: Manifest) -> None:
    found = reported(tmp_path, manifest, goldens=replayed(0.5), unsafe_goldens=replayed(0.5))
    assert row(found, "goldens that fail").passed is False
    assert row(found, "goldens that fail without the guard").measured == 0
    assert not [note for note in found.notes if "saturate" in note]


def test_without_a_run_without_the_guard_nothing_is_said_of_it(tmp_path: Path, manifest: Manifest) -> None:
    found = reported(tmp_path, manifest, goldens=replayed(0.0062))
    told = row(found, "goldens that fail").where
    assert told.endswith("1 replayed, input 0 nearest to its tolerance: 50% of it")
    assert not [each for each in found.rows if "guard" in each.name]
    assert all("latency" not in each.name and "RSS" not in each.name for each in found.rows)
