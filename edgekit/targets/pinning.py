"""Which CPUs a measurement is pinned to: whole physical cores, so that no two of its threads share one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edgekit.targets.system_files import read


def cpus_for(
    threads: int, allowed: Iterable[int] | None = None, root: Path = Path("/"), turn: int | None = None
) -> tuple[int, ...]:
    """As many logical CPUs as `threads`, of those `allowed` (this process may use): one of each physical core, the
    fastest first, and second hyper-threads only where cores run out. Empty where this system pins nothing.

    `turn` (this process's id) rotates the choice among equal cores: two edgekits at once do not meet on the first core.
    """
    if allowed is None:
        if not hasattr(os, "sched_getaffinity"):
            return ()
        allowed = os.sched_getaffinity(0)
    by_core: dict[str, list[int]] = {}
    for cpu in sorted(allowed):
        siblings = read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or f"cpu{cpu}"
        by_core.setdefault(siblings, []).append(cpu)
    cores = list(by_core.values())
    turn = (os.getpid() if turn is None else turn) % max(1, len(cores))
    cores = cores[turn:] + cores[:turn]
    cores.sort(key=lambda cpus: -_top_khz(root, cpus[0]))
    depth = max(map(len, cores), default=0)
    ordered = [cpus[thread] for thread in range(depth) for cpus in cores if thread < len(cpus)]
    return tuple(sorted(ordered[:threads]))


def _top_khz(root: Path, cpu: int) -> int:
    """0 where the machine does not say, as a virtual one does not."""
    text = read(root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq")
    return int(text) if text.isdigit() else 0
