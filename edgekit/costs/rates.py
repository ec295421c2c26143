"""How fast a device is, for a number of threads: an interval for each unit of work, from the profile's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.device import DeviceProfile, Figure

RateUnit = Literal["flops", "int8_ops", "bytes"]
UNITS: tuple[RateUnit, ...] = ("flops", "int8_ops", "bytes")

# How far a figure that was not measured may be off, both ways.
_TRUST: Mapping[str, float] = {"measured": 1.0, "press": 1.15, "derived": 1.3, "vendor": 1.3}
# Of the peak, where only that is known: a little around what the shipped profiles with both figures show.
_SUSTAINED_SHARE = (0.4, 0.9)
# Of the fastest clock: cores below this share of it only hold the others up.
_FAST_SHARE = 0.7


@dataclass(frozen=True)
class Rate:
    """Units per second, an interval. `told` names the figure it comes from."""

    low: float
    high: float
    told: str

    @property
    def mid(self) -> float:
        return math.sqrt(self.low) * math.sqrt(self.high)


def default_threads(device: DeviceProfile) -> int:
    """The cores of the fast clusters; all of them where no clock is known."""
    fastest = max((cluster.mhz or 0.0 for cluster in device.cpu.clusters), default=0.0)
    return max(1, sum(c.count for c in device.cpu.clusters if c.mhz is None or c.mhz >= _FAST_SHARE * fastest))


def rate(device: DeviceProfile, unit: RateUnit, threads: int) -> Rate | None:
    """None where the profile knows no figure for it. More threads are never slower, on the fastest cores first."""
    if unit == "bytes":
        return _bandwidth(device, threads)
    figure = device.cpu.fp32_flops_per_s if unit == "flops" else device.cpu.int8_ops_per_s
    known = _trusted(figure, "fp32 throughput" if unit == "flops" else "int8 throughput", "Gop/s")
    if known is None:
        return None
    low, high = _share(device, threads)
    return Rate(known.low * low, known.high * high, known.told)


def _share(device: DeviceProfile, threads: int) -> tuple[float, float]:
    """The part of all cores' throughput that the `threads` fastest have, at least and at most.

    By clocks at least; fast cores are wider too, so at most by the clocks' squares. By their number where a clock is
    unknown, and then, unless all cores are alike, at most everything.
    """
    clusters = device.cpu.clusters
    if threads >= device.cores:
        return 1.0, 1.0
    if any(cluster.mhz is None for cluster in clusters):
        alike = len({cluster.microarchitecture for cluster in clusters}) == 1
        share = max(1, threads) / device.cores
        return share, share if alike else 1.0
    clocks = sorted((cluster.mhz or 0.0 for cluster in clusters for _ in range(cluster.count)), reverse=True)
    return _first(clocks, threads, 1), _first(clocks, threads, 2)


def _first(clocks: list[float], threads: int, power: int) -> float:
    weights = [(clock / clocks[0]) ** power for clock in clocks]
    return sum(weights[: max(1, threads)]) / sum(weights)


def _bandwidth(device: DeviceProfile, threads: int) -> Rate | None:
    bandwidth = device.memory_bandwidth
    together = _trusted(bandwidth.sustained_bytes_per_s, "sustained bandwidth", "GB/s") or _of_peak(
        bandwidth.peak_bytes_per_s
    )
    one = _trusted(bandwidth.one_thread_bytes_per_s, "one thread's bandwidth", "GB/s")
    threads = max(1, threads)
    if together is None:
        # One core's figure grounds one thread, and says how little more threads get at least.
        return one if one is None or threads == 1 else Rate(one.low, threads * one.high, one.told)
    if threads >= device.cores:
        return together
    if one is not None:
        low, high = min(together.low, threads * one.low), min(together.high, threads * one.high)
        return Rate(min(low, high), high, one.told if threads * one.high < together.high else together.told)
    # One core draws at least its share and at most everything.
    return Rate(together.low * threads / device.cores, together.high, together.told)


def _of_peak(peak: Figure) -> Rate | None:
    if peak.value is None or not math.isfinite(peak.value):
        return None
    low, high = (share * peak.value for share in _SUSTAINED_SHARE)
    return Rate(low, high, f"{peak.value / 1e9:.1f} GB/s peak bandwidth ({peak.status}), sustained unknown")


def _trusted(figure: Figure, name: str, unit: str) -> Rate | None:
    value = figure.value
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    off = _TRUST[figure.status]
    return Rate(value / off, value * off, f"{name} of {value / 1e9:.1f} {unit} ({figure.status})")
