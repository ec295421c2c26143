"""report.html and the page of `edgekit compare`: one file each, no network, no script, readable on a phone."""

from __future__ import annotations

from edgekit.comparison import Comparison
from edgekit.html import comparing, origin
from edgekit.html.distribution import fidelity_charts, latency_chart
from edgekit.html.headline import cards, heading, nothing_measured
from edgekit.html.markup import Html, element, section
from edgekit.html.memory import memory_chart
from edgekit.html.planned import plan_chart
from edgekit.html.predicted import prediction_chart
from edgekit.html.sizes import size_chart
from edgekit.html.style import STYLE
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
    parts = [
        heading(report, device),
        cards(report, device),
        *drawn,
        section("The plan", plan_chart(report, device)),
        section("Every figure", origin.figures(report)),
        section("Where it was measured", origin.machine(report, device)),
        section("Provenance", origin.provenance(report, manifest)),
    ]
    notes = origin.notes(report)
    if notes is not None:
        parts.append(section("Notes", notes))
    return _document(f"{report.model}: {report.strategy} for {device}", parts)


def comparison_page(comparison: Comparison) -> str:
    """Bundles side by side as a page: who is who, the Pareto chart, every figure."""
    model = comparison.columns[0].report.model
    return _document(f"{model}: {len(comparison.columns)} reports compared", comparing.parts(comparison))


def _section(title: str, charts: list[Html] | list[Html | None], lead: str = "") -> Html | None:
    """A section of charts, None where there is none to draw."""
    known = [chart for chart in charts if chart is not None]
    return section(title, element("div", *known, class_="charts"), lead=lead) if known else None


def _document(title: str, parts: list[Html | None] | list[Html]) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    footer = element("footer", "Written by edgekit. Every figure says whether it was measured, and on what.")
    body = element("body", element("main", *parts, footer))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
