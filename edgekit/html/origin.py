"""Every figure with its origin, where it was measured, and what the bundle was made from."""

from __future__ import annotations

from edgekit.html.bars import limit_told
from edgekit.html.headline import is_compared
from edgekit.html.markup import Html, element, facts, join, table
from edgekit.manifest import Manifest, MergedFrom
from edgekit.report import Report, Row, is_within, show, show_estimate, show_off


def figures(report: Report) -> Html:
    header = ("figure", "measured", "limit", "estimate", "verdict", "where")
    rows = [_figure(row, compared=is_compared(report, row)) for row in report.rows]
    return table("Every figure", header, rows, "figures")


def _figure(row: Row, *, compared: bool) -> list[object]:
    """`compared`: the estimate is for what was measured, so that how far it was off is told."""
    verdict = None
    if row.passed is not None:
        word, kind = ("held", "good") if row.passed else ("missed", "bad")
        verdict = element("span", word, class_=f"state {kind}")
    error = show_off(row) if compared else ""
    beside = f"measured {error}{'' if is_within(row) else ', outside'}" if error else None
    estimate = show_estimate(row) or None
    told = estimate and join([estimate, element("small", beside) if beside else None])
    where = element("span", row.where, class_="where")
    return [row.name, show(row.measured, row.unit), limit_told(row) or None, told, verdict, where]


def machine(report: Report, device: str) -> Html:
    host = report.host
    itself = "" if report.device_is_host else f" (not {device} itself)"
    return facts(
        [
            ("target", host.target),
            ("CPU", f"{host.cpu}{itself}"),
            ("emulator", host.emulator),
            ("kernels", ", ".join(host.kernels)),
            ("instruction sets", " ".join(host.isa) or "unknown"),
            ("threads", str(host.threads)),
            ("system", host.system),
            ("compared with", report.reference),
            ("compared on", report.evaluated_on),
            ("speed against", report.baseline or "nothing"),
            ("measured at", report.created_utc),
        ]
    )


def provenance(report: Report, manifest: Manifest | None) -> Html:
    file = element("code", report.model_sha256)
    if manifest is None:
        return facts([("model file, sha256", file)])
    source = manifest.provenance
    tools = ", ".join(f"{name} {version}" for name, version in source.tools.items())
    return facts(
        [
            ("source", source.source),
            ("revision", source.revision),
            ("source, sha256", element("code", source.source_sha256)),
            *([("merged from", _ingredients(source.merged))] if source.merged is not None else []),
            ("licence", source.licence or "not stated by the source"),
            ("model file", manifest.model_file),
            ("model file, sha256", file),
            ("engine", manifest.engine),
            ("runs on", _isa(manifest)),
            ("packed", source.created_utc),
            ("tools", tools),
        ]
    )


def _ingredients(merged: MergedFrom) -> str:
    told = [
        f"adapter {each.source}{f' x {each.weight:g}' if each.weight != 1 else ''} (sha256 {each.sha256[:16]})"
        for each in merged.adapters
    ]
    return f"{', '.join(told)}; base {merged.base.source} (sha256 {merged.base.sha256[:16]})"


def _isa(manifest: Manifest) -> str:
    return "; ".join(f"{arch}: {', '.join(needed) or 'any'}" for arch, needed in manifest.min_isa.items())


def notes(report: Report) -> Html | None:
    if not report.notes:
        return None
    return element("ul", *(element("li", note) for note in report.notes), class_="notes")
