"""Predicted against measured as hand-written SVG: one square panel a unit, log-log, light and dark by themselves."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

BAND = 0.2

_SIZE, _LEFT, _TOP, _RIGHT, _BOTTOM = 400, 56, 40, 14, 48
_GAP, _LEGEND = 12, 40
_STYLE = """
.plot{--ink:#1b1f24;--soft:#5b6570;--grid:#e6e9ed;--card:#fff;--band:#3e63dd14;--line:#8b95a1;
--c0:#3e63dd;--c1:#d9730d;--c2:#0d9488;--c3:#a144af}
@media(prefers-color-scheme:dark){.plot{--ink:#e8eaed;--soft:#9aa4af;--grid:#262c33;--card:#181c21;--band:#849dff1f;
--line:#6b7682;--c0:#849dff;--c1:#ffa057;--c2:#3dd6c6;--c3:#d98ae6}}
.plot text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}
.plot .title{font-size:14px;font-weight:600;fill:var(--ink)}.plot .tick{font-size:11px}
.plot .grid{stroke:var(--grid)}.plot .identity{stroke:var(--line);stroke-width:1.5}
.plot .band{fill:var(--band)}.plot .card{fill:var(--card)}
.plot .mark{stroke:currentColor;stroke-width:1.5;fill:currentColor;fill-opacity:.28}
.plot .range{stroke:currentColor;stroke-width:1.5;stroke-opacity:.35;stroke-linecap:round}
.plot .c0{color:var(--c0)}.plot .c1{color:var(--c1)}.plot .c2{color:var(--c2)}.plot .c3{color:var(--c3)}
"""


@dataclass(frozen=True)
class Dot:
    """`low` to `high` is the predicted interval around `predicted`. `series` is the colour, `square` the marker."""

    label: str
    series: str
    square: bool
    measured: float
    predicted: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    dots: Sequence[Dot]


def page(panels: Sequence[Panel], series: Sequence[str], circle: str, square: str) -> str:
    """All panels side by side under one legend, as a file of its own."""
    width = len(panels) * (_SIZE + _GAP) + _GAP
    height = _LEGEND + _SIZE + _GAP
    inner = "".join(
        f'<svg x="{_GAP + index * (_SIZE + _GAP)}" y="{_LEGEND}" width="{_SIZE}" height="{_SIZE}">'
        f"{_panel(each, series)}</svg>"
        for index, each in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="predicted against measured"><style>{_STYLE}</style>'
        f'<rect class="card" width="{width}" height="{height}" rx="10"/>'
        f"{_legend(series, circle, square)}{inner}</svg>\n"
    )


def alone(panel: Panel, series: Sequence[str]) -> str:
    """One panel, to stand in a page that has `style()`."""
    return (
        f'<svg class="plot" viewBox="0 0 {_SIZE} {_SIZE}" role="img" '
        f'aria-label="{_e(panel.title)}: predicted against measured">{_panel(panel, series)}</svg>'
    )


def style() -> str:
    return _STYLE


def legend(series: Sequence[str], circle: str, square: str) -> str:
    width = _GAP + 150 * (len(series) + 2)
    return f'<svg class="plot" viewBox="0 0 {width} {_LEGEND}" width="{width}">{_legend(series, circle, square)}</svg>'


def _legend(series: Sequence[str], circle: str, square: str) -> str:
    parts, x = [], 24
    for index, name in enumerate(series):
        parts.append(f'<g class="c{index}"><circle class="mark" cx="{x}" cy="24" r="5"/></g>')
        parts.append(f'<text x="{x + 12}" y="28">{_e(name)}</text>')
        x += 40 + 7 * len(name)
    for name, marker in ((circle, _marker(0, 0, False)), (square, _marker(0, 0, True))):
        parts.append(f'<g transform="translate({x} 24)" style="color:var(--soft)">{marker}</g>')
        parts.append(f'<text x="{x + 12}" y="28">{_e(name)}</text>')
        x += 40 + 7 * len(name)
    return "".join(parts)


@dataclass(frozen=True)
class _Axes:
    """Both axes run from `low` to `high`, logarithmically."""

    low: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (_SIZE - _LEFT - _RIGHT) * self._share(value)

    def y(self, value: float) -> float:
        return _SIZE - _BOTTOM - (_SIZE - _TOP - _BOTTOM) * self._share(value)

    def _share(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.x(across):.1f} {self.y(up):.1f}" for across, up in points)


def _panel(panel: Panel, series: Sequence[str]) -> str:
    values = [each for dot in panel.dots for each in (dot.measured, dot.predicted, dot.low, dot.high)]
    axes = _Axes(min(values) / 1.15, max(values) * 1.15) if values else _Axes(1.0, 10.0)
    middle, across = (_LEFT + _SIZE - _RIGHT) / 2, (_TOP + _SIZE - _BOTTOM) / 2
    turned = f'transform="translate(13 {across}) rotate(-90)" text-anchor="middle"'
    return (
        f'<text class="title" x="{_LEFT}" y="24">{_e(panel.title)}</text>{_ground(axes)}'
        f"{''.join(_dot(dot, panel.unit, series, axes) for dot in panel.dots)}"
        f'<text x="{middle}" y="{_SIZE - 10}" text-anchor="middle">measured, {_e(panel.unit)}</text>'
        f"<text {turned}>predicted, {_e(panel.unit)}</text>"
    )


def _ground(axes: _Axes) -> str:
    """Grid, ticks, the band and the line where both are equal."""
    parts = []
    for tick in _ticks(axes.low, axes.high):
        x, y, told = axes.x(tick), axes.y(tick), _told(tick)
        parts += [
            f'<path class="grid" d="M{x:.1f} {_TOP}V{_SIZE - _BOTTOM}M{_LEFT} {y:.1f}H{_SIZE - _RIGHT}"/>',
            f'<text class="tick" x="{x:.1f}" y="{_SIZE - _BOTTOM + 16}" text-anchor="middle">{told}</text>',
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{told}</text>',
        ]
    low, high, more, less = axes.low, axes.high, 1 + BAND, 1 - BAND
    corners = [(low, low), (low, low * more), (high / more, high), (high, high), (high, high * less), (low / less, low)]
    parts.append(f'<path class="band" d="{axes.path(corners)}Z"/>')
    parts.append(f'<path class="identity" d="{axes.path([(low, low), (high, high)])}"/>')
    return "".join(parts)


def _dot(dot: Dot, unit: str, series: Sequence[str], axes: _Axes) -> str:
    told = (
        f"{dot.label}: predicted {_told(dot.predicted)} ({_told(dot.low)} to {_told(dot.high)}), "
        f"measured {_told(dot.measured)} {unit}"
    )
    span = axes.path([(dot.measured, dot.low), (dot.measured, dot.high)])
    marker = _marker(axes.x(dot.measured), axes.y(dot.predicted), dot.square)
    return (
        f'<g class="c{series.index(dot.series)}"><title>{_e(told)}</title><path class="range" d="{span}"/>{marker}</g>'
    )


def _marker(x: float, y: float, square: bool) -> str:
    if square:
        return f'<rect class="mark" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" rx="1"/>'
    return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 of every decade, or, over more than three, its first."""
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _e(text: str) -> str:
    return html.escape(text)
