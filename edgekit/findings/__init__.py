"""Findings: every figure of an examined bundle as a row of the report, with its limit, estimate and origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import anatomy
from edgekit.costs.rates import default_threads
from edgekit.device import DeviceProfile
from edgekit.device.matching import is_same
from edgekit.errors import BadReport
from edgekit.findings.fidelity import fidelity_rows, golden_rows, unguarded_notes
from edgekit.findings.limited import RUNS_WITHIN, limited_notes, limited_rows
from edgekit.findings.memory import disk_rows, memory_rows
from edgekit.findings.rows import flag_of, row
from edgekit.findings.speed import baseline_told, speed_rows
from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.planner import ram_limit, whole_ram
from edgekit.report import Host, Report, Row, is_within, judged, show, show_off
from edgekit.setting import measuring_threads
from edgekit.strategies import Candidate
from edgekit.validation import Examined

__all__ = ["RUNS_WITHIN", "build_report", "is_device"]


def build_report(
    manifest: Manifest,
    examined: Examined,
    candidate: Candidate | None,
    device: DeviceProfile,
    limits: Limits,
    bundle: Path,
    notes: Sequence[str],
    created_utc: str,
) -> Report:
    """Every figure as a row, judged."""
    result = examined.measurement.result
    model_sha256 = next(entry.sha256 for entry in manifest.files if entry.path == manifest.model_file)
    if result.get("model_sha256", model_sha256) != model_sha256:
        raise BadReport(
            f"{examined.target.name} measured another model file (sha256 {str(result['model_sha256'])[:12]}..., the"
            f" bundle's is {model_sha256[:12]}...)",
            "run it again; if that does not help, do not trust that machine",
        )
    host = Host(
        cpu=str(result["cpu"]),
        isa=tuple(result["isa"] or ()),
        threads=int(result["threads"]),
        system=str(result["system"]),
        target=examined.target.name,
        emulator=str(result.get("emulator") or ""),
        kernels=tuple(result.get("kernels") or ()),
    )
    target = examined.target
    where = f"measured on {host.cpu}, {host.threads} threads{_pinned(result)}"
    if host.emulator:
        where = f"computed on an emulated {host.cpu} ({host.emulator})"
    rows = [*golden_rows(examined, where), *fidelity_rows(manifest.task, examined, limits, where)]
    if target.times:
        rows += speed_rows(manifest.task, examined, candidate, limits, where)
        rows += memory_rows(manifest, examined, candidate, device, limits, where)
        rows += limited_rows(manifest.task, examined, limits)
    rows += disk_rows(manifest, candidate, limits, bundle)
    if target.times:
        rows += _unmeasured_rows(rows, limits)
    rows = [judged(each) for each in rows]
    failed = any(each.passed is False for each in rows)
    is_host = is_device(examined, device)
    told = list(dict.fromkeys(notes))
    if not target.times:
        told.append("an emulator computes as that CPU does and not as fast: no time and no memory was measured")
    elif not is_host:
        told.append(f"speed was measured here, not on {device.title}; on the device it is an estimate or unknown")
    if examined.token_mismatches:
        told.append(f"token ids differ on {examined.token_mismatches[0]!r}")
    if target.times and ram_limit(limits, device) is None:
        whole = whole_ram(limits, device)
        held = "no memory limit" if whole is None else f"only its whole memory, {show(whole, 'bytes')},"
        told.append(f"how much RAM {device.title} lets an app use is not known, so {held} was held")
    told += limited_notes(manifest.task, examined, limits, device)
    told += unguarded_notes(examined, manifest.model_file)
    told += _fewer_cores(examined, device)
    told += _predictions(rows, everywhere=is_host)
    return Report(
        model=manifest.name,
        task=manifest.task,
        strategy=manifest.strategy,
        device=device.name,
        device_is_host=is_host,
        status="failed" if failed else "passed",
        reference=examined.original.description,
        evaluated_on=examined.original.questions.origin,
        baseline=baseline_told(examined),
        host=host,
        model_sha256=model_sha256,
        rows=tuple(rows),
        series=_series(examined),
        notes=tuple(told),
        sizes=anatomy.sizes(bundle, manifest),
        created_utc=created_utc,
    )


def is_device(examined: Examined, device: DeviceProfile) -> bool:
    """Whether what measured is the device itself, and not a machine that stands in for it."""
    if examined.target.kind == "local":
        return device.name == "host"
    return examined.target.times and is_same(device, examined.measurement.result)


def _pinned(result: Mapping[str, Any]) -> str:
    """ " pinned to CPUs 0, 1", where they were."""
    cpus = result.get("pinned_cpus") or ()
    return f" pinned to CPU{'s' if len(cpus) > 1 else ''} {', '.join(map(str, cpus))}" if cpus else ""


def _fewer_cores(examined: Examined, device: DeviceProfile) -> list[str]:
    here, there = measuring_threads(device), default_threads(device)
    if examined.target.kind != "local" or here >= there:
        return []
    return [f"{device.title} has {there} fast cores, of which this machine has {here}: what was measured ran on those"]


def _unmeasured_rows(rows: Sequence[Row], limits: Limits) -> list[Row]:
    """Limits that were asked, more strictly than by default, and that no figure answers here: missed, not forgotten."""
    answered = {each.flag for each in rows}
    found = []
    for name, limit in limits.changed().items():
        flag = flag_of(name)
        bound = name.partition("_")[0]
        default = getattr(Limits, name)
        stricter = default is None or (limit > default if bound == "min" else limit < default)
        if bound in ("min", "max") and stricter and flag not in answered:
            found.append(row(f"asked by {flag}", "", None, "nothing measures it for this model", bound, limit, name))
    return found


def _predictions(rows: Sequence[Row], *, everywhere: bool) -> list[str]:
    """How far the estimates were off, in a line: of what was measured on the device itself, and of file sizes."""
    compared = [each for each in rows if show_off(each) and (everywhere or each.name == "model file")]
    if not compared:
        return []
    told = ", ".join(
        f"{each.name} {show_off(each)} ({'inside' if is_within(each) else 'outside'} the interval)" for each in compared
    )
    return [f"measured against the middle of the estimate: {told}"]


def _series(examined: Examined) -> dict[str, tuple[float, ...]]:
    measurement = examined.measurement
    series = {
        "latency": measurement.samples("latency_ms"),
        "decode step": measurement.samples("decode_ms"),
        "latency of fp32": measurement.samples("baseline_latency_ms"),
        **{name: tuple(values) for name, values in examined.fidelity.series.items()},
    }
    if not series["latency of fp32"] and examined.target.kind == "local":
        name = "decode step of fp32" if series["decode step"] else "latency of fp32"
        series[name] = tuple(examined.original.ms)
    return {name: values for name, values in series.items() if values}
