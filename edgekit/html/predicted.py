"""Predicted against measured, as multiples of the estimate's middle; only where both are of the same machine."""

from __future__ import annotations

import math

from edgekit.html.axis import Axis, tick_labels
from edgekit.html.bars import bar, strip, tick
from edgekit.html.headline import is_compared
from edgekit.html.markup import Html, element, join
from edgekit.report import Report, Row, is_within, machine_told, off, show, show_estimate, show_off

_LEAST_FACTOR = 2.0


def prediction_chart(report: Report, device: str) -> Html | None:
    with_estimate = [row for row in report.rows if off(row) is not None]
    compared = [row for row in with_estimate if is_compared(report, row)]
    others = [row for row in with_estimate if not is_compared(report, row)]
    if not with_estimate:
        return None
    parts: list[Html] = []
    if compared:
        factor = max([_LEAST_FACTOR, *(_reach(row) for row in compared)])
        axis = Axis(1 / (1.06 * factor), 1.06 * factor, "x", logarithmic=True)
        parts += [_line(row, axis) for row in compared]
        parts.append(_scale(axis))
    if others:
        names = ", ".join(row.name for row in others)
        parts.append(
            element(
                "figcaption",
                f"Not held against one another: {names}. They were {machine_told(report.host)}; the estimates are for"
                f" {device}.",
            )
        )
    return element("figure", *parts)


def _scale(axis: Axis) -> Html:
    shown = Axis(axis.low, axis.high, "x", logarithmic=True)
    return join(
        [
            tick_labels(_Powers(shown.low, shown.high, "x", logarithmic=True)),
            element(
                "figcaption", "Multiples of the estimate's middle. The band is the estimate, the dot what was measured."
            ),
        ]
    )


class _Powers(Axis):
    def ticks(self) -> list[float]:
        """1 and powers of two, or of ten where there are many: as many as a phone has room for."""
        base = 2.0 if self.high < 20 else 10.0
        most = int(math.log(self.high) / math.log(base) + 1e-9)
        step = max(1, -(-most // 2))
        return [base**power for power in range(-(most // step) * step, most + 1, step)]


def _middle(row: Row) -> float:
    assert row.estimate_low is not None
    assert row.estimate_high is not None
    return math.sqrt(row.estimate_low) * math.sqrt(row.estimate_high)


def _reach(row: Row) -> float:
    """How far from 1 the row goes, as a factor."""
    assert row.measured is not None
    assert row.estimate_high is not None
    share = max(row.measured, 1e-12) / _middle(row)
    return min(max(share, 1 / share, row.estimate_high / _middle(row)), 1e6)


def _line(row: Row, axis: Axis) -> Html:
    assert row.measured is not None
    assert row.estimate_low is not None
    assert row.estimate_high is not None
    middle = _middle(row)
    inside = is_within(row)
    told = f"{row.name}: measured {show(row.measured, row.unit)}, estimated {show_estimate(row)}"
    at = axis.at(row.measured / middle)
    shapes = (
        element("rect", x=0, y=4.5, width=100, height=1, class_="track"),
        bar(axis.at(row.estimate_low / middle), axis.at(row.estimate_high / middle), "estimate", 8),
        tick(axis.at(1.0), "middle"),
    )
    dot = element("span", class_=f"dot {'good' if inside else 'bad'}", style=f"left:{at:.2f}%")
    where = "inside" if inside else "outside"
    name = element(
        "span",
        element("b", row.name),
        f" {show(row.measured, row.unit)}, estimated {show_estimate(row)}",
        class_="name",
    )
    number = element("span", f"{show_off(row)}, {where}", class_=f"number {'good' if inside else 'bad'}")
    drawing = element("div", strip(*shapes, label=told), dot, class_="dotted")
    return join([element("p", name, number, class_="series"), drawing])
