"""The page of `edgekit compare`: who is who, what no other beats, and every figure side by side."""

from __future__ import annotations

from edgekit.comparison import Column, Comparison, Line, told
from edgekit.html.markup import Html, element, join, section, table
from edgekit.html.pareto import pareto_chart
from edgekit.report import machine_told, show


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
    charts = [] if comparison.frontier is None else [pareto_chart(comparison.columns, comparison.frontier)]
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
    return table("Every figure side by side", header, rows, "sides")


def _cell(line: Line, index: int) -> object:
    row = line.cells[index]
    if row is None:
        return None
    missed = element("span", "missed", class_="state bad") if row.passed is False else None
    is_best = index in line.best
    spoken = element("span", ", best", class_="hidden") if is_best else None
    value = element("span", show(row.measured, row.unit), spoken, class_="best" if is_best else None)
    return join([value, " " if missed else None, missed])
