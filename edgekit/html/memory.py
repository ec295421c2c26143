"""Memory against what the device lets an app use."""

from __future__ import annotations

from edgekit.html.axis import Axis
from edgekit.html.bars import bar, strip, tick
from edgekit.html.headline import is_compared
from edgekit.html.markup import Html, element, figure, join
from edgekit.report import Report, Row, show, show_estimate

_TOLD = {
    "model file": "the weights, on disk",
    "anonymous memory": "cannot be dropped: heap, activations, copies",
    "KV cache": "computed from the shape of the cache",
    "counted memory": "what this device counts against an app",
    "peak RSS": "the most that was resident at once",
}
# A limit further away than so many times the longest bar is told, and not drawn.
_FAR = 3.0


def memory_chart(report: Report) -> Html | None:
    rows = {row.name: row for row in report.rows}
    drawn = [rows[name] for name in _TOLD if name in rows and _value(rows[name]) is not None]
    if not any(row.name in ("peak RSS", "anonymous memory") for row in drawn):
        return None
    limited = next((rows[name] for name in ("counted memory", "peak RSS") if name in rows and rows[name].limit), None)
    ends = [value for row in drawn for value in _ends(report, row)]
    longest = max(ends)
    limit = limited.limit if limited else None
    is_near = limit is not None and limit <= _FAR * longest
    axis = Axis(0.0, max(1.04 * max(longest, limit if is_near and limit else 0.0), 1.0), "bytes")
    body = [_line(report, row, axis, limit if is_near else None) for row in drawn]
    confined = rows.get("runs within the memory limit")
    if confined is not None:
        answer = "ran" if confined.measured else "did not run"
        state = "good" if confined.measured else "bad"
        body.append(
            element("p", "Confined to the limit, the bundle ", element("b", answer, class_=state), ".", class_="ran")
        )
    return figure("Memory", *body, caption=_caption(limited, is_near))


def _caption(limited: Row | None, is_near: bool) -> object:
    if limited is None or limited.limit is None:
        return "No memory limit is known for the device."
    limit = show(limited.limit, "bytes")
    if is_near:
        return f"The line is the limit, {limit}, that {limited.name} is held to."
    if not limited.measured:
        return f"The limit on {limited.name} is {limit}."
    times = limited.limit / limited.measured
    return f"The limit on {limited.name}, {limit}, is {times:.3g} times what was measured: far off this axis."


def _value(row: Row) -> float | None:
    """What was measured; of the cache what was computed."""
    return row.estimate_high if row.name == "KV cache" and row.measured is None else row.measured


def _ends(report: Report, row: Row) -> list[float]:
    estimate = row.estimate_high if is_compared(report, row) else None
    return [value for value in (_value(row), estimate) if value is not None]


def _line(report: Report, row: Row, axis: Axis, limit: float | None) -> Html:
    value = _value(row)
    assert value is not None
    shapes = [element("rect", x=0, y=3, width=100, height=4, class_="track")]
    told = show(value, "bytes")
    if is_compared(report, row) and row.estimate_low is not None and row.estimate_high is not None:
        shapes.append(bar(axis.at(row.estimate_low), axis.at(row.estimate_high), "estimate", 9))
        told += f", estimated {show_estimate(row)}"
    shapes.append(bar(0, axis.at(value), "bad" if row.passed is False else "base" if row.measured is None else "value"))
    if limit is not None:
        shapes.append(tick(axis.at(limit), "limit"))
    name = element("span", element("b", row.name), f" {_TOLD[row.name]}", class_="name")
    drawing = strip(*shapes, label=f"{row.name} {told}")
    return join([element("p", name, element("span", show(value, "bytes"), class_="number"), class_="series"), drawing])
