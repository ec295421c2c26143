"""Rows of memory, against what the device lets an app use, and of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgekit.costs import Estimate
from edgekit.device import DeviceProfile
from edgekit.findings.rows import row
from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.planner import counted_bytes, ram_limit, whole_ram
from edgekit.report import Row
from edgekit.strategies import Candidate
from edgekit.validation import Examined


def memory_rows(
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
        row("peak RSS", "bytes", figure("peak_rss_bytes"), told, "max", whole, estimate=ram),
        row("anonymous memory", "bytes", figure("anonymous_bytes"), where, estimate=anonymous),
    ]
    if manifest.memory.kv_bytes:
        rows.insert(2, row("KV cache", "bytes", None, "not measured", estimate=_exact(manifest.memory.kv_bytes)))
    budget = ram_limit(limits, device)
    if device.ram.counted == "resident" and budget is not None:
        rows[0] = row("peak RSS", "bytes", figure("peak_rss_bytes"), where, "max", budget, "max_ram", ram)
    elif device.ram.counted == "anonymous":
        where = f"{where}; without file-backed pages, which {device.title} does not count"
        counted = counted_bytes(candidate, device) if candidate else None
        rows.insert(1, row("counted memory", "bytes", _counted(figure), where, "max", budget, "max_ram", counted))
    return rows


def disk_rows(manifest: Manifest, candidate: Candidate | None, limits: Limits, bundle: Path) -> list[Row]:
    total = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    disk = candidate.disk_bytes if candidate else None
    return [
        row("model file", "bytes", float(manifest.memory.file_bytes), "read from the file", estimate=disk),
        row("bundle on disk", "bytes", float(total), "read from the files", "max", limits.max_disk_bytes, "max_disk"),
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
