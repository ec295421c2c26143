"""Findings: every figure of an examined bundle as a row of the report, with its limit, estimate and origin."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.costs import Estimate
from edgekit.device import DeviceProfile
from edgekit.limits import FIDELITY_LIMITS, Limits
from edgekit.manifest import Manifest
from edgekit.measure import Measurement
from edgekit.planner import counted_bytes, ram_limit, whole_ram
from edgekit.report import Host, Report, Row, is_within, judged, show, show_off
from edgekit.strategies import FP32_BITS, Candidate
from edgekit.validation import Examined

_CLASSIFIER_TASKS = ("text-classification", "token-classification", "image-classification")


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
    where = f"measured on {host.cpu}, {host.threads} threads"
    if host.emulator:
        where = f"computed on an emulated {host.cpu} ({host.emulator})"
    rows = [*_golden_rows(examined, where), *_fidelity_rows(manifest.task, examined, limits, where)]
    if target.times:
        rows += _speed_rows(manifest.task, examined, candidate, limits, where)
        rows += _memory_rows(manifest, examined, candidate, device, limits, where)
    rows += _disk_rows(manifest, candidate, limits, bundle)
    if target.times:
        rows += _unmeasured_rows(rows, limits)
    rows = [judged(row) for row in rows]
    failed = any(row.passed is False for row in rows)
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
        baseline=_baseline_told(examined),
        host=host,
        model_sha256=next(entry.sha256 for entry in manifest.files if entry.path == manifest.model_file),
        rows=tuple(rows),
        series=_series(examined),
        notes=tuple(told),
        created_utc=created_utc,
    )


def is_device(examined: Examined, device: DeviceProfile) -> bool:
    """Whether what measured is the device itself, and not a machine that stands in for it."""
    return examined.target.kind == "local" and device.name == "host"


def _golden_rows(examined: Examined, where: str) -> list[Row]:
    """How many goldens fail there; one is as near its tolerance as the nearest."""
    results = examined.measurement.result.get("goldens") or []
    if not results:
        return []
    failed = float(sum(not each["passed"] for each in results))
    shares = [
        (each["difference"] / each["tolerance"], each["name"])
        for each in results
        if each["tolerance"] and each["difference"] is not None
    ]
    told = f"{where}; {len(results)} replayed"
    if shares:
        share, name = max(shares)
        told += f", {name} nearest to its tolerance: {share:.0%} of it"
    return [_row("goldens that fail", "", failed, told, "max", 0.0)]


def _predictions(rows: Sequence[Row], *, everywhere: bool) -> list[str]:
    """How far the estimates were off, in a line: of what was measured on the device itself, and of file sizes."""
    compared = [row for row in rows if show_off(row) and (everywhere or row.name == "model file")]
    if not compared:
        return []
    each = ", ".join(
        f"{row.name} {show_off(row)} ({'inside' if is_within(row) else 'outside'} the interval)" for row in compared
    )
    return [f"measured against the middle of the estimate: {each}"]


def _unmeasured_rows(rows: Sequence[Row], limits: Limits) -> list[Row]:
    """Limits that were asked, more strictly than by default, and that no figure answers here: missed, not forgotten."""
    answered = {row.flag for row in rows}
    found = []
    for name, limit in limits.changed().items():
        flag = _flag(name)
        bound = name.partition("_")[0]
        default = getattr(Limits, name)
        stricter = default is None or (limit > default if bound == "min" else limit < default)
        if bound in ("min", "max") and stricter and flag not in answered:
            found.append(_row(f"asked by {flag}", "", None, "nothing measures it for this model", bound, limit, name))
    return found


def _flag(field: str) -> str:
    """The flag that sets a field of Limits: bytes are sizes on the command line, so their names go without the unit."""
    return f"--{field.removesuffix('_bytes').replace('_', '-')}"


def _fidelity_rows(task: str, examined: Examined, limits: Limits, where: str) -> list[Row]:
    rows = []
    for name, value in examined.fidelity.figures.items():
        bound, field = FIDELITY_LIMITS.get(name, (None, None))
        limit = getattr(limits, field) if field else None
        if name == "mean KL" and task in _CLASSIFIER_TASKS and limit == Limits.max_kl:
            limit = None  # the default is a language model's; asked by name it holds for classifiers too
        unit = "nats" if "KL" in name else ""
        rows.append(_row(name, unit, value, where, bound, limit, field))
    if examined.measurement.result.get("token_ids"):
        mismatches = float(len(examined.token_mismatches))
        rows.append(_row("texts tokenized differently", "", mismatches, where, "max", 0.0))
    return rows


def _speed_rows(task: str, examined: Examined, candidate: Candidate | None, limits: Limits, where: str) -> list[Row]:
    figure = examined.measurement.figure
    runs = len(_own_ms(task, examined.measurement))
    where = f"{where}; {examined.original.questions.latency_told}, {runs} timings"
    rows = [
        _row("load time", "ms", figure("load_ms"), where),
        _row("first inference", "ms", figure("first_ms"), where),
    ]
    if task == "causal-lm":
        speed = candidate.tokens_per_s if candidate else None
        ttft = next(iter(candidate.ttft_at.values()), None) if candidate else None
        prefill = candidate.prefill_tokens_per_s if candidate else None
        rows += [
            _row("time to first token", "ms", figure("ttft_ms"), where, estimate=ttft),
            _row("prefill speed", "tokens/s", figure("prefill_tokens_per_s"), where, estimate=prefill),
            _row(
                "decode speed",
                "tokens/s",
                figure("decode_tokens_per_s"),
                where,
                "min",
                limits.min_tokens_per_s,
                "min_tokens_per_s",
                speed,
            ),
        ]
    else:
        latency = candidate.latency_ms if candidate else None
        rows += [
            _row("latency p50", "ms", figure("p50_ms"), where, "max", limits.max_latency_ms, "max_latency_ms", latency),
            _row("latency p90", "ms", figure("p90_ms"), where),
            _row("latency p99", "ms", figure("p99_ms"), where),
        ]
    ratio = _slowdown(task, examined)
    if ratio is not None:
        gate = limits.max_slowdown if _is_made(candidate) else None
        rows.append(_row("latency over fp32", "x", ratio, where, "max", gate, "max_slowdown"))
    return rows


def _is_made(candidate: Candidate | None) -> bool:
    """Whether the bundle is another model than the original: not the fp32 fallback, nor a file bundled as it is.

    Of those the ratio to the original is told, and nothing is asked of it.
    """
    return candidate is not None and candidate.faithfulness < FP32_BITS and "as-is" not in candidate.options.values()


def _slowdown(task: str, examined: Examined) -> float | None:
    """Median latency of the bundle over the fp32 original's; None where the bundle is the fp32 original."""
    measurement = examined.measurement
    baseline = measurement.samples("baseline_latency_ms") or (
        tuple(examined.original.ms) if examined.target.kind == "local" else ()
    )
    own = measurement.samples("paired_latency_ms") or _own_ms(task, measurement)
    if not baseline or not own:
        return None
    return statistics.median(own) / statistics.median(baseline)


