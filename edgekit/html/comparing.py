"""The page of `edgekit compare`: who is who, what no other beats, and every figure side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.comparison import Column, Comparison, Frontier, Line, Objective, told
from edgekit.html.axis import Axis, short, tick_labels
from edgekit.html.markup import Html, element, figure, join, section, table
from edgekit.report import machine_told, show

_LEAST_PX, _MOST_PX = 26, 64


def parts(comparison: Comparison) -> list[Html]:
    first = comparison.columns[0].report
    heading = element(
        "header",
        element("p", "edgekit comparison", class_="eyebrow"),
        element("h1", first.model),
        element("p", f"{len(comparison.columns)} reports", element("span", first.task, class_="task"), class_="sub"),
        element("div", *(_who(column) for column in comparison.columns), class_="who"),
    )
    sentences = [element("p", sentence) for sentence in told(comparison)]
    charts = [] if comparison.frontier is None else [_scatter(comparison, comparison.frontier)]
    if not sentences:
        sentences = [element("p", "No two reports share fidelity and size on one scale, so there is nothing to weigh.")]
    return [
        heading,
        section("What no other beats", join(sentences), *charts),
        section(
            "Side by side", _lines(comparison), lead="The star marks the best of a row among figures on one scale."
        ),
    ]


def _key(column: Column) -> Html:
    return element("span", column.key, class_="key")


def _who(column: Column) -> Html:
    report = column.report
    state = element("span", report.status, class_=f"state {'good' if report.status == 'passed' else 'bad'}")
    where = machine_told(report.host) + ("" if report.device_is_host else f", not on {report.device} itself")
    text = element(
        "div",
        element("p", element("b", column.name), " ", state),
        element("p", f"{report.strategy} for {report.device}"),
        element("p", where),
    )
    return element("div", _key(column), text, class_="card")


def _lines(comparison: Comparison) -> Html:
    header = ("figure", *(f"{column.key} {column.report.strategy}" for column in comparison.columns))
    rows = [[line.name, *(_cell(line, index) for index in range(len(line.cells)))] for line in comparison.lines]
    return table("Every figure side by side", header, rows)


def _cell(line: Line, index: int) -> object:
    row = line.cells[index]
    if row is None:
        return None
    missed = element("span", "missed", class_="state bad") if row.passed is False else None
    is_best = index in line.best
    spoken = element("span", ", best", class_="hidden") if is_best else None
    value = element("span", show(row.measured, row.unit), spoken, class_="best" if is_best else None)
    return join([value, " " if missed else None, missed])


def _scatter(comparison: Comparison, frontier: Frontier) -> Html:
    """Across: speed, or bytes where no speed is on one scale. Up: fidelity."""
    fidelity, across = frontier.objectives[0], frontier.objectives[1]
    size = frontier.objectives[-1]
    columns = [comparison.columns[index] for index in frontier.columns]
    xs = [across.of(column.report) or 0.0 for column in columns]
    ys = [fidelity.of(column.report) or 0.0 for column in columns]
    bytes_ = [size.of(column.report) or 0.0 for column in columns]
    horizontal, vertical = _axis(xs, across.unit), _fidelity_axis(ys)
    bubbles = [
        _bubble(column, horizontal.at(x), vertical.at(y), weight / max(bytes_), index in frontier.optimal)
        for column, index, x, y, weight in zip(columns, frontier.columns, xs, ys, bytes_, strict=True)
    ]
    spoken = "; ".join(_spoken(column, frontier.objectives) for column in columns)
    grid = [_grid(x1=horizontal.at(tick)) for tick in horizontal.ticks()] + [
        _grid(y1=100 - vertical.at(tick)) for tick in vertical.ticks()
    ]
    drawn = element(
        "svg", *grid, viewBox="0 0 100 100", preserveAspectRatio="none", aria_hidden="true", focusable="false"
    )
    rows = [element("span", short(tick, ""), style=f"bottom:{vertical.at(tick):.2f}%") for tick in vertical.ticks()]
    scatter = element(
        "div", drawn, element("div", *rows, class_="rows"), *bubbles, class_="scatter", role="img", aria_label=spoken
    )
    x_name = f"{across.title}: {'more' if across.better == 'max' else 'less'} is better"
    caption = (
        "Bubbles are as large as the model file. Coloured: Pareto-optimal."
        if len(frontier.objectives) > 2
        else ("Coloured: Pareto-optimal. Speed is left out: these reports come from different machines.")
    )
    title = f"{fidelity.row} and {across.row}"
    return figure(
        title[:1].upper() + title[1:],
        element("p", f"{fidelity.title}: less is better", class_="axis-name"),
        scatter,
        tick_labels(horizontal),
        element("p", x_name, class_="axis-name x"),
        caption=caption,
    )


def _spoken(column: Column, objectives: Sequence[Objective]) -> str:
    figures = ", ".join(f"{each.title} {show(each.of(column.report), each.unit)}" for each in objectives)
    return f"{column.key}: {figures}"


def _grid(x1: float | None = None, y1: float | None = None) -> Html:
    if x1 is not None:
        return element("line", x1=f"{x1:.2f}", x2=f"{x1:.2f}", y1=0, y2=100, class_="grid")
    return element("line", x1=0, x2=100, y1=f"{y1:.2f}", y2=f"{y1:.2f}", class_="grid")


def _bubble(column: Column, x: float, y: float, share: float, optimal: bool) -> Html:
    """Area goes with bytes, down to what a letter needs."""
    size = max(_LEAST_PX, _MOST_PX * math.sqrt(max(share, 0.0)))
    place = f"left:{x:.2f}%;bottom:{y:.2f}%;width:{size:.0f}px;height:{size:.0f}px;z-index:{int(200 - size)}"
    return element("span", column.key, class_=f"bubble {'optimal' if optimal else ''}".strip(), style=place)


def _axis(values: Sequence[float], unit: str) -> Axis:
    """From 0, with room for a bubble at the far end."""
    high = max(values)
    return Axis(0.0, 1.18 * high if high > 0 else 1.0, unit)


def _fidelity_axis(values: Sequence[float]) -> Axis:
    """Logarithmic where the best and the worst are far apart, and none is perfect."""
    low, high = min(values), max(values)
    if low > 0 and high > 8 * low:
        return Axis(low / 2, high * 2, "", logarithmic=True)
    return _axis([max(value, 0.0) for value in values], "")
