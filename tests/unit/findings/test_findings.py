"""Rows from a measurement made up to the millisecond: gates hold, budgets follow the device, nothing is forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.measured import MIB, WHOLE_BYTES, candidate, counting_anonymous, estimated, report, row, with_ram

from edgekit.costs import Estimate
from edgekit.errors import BadReport
from edgekit.findings.rows import flag_of
from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.strategies import Candidate


def test_the_speed_gate_is_missed_by_a_slower_bundle_and_held_by_a_faster(tmp_path: Path, manifest: Manifest) -> None:
    slow = {"baseline_latency_ms": [8.0, 8.0], "paired_latency_ms": [10.0, 10.0]}
    found = report(tmp_path, manifest, candidate(), Limits(), with_ram(2**30), **slow)
    assert (row(found, "latency over fp32").measured, found.status) == (1.25, "failed")
    fast = {"baseline_latency_ms": [16.0], "paired_latency_ms": [10.0]}
    assert report(tmp_path, manifest, candidate(), Limits(), with_ram(2**30), **fast).status == "passed"


def test_without_a_baseline_in_the_engine_the_original_is_the_gate(tmp_path: Path, manifest: Manifest) -> None:
    found = report(tmp_path, manifest, candidate(), Limits(max_slowdown=0.4), with_ram(2**30))
    assert row(found, "latency over fp32").measured == 0.5  # 10 ms against the original's 20
    assert row(found, "latency over fp32").passed is False
    assert "the original" in found.baseline


@pytest.mark.parametrize("made", [candidate(32.0), candidate(4.9, {"preset": "as-is"}), None])
def test_what_is_the_original_itself_is_not_gated_against_it(
    made: Candidate | None, tmp_path: Path, manifest: Manifest
) -> None:
    found = report(tmp_path, manifest, made, Limits(max_slowdown=0.1), with_ram(2**30))
    assert row(found, "latency over fp32").passed is None


@pytest.mark.parametrize(
    ("app_bytes", "max_ram_bytes", "limit", "status"),
    [
        (100 * MIB, None, 100 * MIB, "passed"),
        (100 * MIB - 1, None, 100 * MIB - 1, "failed"),
        (2**30, 99 * MIB, 99 * MIB, "failed"),
        (None, None, WHOLE_BYTES, "passed"),
    ],
)
def test_memory_is_held_against_the_device_or_the_flag(
    app_bytes: int | None, max_ram_bytes: int | None, limit: int | None, status: str, tmp_path: Path, manifest: Manifest
) -> None:
    limits = Limits(max_ram_bytes=max_ram_bytes)
    found = report(tmp_path, manifest, candidate(), limits, with_ram(app_bytes))
    assert (row(found, "peak RSS").limit, found.status) == (limit, status)
    assert any("not known, so only its whole memory" in note for note in found.notes) is (limit == WHOLE_BYTES)


def test_memory_that_could_not_be_read_proves_nothing(tmp_path: Path, manifest: Manifest) -> None:
    found = report(tmp_path, manifest, candidate(), Limits(), with_ram(2**30), peak_rss_bytes=None)
    assert (row(found, "peak RSS").passed, found.status) == (False, "failed")


@pytest.mark.parametrize("asked", [Limits(min_tokens_per_s=1), Limits(max_perplexity_ratio=2), Limits(max_kl=0.01)])
def test_a_limit_asked_by_name_that_nothing_measures_is_missed(
    asked: Limits, tmp_path: Path, manifest: Manifest
) -> None:
    found = report(tmp_path, manifest, candidate(), asked, with_ram(2**30))
    assert [each.name for each in found.missed] == [f"asked by {flag_of(*asked.changed())}"]
    assert found.missed[0].measured is None


def test_a_looser_limit_that_nothing_measures_is_no_miss(tmp_path: Path, manifest: Manifest) -> None:
    loose = replace(Limits(), max_kl=1.0, min_agreement=0.5, context_tokens=64)
    assert report(tmp_path, manifest, candidate(), loose, with_ram(2**30)).status == "passed"


def test_a_classifier_s_kl_is_held_only_when_asked(tmp_path: Path, manifest: Manifest) -> None:
    classifier = manifest.model_copy(update={"task": "text-classification"})
    figures = {"agreement": 1.0, "mean KL": 0.5}
    plain = report(tmp_path, classifier, candidate(), Limits(), with_ram(2**30), figures)
    assert row(plain, "mean KL").limit is None
    asked = report(tmp_path, classifier, candidate(), Limits(max_kl=0.2), with_ram(2**30), figures)
    assert row(asked, "mean KL").passed is False


@pytest.mark.parametrize(("limit_mib", "status"), [(70, "passed"), (69, "failed")])
@pytest.mark.parametrize("by_flag", [False, True])
def test_where_file_backed_pages_do_not_count_the_limit_is_held_against_the_rest(
    limit_mib: int, status: str, by_flag: bool, tmp_path: Path, manifest: Manifest
) -> None:
    profile = counting_anonymous(2**30 if by_flag else limit_mib * MIB)
    limits = Limits(max_ram_bytes=limit_mib * MIB if by_flag else None)
    memory = {"peak_rss_bytes": 100 * MIB, "file_rss_bytes": 30 * MIB, "anonymous_bytes": 60 * MIB}
    found = report(tmp_path, manifest, estimated(), limits, profile, **memory)
    counted, peak = row(found, "counted memory"), row(found, "peak RSS")
    assert (counted.measured, counted.limit, counted.flag) == (70 * MIB, limit_mib * MIB, "--max-ram")
    assert "without file-backed pages, which Test device does not count" in counted.where
    assert (counted.estimate_low, counted.estimate_high) == (50 * MIB, 61 * MIB)
    assert (peak.measured, peak.limit, peak.flag, peak.passed) == (100 * MIB, WHOLE_BYTES, "", True)
    assert peak.where.endswith("held against all memory of Test device")
    assert found.status == status
    assert not any("not known" in note for note in found.notes)


def test_what_was_anonymous_at_the_end_counts_whatever_the_peak_says(tmp_path: Path, manifest: Manifest) -> None:
    memory = {"peak_rss_bytes": 100 * MIB, "file_rss_bytes": 80 * MIB, "anonymous_bytes": 40 * MIB}
    found = report(tmp_path, manifest, estimated(), Limits(), counting_anonymous(2**30), **memory)
    assert row(found, "counted memory").measured == 40 * MIB


def test_counted_memory_that_could_not_be_read_proves_nothing(tmp_path: Path, manifest: Manifest) -> None:
    found = report(tmp_path, manifest, estimated(), Limits(), counting_anonymous(2**30), file_rss_bytes=None)
    assert (row(found, "counted memory").passed, found.status) == (False, "failed")


def test_where_nobody_knows_what_an_app_may_use_the_whole_memory_is_held(tmp_path: Path, manifest: Manifest) -> None:
    found = report(tmp_path, manifest, estimated(), Limits(), counting_anonymous(None), file_rss_bytes=MIB)
    assert row(found, "counted memory").limit is None
    assert row(found, "peak RSS").limit == WHOLE_BYTES
    assert any("only its whole memory, 16.0 GiB, was held" in note for note in found.notes)


def test_where_nothing_is_known_of_the_memory_none_is_held(tmp_path: Path, manifest: Manifest) -> None:
    plain = with_ram(None)
    unknown = plain.model_copy(
        update={"ram": plain.ram.model_copy(update={"total_bytes": plain.ram.app_bytes})}  # which is unknown
    )
    found = report(tmp_path, manifest, candidate(), Limits(), unknown)
    assert row(found, "peak RSS").limit is None
    assert any("not known, so no memory limit was held" in note for note in found.notes)


def test_every_estimate_stands_beside_its_figure(tmp_path: Path, manifest: Manifest) -> None:
    latency = Estimate(8.0, 9.0, "a roofline")
    found = report(tmp_path, manifest, estimated(latency_ms=latency), Limits(), with_ram(2**30))
    peak, anonymous = row(found, "peak RSS"), row(found, "anonymous memory")
    assert (peak.estimate_low, peak.estimate_high) == (100 * MIB, 121 * MIB)
    assert (anonymous.estimate_low, anonymous.estimate_high) == (50 * MIB, 61 * MIB)
    p50 = row(found, "latency p50")
    assert (p50.estimate_low, p50.estimate_high, p50.estimate_basis) == (8.0, 9.0, "a roofline")


def test_a_language_model_s_speeds_have_estimates(tmp_path: Path, manifest: Manifest) -> None:
    decoder = manifest.model_copy(update={"task": "causal-lm"})
    made = estimated(
        ttft_at={120: Estimate(40.0, 90.0, "t")},
        prefill_tokens_per_s=Estimate(1300.0, 3000.0, "t"),
        tokens_per_s=Estimate(20.0, 40.0, "t"),
    )
    speeds = {"ttft_ms": 60.0, "prefill_tokens_per_s": 2000.0, "decode_tokens_per_s": 30.0, "decode_ms": [33.0]}
    found = report(tmp_path, decoder, made, Limits(), with_ram(2**30), {"mean KL": 0.01}, **speeds)
    wanted = {"time to first token": 40.0, "prefill speed": 1300.0, "decode speed": 20.0}
    assert {name: row(found, name).estimate_low for name in wanted} == wanted


def test_on_the_host_the_report_says_how_far_off_the_estimates_were(tmp_path: Path, manifest: Manifest) -> None:
    made = estimated(latency_ms=Estimate(2.0, 8.0, "a roofline"))
    host = with_ram(2**30).model_copy(update={"name": "host"})
    (told,) = [note for note in report(tmp_path, manifest, made, Limits(), host).notes if "against" in note]
    assert told.startswith("measured against the middle of the estimate: ")
    assert "latency p50 +150% (outside the interval)" in told
    assert "peak RSS -9% (inside the interval)" in told
    (elsewhere,) = [n for n in report(tmp_path, manifest, made, Limits(), with_ram(2**30)).notes if "middle" in n]
    assert "latency" not in elsewhere  # here is not the device
    assert "RSS" not in elsewhere
    assert "model file" in elsewhere


def test_a_report_says_where_the_model_file_s_bytes_are(tmp_path: Path, manifest: Manifest) -> None:
    found = report(tmp_path, manifest, candidate(), Limits(), with_ram(2**30))
    whole = (tmp_path / manifest.model_file).stat().st_size
    assert sum(each.size_bytes for each in found.sizes) == whole
    assert [each.dtype for each in found.sizes] == ["float32", ""]


def test_what_another_model_file_gave_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    for found in ("1" * 64, None):
        with pytest.raises(BadReport, match="another model file"):
            report(tmp_path, manifest, candidate(), Limits(), with_ram(2**30), model_sha256=found)
