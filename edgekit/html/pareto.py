"""The Pareto chart: fidelity up, speed (or bytes) across, and the model file as the size of a bubble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.comparison import Column, Frontier, Objective
from edgekit.html.axis import Axis, short, tick_labels
from edgekit.html.markup import Html, element, figure
from edgekit.report import show

# Diameters: what a letter needs, and what leaves room for the others.
_LEAST_PX, _MOST_PX = 26, 64
# What is so many times closer to perfect than the worst is drawn at the bottom, and told.
_FAR_CLOSER = 1e4
# Where those are drawn, so that they lie in the chart.
_LOWEST_PERCENT = 8.0


@dataclass(frozen=True)
class _Point:
    key: str
    x: float
    y: float
    size_bytes: float
    is_optimal: bool


def pareto_chart(columns: Sequence[Column], frontier: Frontier) -> Html:
    """Across: speed, or bytes where no speed is on one scale. Up: distance from the original's answers."""
    fidelity, across, size = frontier.objectives[0], frontier.objectives[1], frontier.objectives[-1]
    points = [
        _Point(
            key=columns[index].key,
            x=across.of(columns[index].report) or 0.0,
            y=fidelity.of(columns[index].report) or 0.0,
            size_bytes=size.of(columns[index].report) or 0.0,
            is_optimal=index in frontier.optimal,
        )
        for index in frontier.columns
    ]
    horizontal = _axis([point.x for point in points], across.unit)
    vertical = _fidelity_axis([point.y for point in points])
    spoken = "; ".join(_spoken(columns[index], frontier.objectives) for index in frontier.columns)
    title = f"{fidelity.row} and {across.row}"
    return figure(
        title[:1].upper() + title[1:],
        element("p", f"{fidelity.title}: less is better", class_="axis-name"),
        element(
            "div",
            _grid(horizontal, vertical),
            _rows(vertical),
            *_bubbles(points, horizontal, vertical),
            class_="scatter",
            role="img",
            aria_label=spoken,
        ),
        tick_labels(horizontal),
        element("p", f"{across.title}: {'more' if across.better == 'max' else 'less'} is better", class_="axis-name x"),
        caption=_caption(points, vertical, timed=len(frontier.objectives) > 2),
    )


def _caption(points: Sequence[_Point], vertical: Axis, *, timed: bool) -> str:
    told = "Bubbles are as large as the model file. Coloured: Pareto-optimal."
    if not timed:
        told = "Coloured: Pareto-optimal. Speed is left out: it was not measured on one machine."
    closer = [point.key for point in points if vertical.logarithmic and point.y < vertical.low]
    if closer:
        told += f" At the bottom, and closer still than the axis goes: {', '.join(closer)}."
    return told


def _spoken(column: Column, objectives: Sequence[Objective]) -> str:
    figures = ", ".join(f"{each.title} {show(each.of(column.report), each.unit)}" for each in objectives)
    return f"{column.key}: {figures}"


def _grid(horizontal: Axis, vertical: Axis) -> Html:
    across = [f"{horizontal.at(tick):.2f}" for tick in horizontal.ticks()]
    up = [f"{100 - vertical.at(tick):.2f}" for tick in vertical.ticks()]
    lines = [element("line", x1=x, x2=x, y1=0, y2=100, class_="grid") for x in across]
    lines += [element("line", x1=0, x2=100, y1=y, y2=y, class_="grid") for y in up]
    return element(
        "svg", *lines, viewBox="0 0 100 100", preserveAspectRatio="none", aria_hidden="true", focusable="false"
    )


def _rows(vertical: Axis) -> Html:
    ticks = [element("span", short(tick, ""), style=f"bottom:{vertical.at(tick):.2f}%") for tick in vertical.ticks()]
    return element("div", *ticks, class_="rows")


def _bubbles(points: Sequence[_Point], horizontal: Axis, vertical: Axis) -> list[Html]:
    """Area goes with bytes, down to what a letter needs; the small lie on the large."""
    largest = max(point.size_bytes for point in points) or 1.0
    drawn = []
    for point in points:
        size = max(_LEAST_PX, round(_MOST_PX * math.sqrt(max(point.size_bytes, 0.0) / largest)))
        place = f"left:{horizontal.at(point.x):.2f}%;bottom:{max(_LOWEST_PERCENT, vertical.at(point.y)):.2f}%"
        style = f"{place};width:{size}px;height:{size}px;z-index:{_MOST_PX + 1 - size}"
        classes = "bubble optimal" if point.is_optimal else "bubble"
        drawn.append(element("span", point.key, class_=classes, style=style))
    return drawn


def _axis(values: Sequence[float], unit: str) -> Axis:
    """From 0, with room for a bubble at the far end."""
    high = max(values)
    return Axis(0.0, 1.18 * high if high > 0 else 1.0, unit)


def _fidelity_axis(values: Sequence[float]) -> Axis:
    """Logarithmic where the best and the worst are far apart; with room for bubbles at both ends."""
    low, high = max(min(values), max(values) / _FAR_CLOSER), max(values)
    if low > 0 and high > 8 * low:
        room = (high / low) ** 0.12
        return Axis(low / room, high * room, "", logarithmic=True)
    return _axis([max(value, 0.0) for value in values], "")
