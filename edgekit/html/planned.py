"""The plan: every candidate with what it was expected to cost on the device, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.html.axis import Axis
from edgekit.html.bars import bar, strip, tick
from edgekit.html.markup import Html, element, join, table
from edgekit.manifest import Considered, Interval, PlanSummary
from edgekit.report import Report, show, show_interval

_LIMITS = {"disk": ("--max-disk", "bytes"), "memory": ("--max-ram", "bytes"), "latency": ("--max-latency-ms", "ms"),
           "decoding": ("--min-tokens-per-s", "tokens/s")}  # fmt: skip


def plan_chart(report: Report, device: str) -> Html:
    plan = report.plan
    if plan is None:
        return element("p", "This bundle was validated alone; its plan is in edgekit.json.", class_="lead")
    decodes = any(each.tokens_per_s is not None for each in plan.considered)
    told = ("disk", "memory", "decoding" if decodes else "latency")
    columns = [name for name in told if any(_interval(each, name) is not None for each in plan.considered)]
    limits = {name: _limit(report, _LIMITS[name][0]) for name in columns}
    axes = {name: _axis(plan.considered, name, limits[name]) for name in columns}
    estimates = {each.candidate: each for each in plan.considered}
    rows = [_row(name, state, told, estimates.get(name), columns, axes, limits) for name, state, told in outcomes(plan)]
    header = ("candidate", *columns, "outcome")
    lead = f"Bars are estimates for {device}, from the optimistic to the pessimistic end; a line is a limit."
    lead = lead if columns else f"No candidate has an estimate for {device}."
    known = [*plan.remarks, *plan.advice]
    return join(
        [
            element("p", lead, class_="lead"),
            table("Candidates of the plan", header, rows, "plan"),
            _more(known),
        ]
    )


def _more(known: Sequence[str]) -> Html | None:
    """What the planner knew: long, so it is folded away; a print shows it."""
    if not known:
        return None
    title = f"What the planner knew of this model on this device ({len(known)})"
    return element("details", element("summary", title), element("ul", *(element("li", told) for told in known)))


def _limit(report: Report, flag: str) -> float | None:
    return next((row.limit for row in report.rows if row.flag == flag and row.limit is not None), None)


def _interval(candidate: Considered, name: str) -> Interval | None:
    found: Mapping[str, Interval | None] = {
        "disk": candidate.disk_bytes,
        "memory": candidate.ram_bytes,
        "latency": candidate.latency_ms,
        "decoding": candidate.tokens_per_s,
    }
    return found[name]


def _axis(considered: Sequence[Considered], name: str, limit: float | None) -> Axis | None:
    """From 0 to the pessimistic end of the widest; further to the limit if that is not far."""
    highs = [interval.high for each in considered if (interval := _interval(each, name)) is not None]
    if not highs or max(highs) <= 0:
        return None
    high = max(highs)
    if limit is not None and limit <= 3 * high:
        high = max(high, limit)
    return Axis(0.0, 1.04 * high, _LIMITS[name][1])


def _row(
    name: str,
    state: str,
    told: str,
    expected: Considered | None,
    columns: Sequence[str],
    axes: Mapping[str, Axis | None],
    limits: Mapping[str, float | None],
) -> list[object]:
    mark = element("span", state, class_=f"state {_STATES[state]}") if state else None
    title = element("span", element("b", name), " ", mark, class_="candidate")
    cells = [_cell(expected, column, axes[column], limits[column], state) for column in columns]
    return [title, *cells, told]


_STATES = {"chosen": "good", "passed": "plain", "missed": "bad", "rejected": "bad"}


def _cell(
    expected: Considered | None, column: str, axis: Axis | None, limit: float | None, state: str
) -> Html | str | None:
    if expected is None:
        return None
    interval = _interval(expected, column)
    if interval is None or axis is None:
        return "unknown"
    unit = _LIMITS[column][1]
    told = show_interval(interval.low, interval.high, unit)
    shapes = [element("rect", x=0, y=4, width=100, height=2, class_="track")]
    shapes.append(bar(axis.at(interval.low), axis.at(interval.high), "value" if state == "chosen" else "base", 6))
    if limit is not None and axis.holds(limit):
        shapes.append(tick(axis.at(limit), "limit"))
    label = f"{column} {told}" + (f", limit {show(limit, unit)}" if limit is not None else "")
    return element("div", element("span", told), strip(*shapes, label=label), class_="expects")


def outcomes(plan: PlanSummary) -> list[tuple[str, str, str]]:
    """(candidate, state, what became of it): the tried, then the rejected, then those that were not needed."""
    found = []
    for each in plan.tried:
        state = "missed" if not each.passed else "chosen" if each.candidate == plan.chosen else "passed"
        if each.candidate == plan.chosen and not each.passed:
            found.append((each.candidate, "missed", f"kept, though it missed {', '.join(each.missed)}"))
        else:
            told = (
                "made and measured when packed: held every limit" if each.passed else f"missed {', '.join(each.missed)}"
            )
            found.append((each.candidate, state, told))
    for refused in plan.rejected:
        against = f" ({show(refused.measured, refused.unit)} against {show(refused.limit, refused.unit)})"
        figures = "" if refused.measured is None else against
        remedy = f"; {refused.remedy}" if refused.remedy else ""
        found.append((refused.candidate, "rejected", f"not tried: {refused.reason}{figures}{remedy}"))
    told_of = {name for name, _, _ in found}
    rest = [each.candidate for each in plan.considered if each.candidate not in told_of]
    return found + [(name, "", "not needed") for name in rest]
