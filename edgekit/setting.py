"""What candidates are estimated for: the device, its threads, the lengths of input, and what earlier reports showed."""

from __future__ import annotations

import os
from collections.abc import Iterable

from edgekit.costs import TIMED_TOKENS, Observation, Setting
from edgekit.costs.factors import shipped_factors
from edgekit.costs.rates import default_threads
from edgekit.device import DeviceProfile
from edgekit.limits import Limits, Preferences


def setting_for(
    device: DeviceProfile, limits: Limits, preferences: Preferences, observations: Iterable[Observation] = ()
) -> Setting:
    """With the shipped factors. The length that `pack` times is always among the lengths: limits are held there."""
    return Setting(
        device,
        shipped_factors(),
        context_tokens=limits.context_tokens,
        threads=preferences.threads
        or (measuring_threads(device) if device.name == "host" else default_threads(device)),
        lengths=tuple(sorted({*preferences.lengths, TIMED_TOKENS})),
        observations=tuple(observations),
    )


def app_default_threads(device: DeviceProfile) -> int | None:
    """What a wrapper runs on the device unless an app says otherwise: its fast cores. None where the cores that are
    there decide: this machine, a browser, a device whose slow cores nobody knows.
    """
    clusters = device.cpu.clusters
    unknown = not clusters or (len(clusters) > 1 and any(cluster.mhz is None for cluster in clusters))
    return None if device.name == "host" or device.os == "browser" or unknown else default_threads(device)


def measuring_threads(device: DeviceProfile, app_threads: int | None = None) -> int:
    """The threads of the app, or else the device's fast cores, as far as this machine has as many."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(app_threads or default_threads(device), here))
