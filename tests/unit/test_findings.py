"""Rows from a measurement made up to the millisecond: gates hold, budgets follow the device, nothing is forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.devices import device
from fixtures.manifests import minimal

from edgekit import findings
from edgekit.costs import Estimate
from edgekit.device import DeviceProfile, Figure, Ram
from edgekit.fidelity import Fidelity, Truth
from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.questions import Questions
from edgekit.report import Report
from edgekit.strategies import Candidate
from edgekit.validation import Examined, Original

MIB = 2**20


class Measured:
    """A Measurement without a folder."""

    def __init__(self, **result: Any) -> None:
        self.result = {
            "cpu": "Some CPU", "isa": None, "threads": 2, "system": "Linux", "token_ids": [[1]], "load_ms": 1.0,
            "first_ms": 1.0, "p50_ms": 10.0, "p90_ms": 11.0, "p99_ms": 12.0, "latency_ms": [9.0, 10.0, 11.0],
            "peak_rss_bytes": 100 * MIB, "anonymous_bytes": 50 * MIB,
        } | result  # fmt: skip

    def figure(self, name: str) -> float | None:
        value = self.result.get(name)
        return None if value is None else float(value)

    def samples(self, name: str) -> tuple[float, ...]:
        return tuple(self.result.get(name) or ())


def candidate(bits: float = 8.0, options: dict[str, str] | None = None) -> Candidate:
    size = Estimate(MIB, MIB, "a test")
    return Candidate("onnx-int8", "onnxruntime", options or {}, bits, size, size)


def with_ram(app_bytes: int | None) -> DeviceProfile:
    known = Figure(value=app_bytes, status="derived", source="a test") if app_bytes else Figure(status="unknown")
    total = Figure(value=2**34, status="vendor", source="a test")
    return device("avx2").model_copy(update={"ram": Ram(total_bytes=total, app_bytes=known)})


def report(
    tmp_path: Path,
    manifest: Manifest,
    made: Candidate | None,
    limits: Limits,
    profile: DeviceProfile,
    figures: dict[str, float] | None = None,
    **result: Any,
) -> Report:
    questions = Questions(["a"], Truth(), "a", "one text of 1 tokens", "a test")
    original = Original("the original", questions, [[1]], (20.0, 20.0), tmp_path)
    fidelity = Fidelity(figures or {"mean cosine": 0.99}, {}, 1)
    examined = Examined(Measured(**result), fidelity, (), original)  # type: ignore[arg-type]
    return findings.build_report(manifest, examined, made, profile, limits, tmp_path, (), "2026-01-01")


@pytest.fixture
def manifest() -> Manifest:
    return Manifest.model_validate(minimal())


def row(found: Report, name: str) -> Any:
    return next(each for each in found.rows if each.name == name)


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
        (None, None, None, "passed"),
    ],
)
def test_memory_is_held_against_the_device_or_the_flag(
    app_bytes: int | None, max_ram_bytes: int | None, limit: int | None, status: str, tmp_path: Path, manifest: Manifest
) -> None:
    limits = Limits(max_ram_bytes=max_ram_bytes)
    found = report(tmp_path, manifest, candidate(), limits, with_ram(app_bytes))
    assert (row(found, "peak RSS").limit, found.status) == (limit, status)
    assert any("not known, so no memory limit" in note for note in found.notes) is (limit is None)


def test_memory_that_could_not_be_read_proves_nothing(tmp_path: Path, manifest: Manifest) -> None:
    found = report(tmp_path, manifest, candidate(), Limits(), with_ram(2**30), peak_rss_bytes=None)
    assert (row(found, "peak RSS").passed, found.status) == (False, "failed")


@pytest.mark.parametrize("asked", [Limits(min_tokens_per_s=1), Limits(max_perplexity_ratio=2), Limits(max_kl=0.01)])
def test_a_limit_asked_by_name_that_nothing_measures_is_missed(
    asked: Limits, tmp_path: Path, manifest: Manifest
) -> None:
    found = report(tmp_path, manifest, candidate(), asked, with_ram(2**30))
    assert [each.name for each in found.missed] == [f"asked by {findings._flag(*asked.changed())}"]
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
