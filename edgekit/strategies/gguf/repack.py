"""Which weights the engine copies into another order when it loads a file, by ggml's repack.cpp.

The copies are anonymous memory beside the mapped originals, which stay resident. A session opened with low_memory makes
none, at some cost in speed.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.device import DeviceProfile
from edgekit.strategies.gguf.weights import Weights

# (ISA feature, GGML type) -> rows that a copy takes at a time; matrices of other row counts stay as they are.
_REPACKED: Mapping[str, Mapping[str, int]] = {
    "avx2": {"Q4_0": 8, "Q4_K": 8, "IQ4_NL": 8, "MXFP4": 8},
    "dotprod": {"Q4_0": 4, "Q8_0": 4, "IQ4_NL": 4, "MXFP4": 4, "Q4_K": 8, "Q5_K": 8, "Q6_K": 8},
}


def repacked(weights: Weights, device: DeviceProfile) -> Mapping[str, int]:
    """Bytes of the copies by GGML type; empty on CPUs that no copy is made for."""
    rows_by_type = next((types for feature, types in _REPACKED.items() if device.has(feature)), {})
    copied: dict[str, int] = {}
    for (ggml_type, granule), size in weights.copies.items():
        if ggml_type in rows_by_type and granule % rows_by_type[ggml_type] == 0:
            copied[ggml_type] = copied.get(ggml_type, 0) + size
    return copied


def note(weights: Weights, device: DeviceProfile) -> str | None:
    copied = repacked(weights, device)
    if not copied:
        return None
    feature = next(feature for feature in _REPACKED if device.has(feature))
    return (
        f"{', '.join(sorted(copied))} blocks are repacked for {feature} when the file is loaded: "
        f"{sum(copied.values()) / 2**20:.1f} MiB of anonymous memory, which low_memory=True saves at some cost in speed"
    )