def _own_ms(task: str, measurement: Measurement) -> tuple[float, ...]:
    return measurement.samples("decode_ms" if task == "causal-lm" else "latency_ms")


def _baseline_told(examined: Examined) -> str:
    if not examined.target.times:
        return "nothing: no time was measured"
    if examined.measurement.samples("baseline_latency_ms"):
        return "the fp32 model in the same engine, timed in turn with the bundle"
    if examined.target.kind != "local":
        return "nothing: the fp32 model was not run there"
    return f"{examined.original.description}, timed before the bundle on the same machine"


def _memory_rows(
    manifest: Manifest,
    examined: Examined,
    candidate: Candidate | None,
    device: DeviceProfile,
    limits: Limits,
    where: str,
) -> list[Row]:
    figure = examined.measurement.figure
    if examined.original.questions.longest is not None:
        where = f"{where}; with one text of the longest length"
    ram, anonymous = _memory_estimates(candidate)
    whole = whole_ram(limits, device)
    told = where if whole is None else f"{where}; held against all memory of {device.title}"
    rows = [
        _row("peak RSS", "bytes", figure("peak_rss_bytes"), told, "max", whole, estimate=ram),
        _row("anonymous memory", "bytes", figure("anonymous_bytes"), where, estimate=anonymous),
    ]
    if manifest.memory.kv_bytes:
        rows.insert(2, _row("KV cache", "bytes", None, "not measured", estimate=_exact(manifest.memory.kv_bytes)))
    budget = ram_limit(limits, device)
    if device.ram.counted == "resident" and budget is not None:
        rows[0] = _row("peak RSS", "bytes", figure("peak_rss_bytes"), where, "max", budget, "max_ram", ram)
    elif device.ram.counted == "anonymous":
        where = f"{where}; without file-backed pages, which {device.title} does not count"
        counted = counted_bytes(candidate, device) if candidate else None
        rows.insert(1, _row("counted memory", "bytes", _counted(figure), where, "max", budget, "max_ram", counted))
    return rows


def _disk_rows(manifest: Manifest, candidate: Candidate | None, limits: Limits, bundle: Path) -> list[Row]:
    total = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    disk = candidate.disk_bytes if candidate else None
    return [
        _row("model file", "bytes", float(manifest.memory.file_bytes), "read from the file", estimate=disk),
        _row("bundle on disk", "bytes", float(total), "read from the files", "max", limits.max_disk_bytes, "max_disk"),
    ]


def _memory_estimates(candidate: Candidate | None) -> tuple[Estimate | None, Estimate | None]:
    """Of the peak, and of all anonymous pages (the KV cache and activations are)."""
    if candidate is None:
        return None, None
    memory = candidate.memory
    if memory is None:
        return candidate.ram_bytes, None
    anonymous = replace(
        memory.anonymous,
        low=memory.anonymous.low + memory.kv_bytes + memory.activations.low,
        high=memory.anonymous.high + memory.kv_bytes + memory.activations.high,
    )
    return candidate.ram_bytes, anonymous


def _counted(figure: Callable[[str], float | None]) -> float | None:
    """The peak less the file-backed pages that were resident at the end, and no less than what was anonymous then."""
    peak, file_backed, anonymous = (figure(f"{name}_bytes") for name in ("peak_rss", "file_rss", "anonymous"))
    if peak is None or file_backed is None:
        return None
    return max(peak - file_backed, anonymous or 0.0)


def _exact(value: float) -> Estimate:
    return Estimate(value, value, "computed from the shape of the cache")


def _row(
    name: str,
    unit: str,
    measured: float | None,
    where: str,
    bound: str | None = None,
    limit: float | None = None,
    field: str | None = None,
    estimate: Estimate | None = None,
) -> Row:
    return Row.model_validate(
        {
            "name": name,
            "unit": unit,
            "measured": measured,
            "where": where,
            "bound": bound,
            "limit": limit,
            "flag": _flag(field) if field else "",
            "estimate_low": estimate.low if estimate else None,
            "estimate_high": estimate.high if estimate else None,
            "estimate_basis": estimate.basis if estimate else "",
        }
    )


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
