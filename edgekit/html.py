"""report.html: one file, no network, readable on a phone, in light and dark."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from edgekit.manifest import Considered, Interval, PlanSummary
from edgekit.report import Report, Row, is_within, show, show_estimate, show_interval, show_limit, show_off

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--line:#dde2e7;--page:#fbfcfd;--card:#fff;
--good:#18794e;--bad:#c62a2f;--bar:#3e63dd;--base:#b9c2cc;--warn:#ad5700}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa4af;--line:#2b3138;--page:#111418;--card:#181c21;
--good:#4cc38a;--bad:#ff8b8b;--bar:#849dff;--base:#4a545f;--warn:#ffa057}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.5rem 0 .75rem}
p{margin:.25rem 0}.soft{color:var(--soft)}.pass{color:var(--good)}.fail{color:var(--bad)}
.badge{display:inline-block;padding:.1rem .6rem;border-radius:1rem;border:1px solid currentColor;font-weight:600;
font-size:.9rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.25rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.75rem .9rem}
.card b{display:block;font-size:1.35rem;line-height:1.3;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.45rem .8rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td{white-space:nowrap}td:first-child,td.told{white-space:normal;min-width:7.5rem}
th{color:var(--soft);font-weight:500;font-size:.85rem}
td.where{color:var(--soft);font-size:.85rem;white-space:normal;min-width:15rem}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font:12px system-ui,sans-serif}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem}
figcaption{color:var(--soft);font-size:.85rem;margin-top:.5rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:.75rem}
dl{display:grid;grid-template-columns:minmax(8rem,auto) 1fr;gap:.3rem 1rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:34rem){dl{grid-template-columns:1fr}dd{margin-bottom:.5rem}}
"""

_BINS = 28
_HEADLINES = (
    "mean cosine",
    "agreement",
    "top-1 agreement",
    "mean KL",
    "latency p50",
    "decode speed",
    "peak RSS",
    "counted memory",
    "model file",
)


def page(report: Report) -> str:
    """The whole page as text."""
    title = f"{report.model}: {report.strategy} for {report.device}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{_e(title)}</title><style>{_STYLE}</style></head><body><main>
