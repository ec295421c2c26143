"""A comparison for a terminal: who is who, every figure side by side, and what comes of it."""

from __future__ import annotations

from edgekit.comparison import Column, Comparison, Line, told
from edgekit.grid import REPORT_COLUMNS, paragraph, tables
from edgekit.report import machine_told, show


def comparison_text(comparison: Comparison) -> str:
    """At most 100 columns wide; with many reports the figures are told in several tables under one another."""
    header = ("figure", *(column.key for column in comparison.columns))
    rows = [(line.name, *(_cell(line, index) for index in range(len(line.cells)))) for line in comparison.lines]
    legend = "* the best of its row on one scale"
    if any(cell and cell.passed is False for line in comparison.lines for cell in line.cells):
        legend += "; MISSED: over its own limit"
    parts = [
        f"{comparison.columns[0].report.model}: {comparison.task}, {len(comparison.columns)} reports",
        "",
        *(paragraph(_who(column), "     ", REPORT_COLUMNS) for column in comparison.columns),
        "",
        tables(header, rows, REPORT_COLUMNS),
        "",
        legend,
        *(paragraph(line, "  ", REPORT_COLUMNS) for line in told(comparison)),
    ]
    return "\n".join(parts)


def _who(column: Column) -> str:
    report = column.report
    what = f"{report.strategy} for {report.device}, {report.status}"
    return f"  {column.key}  {column.name}: {what}; {machine_told(report.host)}"


def _cell(line: Line, index: int) -> str:
    row = line.cells[index]
    if row is None:
        return "-"
    mark = " *" if index in line.best else ""
    missed = " MISSED" if row.passed is False else ""
    return f"{show(row.measured, row.unit)}{mark}{missed}"
