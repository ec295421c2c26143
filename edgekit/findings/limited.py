"""Rows of the bundle's second run, within the memory that the device lets an app use: whether it runs there at all."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.device import DeviceProfile
from edgekit.findings.rows import cpu_of, row
from edgekit.limits import Limits
from edgekit.planner import ram_limit
from edgekit.report import Row, show
from edgekit.targets.control_groups import machine_limit_bytes
from edgekit.validation import Examined, Limited

_WITHIN = "within the memory limit"
RUNS_WITHIN = f"runs {_WITHIN}"
_MUCH_SLOWER = 2.0
"""Of few timings on a machine that does other things too; reading a file again and again costs far more."""
_REACHED = 0.9
"""Share of the limit that it held at most, below which nothing had to go to make room: what was slow was not that."""


def limited_rows(task: str, examined: Examined, limits: Limits) -> list[Row]:
    """Yes or no; and, where the limit makes it much slower, how fast it is there, held against the same limit."""
    limited = examined.limited
    if limited is None or limited.held is None:
        return []
    return [
        row(RUNS_WITHIN, "yes/no", float(limited.held), _where(examined, limited), "min", 1.0, "max_ram_bytes"),
        *(each for each in _speeds(task, examined, limits) if _slowdown(examined, each) > _MUCH_SLOWER),
    ]


def limited_notes(task: str, examined: Examined, limits: Limits, device: DeviceProfile) -> list[str]:
    limited, target = examined.limited, examined.target
    if limited is None:
        if target.kind == "local" or not target.times or ram_limit(limits, device) is None:
            return []
        return [f"the memory limit was held against what was measured: nothing enforced it on {target.name}"]
    if limited.held is None:
        return [f"the memory limit was held against what was measured, and not enforced: {limited.told}"]
    told = [
        f"within {show(limited.limit.limit_bytes, 'bytes')} it is {_slowdown(examined, each):.1f} times as slow as with"
        " all memory: the pages of its file do not stay there, and are read again and again"
        for each in _speeds(task, examined, limits)
        if _slowdown(examined, each) > _MUCH_SLOWER
    ]
    machine = machine_limit_bytes()
    if machine is not None and machine < limited.limit.limit_bytes:
        told.append(
            f"{device.title} has more memory for an app than this machine in all ({show(machine, 'bytes')}), which was"
            " the limit then"
        )
    return told


def _where(examined: Examined, limited: Limited) -> str:
    limit, cpu = limited.limit, cpu_of(examined.measurement.result)
    pages = "all resident pages" if limit.counted == "resident" else "pages that no file backs"
    told = f"enforced on {cpu} by {limited.told}: {show(limit.limit_bytes, 'bytes')} of {pages}"
    if limit.counted == "resident" and limit.elsewhere_bytes:
        told += f", {show(limit.elsewhere_bytes, 'bytes')} of them code that it shares with other processes here"
    if limited.peak_bytes is not None:
        told += f"; it held {show(limited.peak_bytes, 'bytes')} of its own at most"
    if not limited.held:
        peak = examined.measurement.figure("peak_rss_bytes")
        told += f"; {limited.ended}; without a limit its peak was {show(peak, 'bytes')}"
    return told


def _speeds(task: str, examined: Examined, limits: Limits) -> Sequence[Row]:
    """The speed within the limit, as it would stand in a row; none where it did not get that far, or where the limit
    cannot have slowed it down.
    """
    limited = examined.limited
    if limited is None or limited.measurement is None or not _is_reached(examined, limited):
        return ()
    figure, where = limited.measurement.figure, _where(examined, limited)
    if task == "causal-lm":
        name, speed, least = "decode speed", figure("decode_tokens_per_s"), limits.min_tokens_per_s
        return (row(f"{name} {_WITHIN}", "tokens/s", speed, where, "min", least, "min_tokens_per_s"),)
    most = limits.max_latency_ms
    return (row(f"latency p50 {_WITHIN}", "ms", figure("p50_ms"), where, "max", most, "max_latency_ms"),)


def _is_reached(examined: Examined, limited: Limited) -> bool:
    """Whether it held about as much as it was let, so that pages had to go; by its peak without a limit where what
    enforced the limit tells none, and true where that is unknown too.
    """
    if limited.peak_bytes is not None:
        return limited.peak_bytes >= _REACHED * (limited.limit.limit_bytes - limited.limit.elsewhere_bytes)
    peak = examined.measurement.figure("peak_rss_bytes")
    return peak is None or peak >= _REACHED * limited.limit.limit_bytes


def _slowdown(examined: Examined, within: Row) -> float:
    """How many times as long it takes as without the limit; 0 where either is unknown."""
    name = "decode_tokens_per_s" if within.unit == "tokens/s" else "p50_ms"
    free = examined.measurement.figure(name)
    if not free or not within.measured:
        return 0.0
    return free / within.measured if within.unit == "tokens/s" else within.measured / free