<h1>{_e(report.model)}</h1>
<p class="soft">{_e(report.strategy)} for {_e(report.device)} &middot; {_e(report.task)}</p>
<p><span class="badge {"pass" if report.status == "passed" else "fail"}">{_e(report.status)}</span>
{_e(_verdict(report))}</p>
<div class="cards">{_cards(report)}</div>
<h2>Every figure</h2>{_figures(report)}
<h2>What was seen</h2><div class="charts">{_charts(report)}</div>
<h2>The plan</h2>{_plan(report)}
<h2>How it was measured</h2>{_provenance(report)}
</main></body></html>
"""


def _e(text: object) -> str:
    return html.escape(str(text))


def _verdict(report: Report) -> str:
    if report.missed:
        return "missed: " + ", ".join(row.name for row in report.missed)
    held = sum(row.passed is True for row in report.rows)
    return f"{held} limits asked, {held} held"


def _cards(report: Report) -> str:
    rows = [row for name in _HEADLINES for row in report.rows if row.name == name]
    return "".join(
        f'<div class="card"><span>{_e(row.name)}</span><b>{_e(show(row.measured, row.unit))}</b>'
        f"<span>{_e(show_limit(row) or 'no limit asked')}</span></div>"
        for row in rows
    )


def _figures(report: Report) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("figure", "measured", "limit", "estimate", "verdict", "measured where")
    )
    body = "".join(_figure(row, compared=report.device_is_host or row.name == "model file") for row in report.rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _figure(row: Row, *, compared: bool) -> str:
    """`compared`: the estimate is for what was measured, so that how far it was off is told."""
    verdict = {True: '<span class="pass">held</span>', False: '<span class="fail">missed</span>', None: ""}[row.passed]
    error = show_off(row) if compared else ""
    missed = "" if not error else f"<br>(measured {_e(error)}{'' if is_within(row) else ', outside'})"
    cells = (row.name, show(row.measured, row.unit), show_limit(row))
    told = "".join(f"<td>{_e(cell)}</td>" for cell in cells) + f"<td>{_e(show_estimate(row))}{missed}</td>"
    return f'<tr>{told}<td>{verdict}</td><td class="where">{_e(row.where)}</td></tr>'


def _charts(report: Report) -> str:
    charts = [_memory_chart(report)]
    for name, unit in (("latency", "ms"), ("decode step", "ms"), ("cosine", ""), ("KL", "nats")):
        if len(report.series.get(name, ())) > 1:
            charts.append(_histogram(name, unit, report.series[name], report.series.get(f"{name} of fp32", ())))
    return "".join(charts)


def _histogram(name: str, unit: str, samples: Sequence[float], baseline: Sequence[float]) -> str:
    """Bars of the bundle's samples, with the fp32 original's behind them; both share the axis."""
    everything = np.asarray([*samples, *baseline])
    low, high = float(everything.min()), float(np.quantile(everything, 0.995))
    if high <= low:
        high = low + max(abs(low) * 1e-3, 1e-9)
    edges = np.linspace(low, high, _BINS + 1)
    bars = []
    for values, colour in ((baseline, "var(--base)"), (samples, "var(--bar)")):
        counts, _ = np.histogram(np.clip(values, low, high), bins=edges) if len(values) else (np.zeros(_BINS), edges)
        tallest = max(1.0, float(counts.max()))
        bars += [
            f'<rect x="{10 + 340 * index / _BINS:.1f}" y="{110 - 100 * count / tallest:.1f}" '
            f'width="{340 / _BINS - 1:.1f}" height="{100 * count / tallest:.1f}" fill="{colour}" opacity=".85"/>'
            for index, count in enumerate(counts)
            if count
        ]
    legend = ", grey: the fp32 original" if len(baseline) else ""
    return (
        f'<figure><svg viewBox="0 0 360 135" role="img" aria-label="distribution of {_e(name)}">{"".join(bars)}'
        f'<line x1="10" x2="350" y1="111" y2="111" stroke="var(--line)"/>'
        f'<text x="10" y="128">{_e(show(low, unit))}</text>'
        f'<text x="350" y="128" text-anchor="end">{_e(show(high, unit))}</text></svg>'
        f"<figcaption>{_e(name)} of {len(samples)} samples{legend}</figcaption></figure>"
    )


def _memory_chart(report: Report) -> str:
    """The peak, what of it is anonymous or counted, and the model file against what the device lets an app use."""
    rows = {row.name: row for row in report.rows}
    limited = next((rows[name] for name in ("counted memory", "peak RSS") if name in rows), None)
    budget = limited.limit if limited else None
    drawn_names = ("model file", "counted memory" if "counted memory" in rows else "anonymous memory", "peak RSS")
    bars = [(name, rows[name].measured) for name in drawn_names if name in rows]
    known = [(name, value) for name, value in bars if value is not None]
    longest = max([value for _, value in known] + ([budget] if budget else []), default=1.0)
    drawn = "".join(
        f'<text x="10" y="{18 + 36 * index}">{_e(name)}: {_e(show(value, "bytes"))}</text>'
        f'<rect x="10" y="{23 + 36 * index}" width="{340 * value / longest:.1f}" height="12" rx="3" fill="var(--bar)"/>'
        for index, (name, value) in enumerate(known)
    )
    mark = ""
    if budget:
        x = 10 + 340 * budget / longest
        mark = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="114" stroke="var(--bad)" stroke-dasharray="4 3"/>'
    told = f"dashed: what an app may use on the device, {show(budget, 'bytes')}" if budget else "no limit is known"
    return (
        f'<figure><svg viewBox="0 0 360 135" role="img" aria-label="memory">{drawn}{mark}</svg>'
        f"<figcaption>memory; {_e(told)}</figcaption></figure>"
    )


def _plan(report: Report) -> str:
    """Every candidate: what it was expected to cost on the device, and what became of it."""
    plan = report.plan
    if plan is None:
        return '<p class="soft">This bundle was validated alone; its plan is in edgekit.json.</p>'
    estimates = {each.candidate: each for each in plan.considered}
    body = "".join(
        f'<tr><td>{_e(name)}</td>{_expected(estimates.get(name))}<td class="told">{_e(told)}</td></tr>'
        for name, told in _outcomes(plan)
    )
    head = "".join(f"<th>{_e(name)}</th>" for name in ("candidate", "disk", "RAM", "speed", "what became of it"))
    known = "".join(f"<p>{_e(told)}</p>" for told in (*plan.remarks, *plan.advice))
    return (
        f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
        f'<p class="soft">disk, RAM and speed are estimates for {_e(report.device)}; those of {_e(plan.chosen)} stand'
        f" beside what was measured above</p>{known}"
    )


def _outcomes(plan: PlanSummary) -> list[tuple[str, str]]:
    """Candidates tried, then those rejected, then those that were not needed."""
    found = [(each.candidate, "passed" if each.passed else "missed " + ", ".join(each.missed)) for each in plan.tried]
    for each in plan.rejected:
        against = f" ({show(each.measured, each.unit)} against {show(each.limit, each.unit)})"
        figures = "" if each.measured is None else against
        remedy = f"; {each.remedy}" if each.remedy else ""
        found.append((each.candidate, f"not tried: {each.reason}{figures}{remedy}"))
    told = {name for name, _ in found}
    return found + [(each.candidate, "not needed") for each in plan.considered if each.candidate not in told]


def _expected(candidate: Considered | None) -> str:
    """Three cells: disk, RAM, and latency or decoding speed."""

    def cell(interval: Interval | None, unit: str) -> str:
        told = "unknown" if interval is None else show_interval(interval.low, interval.high, unit)
        return f"<td>{_e(told)}</td>"

    if candidate is None:
        return "<td></td>" * 3
    speed = cell(candidate.latency_ms, "ms")
    if candidate.tokens_per_s is not None:
        speed = cell(candidate.tokens_per_s, "tokens/s")
    return cell(candidate.disk_bytes, "bytes") + cell(candidate.ram_bytes, "bytes") + speed


def _provenance(report: Report) -> str:
    told = {
        "measured on": f"{report.host.cpu}, {report.host.threads} threads, {report.host.system}"
        + ("" if report.device_is_host else f" (not on {report.device} itself: latency there is not known)"),
        "instruction sets": " ".join(report.host.isa) or "unknown",
        "compared with": report.reference,
        "compared on": report.evaluated_on,
        "speed against": report.baseline,
        "model file": f"sha256 {report.model_sha256}",
        "created": report.created_utc,
    }
    notes = "".join(f"<p>{_e(note)}</p>" for note in report.notes)
    return f"<dl>{''.join(f'<dt>{_e(name)}</dt><dd>{_e(value)}</dd>' for name, value in told.items())}</dl>{notes}"
