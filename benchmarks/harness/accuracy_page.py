"""The page of planner_accuracy.py: one file, no network, light and dark."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from harness import scatter
from harness.accuracy import UNITS, Row, Target

SERIES = ("onnx-fp32", "onnx-int8", "gguf")
CIRCLE, SQUARE = "1 thread", "2 threads"

_STYLE = """
:root{color-scheme:light dark;--text:#1b1f24;--quiet:#5b6570;--rule:#dde2e7;--page:#fbfcfd;--box:#fff;
--good:#18794e;--bad:#c62a2f}
@media(prefers-color-scheme:dark){:root{--text:#e8eaed;--quiet:#9aa4af;--rule:#2b3138;--page:#111418;--box:#181c21;
--good:#4cc38a;--bad:#ff8b8b}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:76rem;margin:0 auto;padding:2rem 1rem 4rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.5rem 0 .75rem}p{margin:.25rem 0;max-width:60rem}
.quiet{color:var(--quiet)}.good,.card .good{color:var(--good)}.bad,.card .bad{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.75rem;margin:1.25rem 0}
.card{background:var(--box);border:1px solid var(--rule);border-radius:.6rem;padding:.75rem .9rem}
.card b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}
.card span{color:var(--quiet);font-size:.85rem}
.panels{margin-bottom:.75rem;display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:.75rem}
figure{margin:0;background:var(--box);border:1px solid var(--rule);border-radius:.6rem;padding:.5rem}
svg.plot{width:100%;height:auto;display:block}.legend{overflow-x:auto}.legend svg.plot{width:auto;max-width:none}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{text-align:right;padding:.3rem 0 .3rem 1rem;border-bottom:1px solid var(--rule);white-space:nowrap}
th{color:var(--quiet);font-weight:500}th:nth-child(-n+2),td:nth-child(-n+2){text-align:left;padding-left:0;padding-right:1rem}
"""


def panels(rows: Sequence[Row]) -> list[scatter.Panel]:
    """Memory, latency and speed; figures that nothing was predicted for have no place on them."""
    kinds = (
        ("Peak memory", "MB", ("peak RSS",)),
        ("Latency", "ms", ("latency",)),
        ("Speed", "tokens/s", ("prefill", "decode")),
    )
    return [
        scatter.Panel(title, unit, [_dot(row) for row in rows if row.quantity in chosen and row.predicted is not None])
        for title, unit, chosen in kinds
    ]


def picture(rows: Sequence[Row]) -> str:
    return scatter.page(panels(rows), SERIES, CIRCLE, SQUARE)


def page(rows: Sequence[Row], reached: Sequence[Target], planning: Sequence[Target], facts: Mapping[str, Any]) -> str:
    figures = "".join(f"<figure>{scatter.alone(panel, SERIES)}</figure>" for panel in panels(rows))
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>edgekit: predicted against measured</title><style>{_STYLE}{scatter.style()}</style></head><body><main>
<h1>What the planner predicts, against what was measured</h1>
<p class="quiet">{_e(facts["cpu"])}, {facts["cores"]} cores, {_e(facts["date"])}, {len(rows)} figures</p>
<div class="cards">{"".join(map(_card, (*reached, *planning)))}</div>
<h2>Predicted against measured</h2>
<div class="legend">{scatter.legend(SERIES, CIRCLE, SQUARE)}</div>
<div class="panels">{figures}</div>
<p class="quiet">On the line the prediction was exact; the band is 20 % either way. A bar is the stated interval: it
crosses the line where the measurement fell inside. None of these shapes was used to fit the planner's factors, and
every prediction was made before its bundle was.</p>
<h2>Every figure</h2><div class="scroll">{_table(rows)}</div>
<h2>Where and with what</h2>
<p class="quiet">{_e(facts["system"])}; Python {_e(facts["python"])}, {_e(versions)}. Other processes took
{_e(facts["other_load"])} of the cores meanwhile.</p>
</main></body></html>
"""


def _dot(row: Row) -> scatter.Dot:
    assert row.predicted is not None
    assert row.low is not None
    assert row.high is not None
    length = f", {row.tokens} tokens" if row.tokens else ""
    what = row.quantity if row.quantity in ("prefill", "decode") else ""
    label = " ".join(f"{row.shape}, {row.strategy}, {row.threads} threads{length} {what}".split())
    series = row.strategy if row.strategy in SERIES else "gguf"
    return scatter.Dot(label, series, row.threads > 1, row.measured, row.predicted, row.low, row.high)


def _card(target: Target) -> str:
    word, style = ("reached", "good") if target.reached else ("missed", "bad")
    return (
        f'<div class="card"><span>{_e(target.name)}</span><b>{_e(target.found)}</b>'
        f'<span>asked {_e(target.asked)} &middot; <span class="{style}">{word}</span></span></div>'
    )


def _table(rows: Sequence[Row]) -> str:
    head = ("shape", "strategy", "threads", "figure", "tokens", "unit", "predicted", "interval", "measured", "error")
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(row))}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{body}</table>"


def _cells(row: Row) -> tuple[str, ...]:
    told = told_row(row)
    style = "" if row.inside or row.quantity == "file" else ' class="bad"'
    return (*(_e(each) for each in told[:-1]), f"<span{style}>{_e(told[-1])}</span>")


def told_row(row: Row) -> tuple[str, ...]:
    """As both tables have it: shape to error."""
    if row.predicted is None or row.low is None or row.high is None or row.error is None:
        expected, interval, error = "unknown", "", ""
    else:
        expected, interval, error = (
            _number(row.predicted),
            f"{_number(row.low)} to {_number(row.high)}",
            f"{row.error:+.1%}",
        )
    tokens = str(row.tokens) if row.tokens and row.quantity not in ("file", "peak RSS") else ""
    return (
        row.shape, row.strategy, str(row.threads), row.quantity, tokens, UNITS[row.quantity],
        expected, interval, _number(row.measured), error,
    )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _e(text: object) -> str:
    return html.escape(str(text))
