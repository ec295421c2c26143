"""What the run within the memory limit adds to a report, and what a miss there teaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fixtures.measured import MIB, Measured, candidate, counting_anonymous, report, row, with_ram

from edgekit import attempts
from edgekit.findings import RUNS_WITHIN
from edgekit.findings.limited import limited_notes
from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.report import Report, show, show_limit
from edgekit.targets import MemoryLimit
from edgekit.validation import Examined, Limited, memory_limit


def within(held: bool | None = True, limit_mib: int = 200, elsewhere_mib: int = 40, **result: Any) -> Limited:
    limit = MemoryLimit(limit_mib * MIB, "resident", elsewhere_mib * MIB)
    measurement = Measured(**result) if held else None
    ended = "" if held else "it was killed there"
    return Limited(limit, "control group v1", held, 160 * MIB, measurement, ended)  # type: ignore[arg-type]


def reported(tmp_path: Path, manifest: Manifest, limited: Limited | None, app_mib: int = 200, **more: Any) -> Report:
    limits = more.pop("limits", Limits())
    return report(tmp_path, manifest, candidate(), limits, with_ram(app_mib * MIB), None, limited, **more)


def test_a_bundle_that_runs_within_the_limit_says_by_what_it_was_held(tmp_path: Path, manifest: Manifest) -> None:
    found = reported(tmp_path, manifest, within())
    told = row(found, RUNS_WITHIN)
    assert (show(told.measured, told.unit), show_limit(told), told.passed, told.flag) == (
        "yes",
        "yes",
        True,
        "--max-ram",
    )
    assert "enforced on Some CPU by control group v1: 200.0 MiB of all resident pages, 40.0 MiB of them" in told.where
    assert "160.0 MiB of its own at most" in told.where
    assert found.status == "passed"


def test_one_that_its_limit_ended_is_a_miss_and_no_error(tmp_path: Path, manifest: Manifest) -> None:
    found = reported(tmp_path, manifest, within(False))
    told = row(found, RUNS_WITHIN)
    assert (show(told.measured, told.unit), told.passed, found.status) == ("no", False, "failed")
    assert told.where.endswith("it was killed there; without a limit its peak was 100.0 MiB")


def test_such_a_miss_teaches_that_more_than_the_limit_is_needed(tmp_path: Path, manifest: Manifest) -> None:
    fits_on_paper = attempts._misses(reported(tmp_path, manifest, within(False)))
    assert [(miss.name, miss.measured, miss.limit) for miss in fits_on_paper] == [
        ("peak RSS", 200 * MIB, 200 * MIB),
    ]
    both = attempts._misses(reported(tmp_path, manifest, within(False, limit_mib=90), app_mib=90))
    assert [(miss.name, miss.measured, miss.limit) for miss in both] == [("peak RSS", 100 * MIB, 90 * MIB)]
    assert attempts._misses(reported(tmp_path, manifest, within())) == []


def test_reading_the_file_again_and_again_is_told_and_held_to_the_same_limit(
    tmp_path: Path, manifest: Manifest
) -> None:
    slow = within(p50_ms=45.0)
    found = reported(tmp_path, manifest, slow, limits=Limits(max_latency_ms=40))
    assert row(found, "latency p50").passed
    assert (row(found, "latency p50 within the memory limit").measured, found.status) == (45.0, "failed")
    (note,) = [note for note in found.notes if "times as slow" in note]
    assert "within 200.0 MiB it is 4.5 times as slow as with all memory" in note
    usual = reported(tmp_path, manifest, within(p50_ms=15.0))
    assert not [each for each in usual.rows if each.name.startswith("latency p50 within")]
    assert not [note for note in usual.notes if "times as slow" in note]


@pytest.mark.parametrize("peak_bytes", [160 * MIB, None])
def test_what_never_reached_the_limit_was_not_slowed_down_by_it(
    tmp_path: Path, manifest: Manifest, peak_bytes: int | None
) -> None:
    slow = replace(within(limit_mib=2000, p50_ms=45.0), peak_bytes=peak_bytes)
    found = reported(tmp_path, manifest, slow, app_mib=2000, limits=Limits(max_latency_ms=40))
    assert (row(found, RUNS_WITHIN).passed, found.status) == (True, "passed")
    assert not [each for each in found.rows if each.name.startswith("latency p50 within")]
    assert not [note for note in found.notes if "times as slow" in note]


def test_a_language_model_s_decoding_is_compared(tmp_path: Path, manifest: Manifest) -> None:
    decoder = manifest.model_copy(update={"task": "causal-lm"})
    slow = within(decode_tokens_per_s=2.0)
    speeds = {"ttft_ms": 60.0, "prefill_tokens_per_s": 2000.0, "decode_tokens_per_s": 30.0, "decode_ms": [33.0]}
    found = reported(tmp_path, decoder, slow, limits=Limits(min_tokens_per_s=5), **speeds)
    told = row(found, "decode speed within the memory limit")
    assert (told.measured, told.passed, told.unit) == (2.0, False, "tokens/s")
    assert any("15.0 times as slow" in note for note in found.notes)


def test_where_nothing_can_be_limited_the_report_says_so(tmp_path: Path, manifest: Manifest) -> None:
    limited = Limited(MemoryLimit(2**28, "resident"), "this system has neither")
    found = reported(tmp_path, manifest, limited)
    assert not [each for each in found.rows if each.name == RUNS_WITHIN]
    assert any("not enforced: this system has neither" in note for note in found.notes)
    assert not [each for each in reported(tmp_path, manifest, None).rows if "within" in each.name]


@pytest.mark.parametrize(("kind", "times", "told"), [("ssh", True, 1), ("emulated", False, 0), ("local", True, 0)])
def test_where_a_target_enforces_no_limit_the_report_says_so(kind: str, times: bool, told: int) -> None:
    examined = cast(Examined, SimpleNamespace(limited=None, target=SimpleNamespace(kind=kind, times=times, name=kind)))
    assert len(limited_notes("embedding", examined, Limits(), with_ram(200 * MIB))) == told


def test_a_limit_beyond_this_machine_s_memory_is_told(tmp_path: Path, manifest: Manifest) -> None:
    found = reported(tmp_path, manifest, within(limit_mib=2**30), app_mib=2**30)
    assert any("more memory for an app than this machine in all" in note for note in found.notes)


def test_what_is_enforced_is_what_an_app_may_use_as_the_device_counts_it() -> None:
    assert memory_limit(Limits(), with_ram(5)) == MemoryLimit(5, "resident")
    assert memory_limit(Limits(max_ram_bytes=3), with_ram(5)) == MemoryLimit(3, "resident")
    assert memory_limit(Limits(), counting_anonymous(5)) == MemoryLimit(5, "anonymous")
    assert memory_limit(Limits(), counting_anonymous(None)) == MemoryLimit(2**34, "resident")  # all of its memory
