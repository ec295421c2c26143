"""Predictions against measurements: how far off, inside the interval or not, and which targets that reaches."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.costs import Estimate
from edgekit.strategies import Candidate
from harness.probing import Reading, Staged

Quantity = Literal["file", "peak RSS", "latency", "prefill", "decode"]
UNITS: dict[Quantity, str] = {
    "file": "MB",
    "peak RSS": "MB",
    "latency": "ms",
    "prefill": "tokens/s",
    "decode": "tokens/s",
}


@dataclass(frozen=True)
class Row:
    """One figure, predicted before it was measured. `tokens` is the input's length, 0 where there is none."""

    shape: str
    strategy: str
    threads: int
    quantity: Quantity
    tokens: int
    measured: float
    predicted: float | None
    low: float | None
    high: float | None

    @property
    def error(self) -> float | None:
        """Relative to what was measured; None where nothing was predicted."""
        return None if self.predicted is None else self.predicted / self.measured - 1

    @property
    def inside(self) -> bool:
        return self.low is not None and self.high is not None and self.low <= self.measured <= self.high


def rows(shape: str, candidate: Candidate, threads: int, staged: Staged, measured: Sequence[Reading]) -> list[Row]:
    """Every figure of one candidate with these threads, beside what it was expected to be."""

    def row(quantity: Quantity, tokens: int, value: float, expected: Estimate | None, scale: float = 1.0) -> Row:
        if expected is None:
            return Row(shape, candidate.label, threads, quantity, tokens, value, None, None, None)
        low, middle, high = (scale * each for each in (expected.low, expected.mid, expected.high))
        return Row(shape, candidate.label, threads, quantity, tokens, value, middle, low, high)

    found = [row("file", 0, staged.file_bytes / 1e6, candidate.disk_bytes, 1e-6)]
    for each in measured:
        if each.phase == "memory":
            found.append(row("peak RSS", each.tokens, each.value / 1e6, candidate.ram_bytes, 1e-6))
        elif each.phase == "encode":
            found.append(row("latency", each.tokens, each.value * 1e3, candidate.latency_at.get(each.tokens)))
        elif each.phase == "prefill":
            found.append(row("prefill", each.tokens, each.tokens / each.value, candidate.prefill_tokens_per_s))
        else:
            found.append(row("decode", each.tokens, 1 / each.value, candidate.tokens_per_s))
    return found


@dataclass(frozen=True)
class Target:
    """What was asked, what came out, and whether it is reached."""

    name: str
    asked: str
    found: str
    reached: bool


def targets(figures: Sequence[Row]) -> list[Target]:
    """Every target; one without figures is not reached. A figure without a prediction is infinitely far off."""
    file = _errors(figures, ("file",))
    memory = _errors(figures, ("peak RSS",))
    speed = _errors(figures, ("latency", "prefill", "decode"))
    told = [row for row in figures if row.quantity in ("latency", "prefill", "decode")]
    inside = sum(row.inside for row in told) / max(1, len(told))
    return [
        _at_most("file bytes, worst", file, max, 0.01, "1 %"),
        _at_most("peak RSS, median", memory, statistics.median, 0.10, "10 %"),
        _at_most("peak RSS, worst", memory, max, 0.20, "20 %"),
        _at_most("latency and tokens/s, median", speed, statistics.median, 0.20, "20 %"),
        Target("latency and tokens/s, inside the interval", ">= 90 %", f"{inside:.0%} of {len(told)}", inside >= 0.9),
    ]


def _errors(figures: Sequence[Row], quantities: tuple[Quantity, ...]) -> list[float]:
    chosen = [row for row in figures if row.quantity in quantities]
    return [float("inf") if row.error is None else abs(row.error) for row in chosen]


def _at_most(
    name: str, errors: Sequence[float], of: Callable[[Sequence[float]], float], limit: float, told: str
) -> Target:
    if not errors:
        return Target(name, f"<= {told}", "nothing was measured", False)
    value = of(errors)
    return Target(name, f"<= {told}", f"{value:.1%} of {len(errors)}", value <= limit)
