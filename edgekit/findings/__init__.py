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
from edgekit.findings.rows import cpu_of, flag_of, row
from edgekit.findings.speed import baseline_told, speed_rows
from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.planner import ram_limit, whole_ram
from edgekit.report import Host, Report, Row, is_within, judged, show, show_off
from edgekit.resources import probe_note
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
    """Every figure as a row, judged. Raises BadReport where another model file was measured."""
    model_sha256 = _measured_model(manifest, examined)
    host = _host(examined)
    target = examined.target
    where = f"measured on {host.cpu}, {host.threads} threads{_pinned(examined.measurement.result)}"
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
    is_host = is_device(examined, device)
    told = [
        *dict.fromkeys(notes),
        *_notes(manifest, examined, device, limits, bundle),
        *_predictions(rows, everywhere=is_host),
    ]
    return Report(
        model=manifest.name,
        task=manifest.task,
        strategy=manifest.strategy,
        device=device.name,
        device_is_host=is_host,
        status="failed" if any(each.passed is False for each in rows) else "passed",
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


def _measured_model(manifest: Manifest, examined: Examined) -> str:
    """The hash of the bundle's model file, which is the one that was measured."""
    known = next(entry.sha256 for entry in manifest.files if entry.path == manifest.model_file)
    measured = str(examined.measurement.result.get("model_sha256") or "")
    if measured != known:
        raise BadReport(
            f"what came back from {examined.target.name} is of another model file (sha256"
            f" {measured[:12] or 'not told'}, the bundle's is {known[:12]})",
            "run it again; if that does not help, do not trust that machine",
        )
    return known


def _host(examined: Examined) -> Host:
    result = examined.measurement.result
    return Host(
        cpu=cpu_of(result),
        isa=tuple(result["isa"] or ()),
        threads=int(result["threads"]),
        system=str(result["system"]),
        target=examined.target.name,
        emulator=str(result.get("emulator") or ""),
        kernels=tuple(result.get("kernels") or ()),
    )


def _notes(manifest: Manifest, examined: Examined, device: DeviceProfile, limits: Limits, bundle: Path) -> list[str]:
    """What a figure alone would not say."""
    target, told = examined.target, []
    if not target.times:
        told.append("an emulator computes as that CPU does and not as fast: no time and no memory was measured")
    elif not is_device(examined, device):
        place = "here" if target.kind == "local" else f"on {target.name}"
        told.append(f"speed was measured {place}, not on {device.title}; on the device it is an estimate or unknown")
    if examined.token_mismatches:
        told.append(f"token ids differ on {examined.token_mismatches[0]!r}")
    if target.times and ram_limit(limits, device) is None:
        whole = whole_ram(limits, device)
        held = "no memory limit" if whole is None else f"only its whole memory, {show(whole, 'bytes')},"
        told.append(f"how much RAM {device.title} lets an app use is not known, so {held} was held")
    told += limited_notes(manifest.task, examined, limits, device)
    told += unguarded_notes(examined, manifest.model_file)
    told += map(str, examined.measurement.result.get("notes") or ())
    told += [note] if (note := probe_note(bundle)) is not None else []
    here, there = measuring_threads(device), default_threads(device)
    if target.kind == "local" and here < there:
        threads = int(examined.measurement.result["threads"])
        told.append(
            f"{device.title} has {there} fast cores, this machine {here}: speed was measured with {threads} threads"
        )
    return told


def is_device(examined: Examined, device: DeviceProfile) -> bool:
    """Whether what measured is the device itself, and not a machine that stands in for it."""
    if examined.target.kind == "local" and device.name == "host":
        return True
    return examined.target.times and is_same(device, examined.measurement.result)


def _pinned(result: Mapping[str, Any]) -> str:
    """ " pinned to CPUs 0, 1", where they were."""
    cpus = result.get("pinned_cpus") or ()
    return f" pinned to CPU{'s' if len(cpus) > 1 else ''} {', '.join(map(str, cpus))}" if cpus else ""


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
        "latency in turn with fp32": measurement.samples("paired_latency_ms"),
        **{name: tuple(values) for name, values in examined.fidelity.series.items()},
    }
    if not series["latency of fp32"] and examined.target.kind == "local":
        name = "decode step of fp32" if series["decode step"] else "latency of fp32"
        series[name] = tuple(examined.original.ms)
    return {name: values for name, values in series.items() if values}
