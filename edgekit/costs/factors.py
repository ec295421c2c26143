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
# Where an engine is built for less than the CPU has: llama-cpp-python's own builds stop at AVX2.
BUILT_FOR: Mapping[tuple[str, str], tuple[str, ...]] = {("llama.cpp", "x86_64"): ("avx2", "sse4_2")}
ANY_ISA = "any"

TRANSFER_WIDENING = 2.0
"""Both ends of an interval move by this factor where the factors were measured on another ISA. Of decode speeds that
others published of Raspberry Pis the middles of the intervals, carried over from AVX2, are off by 1.05 to 1.5 times
(tests/unit/strategies/gguf/test_published.py).
"""


@dataclass(frozen=True)
class Row:
    """Factors of one engine in one phase on one ISA ("any" for memory).

    `factors` maps a term's name to the device's rate over the rate reached (seconds for terms in calls; a plain factor
    in memory). `low` and `high` multiply a prediction: of the measurements of a shape that the others were fitted
    without, nineteen in twenty lay between. `least` is the least work measured, in operations: below it what does not
    grow with the work was not seen well. `provenance` says on what, with which versions and by which command it was
    measured.
    """

    engine: str
    phase: Phase
    isa: str
    factors: Mapping[str, float]
    low: float
    high: float
    points: int
    provenance: str
    least: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.engine} {self.phase} on {self.isa}"


@dataclass(frozen=True)
class Factors:
    """The rows, in the order of the file; of two for the same engine, phase and ISA the first counts."""

    rows: tuple[Row, ...]

    def row(self, engine: str, phase: Phase, device: DeviceProfile) -> tuple[Row, bool] | None:
        """The row for the device's ISA (or any) and False; or that of the nearest ISA and True; None without a row."""
        own = isa_class(device, engine)
        rows = [row for row in self.rows if row.engine == engine and row.phase == phase]
        for isa in (own, ANY_ISA):
            exact = next((row for row in rows if row.isa == isa), None)
            if exact is not None:
                return exact, False
        nearest = min(rows, key=lambda row: (_distance(device.cpu.arch, own, row.isa), row.isa), default=None)
        return None if nearest is None else (nearest, True)


def _distance(arch: str, own: str, other: str) -> int:
    """Steps between two classes of one architecture; any other architecture is further than all of its own."""
    classes = (*ISA_CLASSES[arch], arch)
    return abs(classes.index(own) - classes.index(other)) if other in classes else len(classes)


def isa_class(device: DeviceProfile, engine: str = "") -> str:
    """The best of ISA_CLASSES that the device has and the engine is built for; its architecture where there is none."""
    arch = device.cpu.arch
    classes = BUILT_FOR.get((engine, arch), ISA_CLASSES[arch])
    return next((name for name in classes if device.has(name)), arch)


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
