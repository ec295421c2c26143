"""Axes: values to percent of a plot's width, ticks that read well, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.html.markup import Html, element, join
from edgekit.report import show

# About what a character of a label takes of the narrowest plot, in percent of its width.
_CHARACTER_PERCENT = 2.1
_TICKS = 4


@dataclass(frozen=True)
class Axis:
    """A linear, or logarithmic, scale from `low` to `high` (low < high, both above 0 if logarithmic)."""

    low: float
    high: float
    unit: str
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Percent from the left; values beyond an end are at that end."""
        low, high, value = (self._scaled(each) for each in (self.low, self.high, value))
        if not high > low:  # so near to one another that they are one number
            return 0.0
        return min(100.0, max(0.0, 100 * (value - low) / (high - low)))

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def edges(self, bins: int) -> list[float]:
        """Ends of `bins` bins of equal width on the page."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        between = [low + (high - low) * index / bins for index in range(1, bins)]
        return [self.low, *(10**each if self.logarithmic else each for each in between), self.high]

    def ticks(self) -> list[float]:
        return _decades(self.low, self.high) if self.logarithmic else _round_steps(self.low, self.high, self.unit)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low * 1e-3)) if self.logarithmic else value


def _round_steps(low: float, high: float, unit: str) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten (of two, for bytes)."""
    rough = (high - low) / _TICKS
    if rough < 1e-9 * max(abs(low), abs(high), 1e-290):
        return [low]
    if unit == "bytes":
        step = 2.0 ** math.floor(math.log2(rough))
        steps: tuple[float, ...] = (step, 2 * step)
    else:
        step = 10.0 ** math.floor(math.log10(rough))
        steps = (step, 2 * step, 5 * step, 10 * step)
    step = next((each for each in steps if (high - low) / each <= _TICKS + 1), steps[-1])
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, min(last, first + 12) + 1)]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, -(-(last - first + 1) // 6))
    found = [10.0**power for power in range(first, last + 1, step)]
    return found if len(found) > 1 else [low, high]


def tick_labels(axis: Axis) -> Html:
    """The axis below a plot."""
    ticks = axis.ticks()
    return element("div", *(placed(axis.at(tick), short(tick, axis.unit)) for tick in ticks), class_="ticks")


def short(value: float, unit: str) -> str:
    """A tick: as few digits as it has."""
    if unit == "bytes":
        return show(value, unit).replace(".0 ", " ") if value else "0"
    digits = f"{value:.6g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.0e}".replace("e-0", "e-")
    return f"{digits} {unit}".strip()


def placed(percent: float, text: str, classes: str = "", top_rows: int = 0) -> Html:
    """A label at that place, which never leaves the plot."""
    side = "left" if percent < 12 else "right" if percent > 88 else "middle"
    place = f"right:{100 - percent:.2f}%" if side == "right" else f"left:{percent:.2f}%"
    return element("span", text, class_=f"{side} {classes}".strip(), style=f"{place};--row:{top_rows}")


@dataclass(frozen=True)
class Mark:
    """A line across a plot with its label: a percentile, a limit."""

    value: float
    label: str
    kind: str = ""


def marks(axis: Axis, wanted: Sequence[Mark], inside: str) -> Html:
    """The plot's svg `inside` with its lines, and above it their labels, each in the first row where it has room."""
    ends: list[float] = []
    labels, lines = [], []
    for mark in sorted(wanted, key=lambda each: each.value):
        if not axis.holds(mark.value):
            continue
        percent = axis.at(mark.value)
        half = len(mark.label) * _CHARACTER_PERCENT / 2
        start = percent if percent < 12 else percent - 2 * half if percent > 88 else percent - half
        row = next((index for index, end in enumerate(ends) if end <= start), len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = start + 2 * half + 1
        labels.append(placed(percent, mark.label, mark.kind, row))
        lines.append(
            element("line", x1=f"{percent:.2f}", x2=f"{percent:.2f}", y1=0, y2=100, class_=f"mark {mark.kind}".strip())
        )
    drawn = element(
        "svg",
        Html(inside),
        *lines,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        aria_hidden="true",
        focusable="false",
    )
    above = element("div", *labels, class_="labels", style=f"--rows:{len(ends)}") if labels else None
    return join([above, drawn])
