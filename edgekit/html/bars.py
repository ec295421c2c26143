"""Bars of one line: a figure against its limit and its estimate, in a table's cell or under a headline."""

from __future__ import annotations

from edgekit.html.axis import Axis
from edgekit.html.markup import Html, element
from edgekit.report import Row, show_limit


def limit_told(row: Row) -> str:
    """The row's limit as a page writes it, "" where there is none."""
    return show_limit(row).replace(">=", "\N{GREATER-THAN OR EQUAL TO}").replace("<=", "\N{LESS-THAN OR EQUAL TO}")


def strip(*shapes: Html, label: str) -> Html:
    """A thin drawing, as wide as there is room, of shapes in percent."""
    return element(
        "svg", *shapes, class_="strip", viewBox="0 0 100 10", preserveAspectRatio="none", role="img", aria_label=label
    )


def bar(start: float, end: float, classes: str, thickness: float = 4) -> Html:
    """From `start` to `end` percent; never too narrow to be seen."""
    width = max(end - start, 0.8)
    left = min(start, 100 - width)
    return element(
        "rect",
        x=f"{left:.2f}",
        y=f"{5 - thickness / 2:g}",
        width=f"{width:.2f}",
        height=f"{thickness:g}",
        class_=classes,
    )


def tick(at: float, classes: str) -> Html:
    return element("line", x1=f"{at:.2f}", x2=f"{at:.2f}", y1=0, y2=10, class_=classes)


def gauge_axis(row: Row, *, compared: bool) -> Axis | None:
    """A scale for the row's figure, limit and (if `compared`) estimate; None where there is nothing to hold it against.

    Shares near 1 are drawn from as far below the limit as the limit is from 1; all else from 0.
    """
    estimates = [row.estimate_low, row.estimate_high] if compared else []
    known = [value for value in (row.limit, *estimates) if value is not None]
    if row.measured is None or not known or row.unit == "yes/no" or row.limit == 0:
        return None
    values = [*known, row.measured]
    if row.bound == "min" and row.unit == "" and row.limit is not None and 0 < row.limit < 1:
        low = min(1 - 2 * (1 - row.limit), *values)
        return Axis(low - 0.02 * (1 - low), 1.0, "") if max(values) <= 1 else Axis(low, max(values), "")
    low, high = min(0.0, *values), max(0.0, *values)
    return Axis(low, high * 1.06 if high > low else low + 1, row.unit)


def gauge(row: Row, told: str, *, compared: bool) -> Html | None:
    """The figure as a bar, its limit as a line, the estimate's interval behind it."""
    axis = gauge_axis(row, compared=compared)
    if axis is None or row.measured is None:
        return None
    shapes = [element("rect", x=0, y=3, width=100, height=4, class_="track")]
    if row.limit is not None and row.bound is not None:
        at = axis.at(row.limit)
        allowed = (at, 100.0) if row.bound == "min" else (0.0, at)
        shapes.append(bar(*allowed, "allowed"))
    if compared and row.estimate_low is not None and row.estimate_high is not None:
        shapes.append(bar(axis.at(row.estimate_low), axis.at(row.estimate_high), "estimate", 9))
    shapes.append(bar(0, axis.at(row.measured), "bad" if row.passed is False else "value"))
    if row.limit is not None and row.bound is not None:
        shapes.append(tick(axis.at(row.limit), "limit"))
    return strip(*shapes, label=told)
