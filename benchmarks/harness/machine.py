"""The machine and the versions that figures belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
