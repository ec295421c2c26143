"""How fast a device is, for a number of threads: an interval for each unit of work, from the profile's figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgekit.device import DeviceProfile, Figure

# How far a figure that was not measured may be off, both ways.
_TRUST = {"measured": 1.0, "press": 1.15, "derived": 1.3, "vendor": 1.3}
# Of the peak, where only that is known: a little around what the shipped profiles with both figures show.
_SUSTAINED_SHARE = (0.4, 0.9)


@dataclass(frozen=True)
class Rate:
    """Units per second, an interval. `told` names the figure it comes from."""

    low: float
    high: float
    told: str

    @property
    def mid(self) -> float:
        return math.sqrt(self.low * self.high)


def default_threads(device: DeviceProfile) -> int:
    """The cores of the fast clusters: those at less than 0.7 of the fastest clock only hold the others up."""
    fastest = max((cluster.mhz or 0.0 for cluster in device.cpu.clusters), default=0.0)
    return max(1, sum(c.count for c in device.cpu.clusters if c.mhz is None or c.mhz >= 0.7 * fastest))


def rate(device: DeviceProfile, unit: Literal["flops", "int8_ops", "bytes"], threads: int) -> Rate | None:
    """None where the profile knows no figure for it."""
    if unit == "bytes":
        return _bandwidth(device, threads)
    figure = device.cpu.fp32_flops_per_s if unit == "flops" else device.cpu.int8_ops_per_s
    if figure.value is None:
        return None
    share = min(1.0, threads / max(1, device.cores))
    return _trusted(figure, figure.value * share, "fp32 throughput" if unit == "flops" else "int8 throughput")


def _bandwidth(device: DeviceProfile, threads: int) -> Rate | None:
    bandwidth = device.memory_bandwidth
    sustained, peak, one = (
        bandwidth.sustained_bytes_per_s,
        bandwidth.peak_bytes_per_s,
        bandwidth.one_thread_bytes_per_s,
    )
    if sustained.value is None and peak.value is None:
        return None
    if sustained.value is not None:
        all_threads = _trusted(sustained, sustained.value, "sustained bandwidth")
    else:
        assert peak.value is not None
        low, high = (share * peak.value for share in _SUSTAINED_SHARE)
        all_threads = Rate(low, high, f"{peak.value / 1e9:.1f} GB/s peak bandwidth ({peak.status}), sustained unknown")
    cores = max(1, device.cores)
    if threads >= cores:
        return all_threads
    if one.value is not None:
        of_threads = threads * one.value
        return Rate(min(all_threads.low, of_threads), min(all_threads.high, of_threads), all_threads.told)
    # One core draws at least its share and at most everything.
    return Rate(all_threads.low * threads / cores, all_threads.high, all_threads.told)


def _trusted(figure: Figure, value: float, name: str) -> Rate:
    off = _TRUST[figure.status]
    scale = 1e9
    unit = "GB/s" if "bandwidth" in name else "G/s"
    return Rate(value / off, value * off, f"{name} of {value / scale:.1f} {unit} ({figure.status})")
