"""report.html and the page of `edgekit compare`: one file each, no network, no script, readable on a phone."""

from __future__ import annotations

from edgekit.comparison import Comparison
from edgekit.html import comparing, origin
from edgekit.html.distribution import fidelity_charts, latency_chart
from edgekit.html.document import document
from edgekit.html.headline import cards, heading, nothing_measured
from edgekit.html.markup import Html, element, section
from edgekit.html.memory import memory_chart
from edgekit.html.planned import plan_chart
from edgekit.html.predicted import prediction_chart
from edgekit.html.sizes import size_chart
from edgekit.html.training import compared_section, training_section
from edgekit.manifest import Manifest
from edgekit.report import Report

__all__ = ["comparison_page", "page"]


def page(report: Report, manifest: Manifest | None = None) -> str:
    """The report as a page. `manifest` adds what only the bundle knows: source, licence, tools, the device's title."""
    device = report.device
    if manifest is not None and manifest.device.name == report.device:
        device = manifest.device.title
    drawn = [
        _section("Fidelity", fidelity_charts(report), "How close the bundle's answers are to the original's."),
        _section("Speed and memory", [latency_chart(report), memory_chart(report), nothing_measured(report)]),
        _section("Predicted against measured", [prediction_chart(report, device)]),
        _section("Size", [size_chart(report.sizes)]),
    ]
    parts: list[Html | None] = [
        heading(report, device),
        cards(report, device),
        *drawn,
        None if report.training is None else compared_section(report.training),
        None if report.training is None else training_section(report.training),
        section("The plan", plan_chart(report, device)),
        section("Every figure", origin.figures(report)),
        section("Where it was measured", origin.machine(report, device)),
        section("Provenance", origin.provenance(report, manifest)),
    ]
    notes = origin.notes(report)
    if notes is not None:
        parts.append(section("Notes", notes))
    return document(f"{report.model}: {report.strategy} for {device}", parts)


def comparison_page(comparison: Comparison) -> str:
    """Bundles side by side as a page: who is who, the Pareto chart, every figure."""
    model = comparison.columns[0].report.model
    return document(f"{model}: {len(comparison.columns)} reports compared", comparing.parts(comparison))


def _section(title: str, charts: list[Html] | list[Html | None], lead: str = "") -> Html | None:
    """A section of charts, None where there is none to draw."""
    known = [chart for chart in charts if chart is not None]
    return section(title, element("div", *known, class_="charts"), lead=lead) if known else None
