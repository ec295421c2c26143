"""The machine and the versions that figures belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.device import detect

_PACKAGES = (
    "edgekit",
    "onnxruntime",
    "optimum",
    "optimum-onnx",
    "onnx",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "llama-cpp-python",
    "gguf",
)


def machine() -> dict[str, Any]:
    """CPU, the cores and ISA features this process may use, the load found, and versions (None: not installed)."""
    host = detect(measure=False)
    return {
        "cpu": host.soc,
        "cores": host.cores,
        "isa": list(host.cpu.isa.value),
        "ram_bytes": host.ram.total_bytes.value,
        "system": platform.platform(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def heading(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
    return (
        f"machine   {facts['cpu']}, {facts['cores']} cores, {facts['ram_bytes'] / 2**30:.1f} GiB, {facts['system']}\n"
        f"load      {facts['load_average_1_min']} before the first run (1 min average)\n"
        f"versions  python {facts['python']}, {versions}\n"
    )


class OtherLoad:
    """What other processes, and other machines on the same hardware, took of this one's cores since it was made."""

    def __init__(self) -> None:
        self._start = _cpu_seconds()

    def share(self) -> float | None:
        """Of all cores' time; None where the system does not tell. Children count as other until waited for."""
        if self._start is None or (now := _cpu_seconds()) is None:
            return None
        everything, busy, own = (after - before for after, before in zip(now, self._start, strict=True))
        return max(0.0, busy - own) / max(everything, 1e-9)


def _cpu_seconds() -> tuple[float, float, float] | None:
    """Of all cores since boot: altogether, not idle (stolen time included), and of this process with its children."""
    try:
        fields = [int(each) for each in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    idle = fields[3] + fields[4]
    return sum(fields) / ticks, (sum(fields) - idle) / ticks, sum(os.times()[:4])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
