"""The table of fitted factors, edgekit/data/factors.json: read, looked up by engine, phase and ISA.

`benchmarks/planner_fit.py` writes it, with what was measured, where and when in each row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.costs import Phase
from edgekit.device import DeviceProfile

# The ISA features that decide which kernels the engines run, the best first.
ISA_CLASSES: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("avx512_vnni", "avx_vnni", "avx512f", "avx2", "sse4_2"),
    "aarch64": ("i8mm", "dotprod", "neon"),
    "armv7": ("neon",),
    "wasm32": ("relaxed_simd", "simd128"),
}
ANY_ISA = "any"

TRANSFER_WIDENING = 2.0
"""Both ends of an interval move by this factor where the factors were measured on another ISA."""


@dataclass(frozen=True)
class Row:
    """Factors of one engine in one phase on one ISA ("any" for memory).

    `factors` maps a term's name to the device's rate over the rate reached (seconds for terms in calls; a plain factor
    in memory). `low` and `high` multiply a prediction: nine in ten of the measurements lay between. `provenance` says
    on what, with which versions and by which command it was measured.
    """

    engine: str
    phase: Phase
    isa: str
    factors: Mapping[str, float]
    low: float
    high: float
    points: int
    provenance: str

    @property
    def name(self) -> str:
        return f"{self.engine} {self.phase} on {self.isa}"


@dataclass(frozen=True)
class Factors:
    rows: tuple[Row, ...]

    def row(self, engine: str, phase: Phase, device: DeviceProfile) -> tuple[Row, bool] | None:
        """The row for the device's ISA and False; or that of the nearest ISA and True; None where there is none."""
        rows = [row for row in self.rows if row.engine == engine and row.phase == phase]
        exact = [row for row in rows if row.isa in (isa_class(device), ANY_ISA)]
        if exact:
            return exact[0], False
        own_arch = ISA_CLASSES.get(device.cpu.arch, ())
        rows.sort(key=lambda row: (row.isa not in own_arch, own_arch.index(row.isa) if row.isa in own_arch else 0))
        return (rows[0], True) if rows else None


def isa_class(device: DeviceProfile) -> str:
    """The best of ISA_CLASSES that the device has; its architecture where it has none of them."""
    return next((name for name in ISA_CLASSES[device.cpu.arch] if device.has(name)), device.cpu.arch)


def table_path() -> Path:
    return Path(__file__).resolve().parents[1] / "data" / "factors.json"


@cache
def shipped_factors() -> Factors:
    return read_factors(table_path().read_text(encoding="utf-8"))


def read_factors(text: str) -> Factors:
    rows: list[dict[str, Any]] = json.loads(text)["rows"]
    return Factors(tuple(Row(**row) for row in rows))


def write_factors(factors: Factors) -> str:
    return json.dumps({"rows": [asdict(row) for row in factors.rows]}, indent=1, ensure_ascii=False) + "\n"
