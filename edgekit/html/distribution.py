"""Distributions of raw samples: fidelity of every input, and latencies beside the fp32 model's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.html.axis import Axis, Mark, marks, short, tick_labels
from edgekit.html.bars import limit_told
from edgekit.html.markup import Html, element, figure, join
from edgekit.report import Report, Row, show

_BINS = 36
# Samples further from the middle half than so many times its width are counted at the end of the axis.
_FAR = 4.0
_QUANTILES = (0.5, 0.9, 0.99)
_DECADES = 6


def fidelity_charts(report: Report) -> list[Html]:
    charts = []
    for name, row_name in (("cosine", "mean cosine"), ("KL", "mean KL")):
        samples = report.series.get(name, ())
        if len(samples) > 1:
            row = next((row for row in report.rows if row.name == row_name), None)
            charts.append(_fidelity(name, samples, row))
    return charts


def _fidelity(name: str, samples: Sequence[float], row: Row | None) -> Html:
    is_cosine = name == "cosine"
    title = "Cosine to the original's answer" if is_cosine else "KL divergence from the original's answer"
    if not is_cosine:
        samples = [max(0.0, value) for value in samples]  # rounding can take a divergence below what it can be
    low, high = min(samples), max(samples)
    unit = "" if is_cosine else "nats"
    told = _percentiles(samples, unit, lowest=is_cosine)
    if high - low <= 1e-12 * max(1.0, abs(high)):
        ends = dict.fromkeys((_closely(low, unit), _closely(high, unit)))
        between = "are" if len(ends) == 1 else "lie between"
        same = element("p", f"All {len(samples)} samples {between} {' and '.join(ends)}.", class_="same")
        return figure(title, same, told)
    axis, clipped = _cosine_axis(samples, row) if is_cosine else _kl_axis(samples, row)
    wanted, beyond = [], ""
    if row is not None and row.measured is not None:
        wanted.append(Mark(row.measured, f"mean {_closely(row.measured, '')}", "mean"))
    if row is not None and row.limit is not None:
        if axis.holds(row.limit):
            wanted.append(Mark(row.limit, f"limit on the mean {show(row.limit, '')}", "limit"))
        else:
            beyond = f" The limit on the mean, {limit_told(row)}, lies off this axis."
    label = f"{title}, {len(samples)} samples: {_words(samples, unit, lowest=is_cosine)}"
    plot = element(
        "div", marks(axis, wanted, _bars(samples, axis, "value")), class_="plot", role="img", aria_label=label
    )
    return figure(title, plot, tick_labels(axis), told, caption=f"{len(samples)} samples. {clipped}{beyond}".strip())


def _cosine_axis(samples: Sequence[float], row: Row | None) -> tuple[Axis, str]:
    low, high = min(samples), max(samples)
    near = max(low, _fence(samples, -1))
    clipped = ""
    if near > low:
        beyond = sum(value < near for value in samples)
        clipped = f"{_counted(beyond)} below {_closely(near, '')}, down to {_closely(low, '')}, in the first bar."
    span = high - near
    limit = None if row is None else row.limit
    if limit is not None and near - 2 * span <= limit < near:
        near = limit - 0.04 * (high - limit)
    if limit is not None and high < limit <= high + 2 * span:
        high = limit + 0.04 * (limit - near)
    return Axis(near, high, ""), clipped


def _kl_axis(samples: Sequence[float], row: Row | None) -> tuple[Axis, str]:
    """Logarithmic: a few bad tokens do not squash the many good ones."""
    above = [value for value in samples if value > 0]
    high = max(above)
    low = max(min(above), 10 ** (math.log10(high) - _DECADES))
    below = sum(value < low for value in samples)
    clipped = f"{_counted(below)} below {show(low, 'nats')} in the first bar. " if below else ""
    limit = None if row is None else row.limit
    if limit and high < limit <= high * 1000:
        high = limit * 1.3
    return Axis(
        low, high if high > low else low * 10, "", logarithmic=True
    ), f"Logarithmic axis, in nats. {clipped}".strip()


def _counted(samples: int) -> str:
    return f"{samples} {'sample' if samples == 1 else 'samples'}"


def _fence(samples: Sequence[float], side: int) -> float:
    """How far the axis goes below (-1) or above (1) the middle half."""
    first, third = (float(each) for each in np.quantile(samples, (0.25, 0.75)))
    width = max(third - first, 1e-12)
    return first - _FAR * width if side < 0 else third + _FAR * width


def latency_chart(report: Report) -> Html | None:
    """The bundle's times and the fp32 model's, one above the other on one axis.

    What was timed in turn with the fp32 model, of which the ratio is, has a line of its own: at another moment the
    machine may have been busier.
    """
    name = "decode step" if "decode step" in report.series else "latency"
    own = report.series.get(name, ())
    if len(own) < 2:
        return None
    in_turn = report.series.get(f"{name} in turn with fp32", ())
    others = [
        ("this bundle, in turn with fp32", in_turn, "value"),
        ("fp32, in turn with this bundle" if in_turn else "fp32", report.series.get(f"{name} of fp32", ()), "base"),
    ]
    series = [("this bundle", own, "value"), *(each for each in others if len(each[1]) > 1)]
    lowest = min(min(samples) for _, samples, _ in series)
    longest = max(max(samples) for _, samples, _ in series)
    high = min(longest, max(_fence(samples, 1) for _, samples, _ in series))
    high = longest if longest < 1.2 * high else high
    low = 0.0 if lowest < 0.6 * high else lowest - 0.05 * (high - lowest)
    if high <= low:
        high = low + max(abs(low), 1e-6)
    axis = Axis(low, high, "ms")
    drawn = [
        _latencies(title, samples, axis, kind, report if samples is own else None) for title, samples, kind in series
    ]
    beyond = sum(value > high for _, samples, _ in series for value in samples)
    clipped = (
        f" {_counted(beyond)} above {short(float(f'{high:.3g}'), 'ms')}, up to {show(longest, 'ms')}, in the last bar."
    )
    what = "One decoding step" if name == "decode step" else "One inference"
    caption = f"{what}; {_ratio(report)}{clipped if beyond else ''}"
    return figure("Latency", *drawn, tick_labels(axis), caption=caption)


def _latencies(title: str, samples: Sequence[float], axis: Axis, kind: str, report: Report | None) -> Html:
    quantiles = [float(each) for each in np.quantile(samples, _QUANTILES)]
    rows = [report.figure(f"latency p{int(100 * share)}") if report else None for share in _QUANTILES]
    quantiles = [found if row is None else row for row, found in zip(rows, quantiles, strict=True)]
    wanted = [Mark(value, f"p{int(100 * share)}", "p") for share, value in zip(_QUANTILES, quantiles, strict=True)]
    told = ", ".join(f"p{int(100 * s)} {show(value, 'ms')}" for s, value in zip(_QUANTILES, quantiles, strict=True))
    plot = element(
        "div",
        marks(axis, wanted, _bars(samples, axis, kind)),
        class_="plot low",
        role="img",
        aria_label=f"{title}: {len(samples)} timings, {told}",
    )
    name = element("span", element("b", title), f" {told}", class_="name")
    return join([element("p", swatch(kind), name, class_="series"), plot])


def swatch(kind: str) -> Html:
    return element("span", class_=f"swatch {kind}", aria_hidden="true")


def _ratio(report: Report) -> str:
    ratio = report.figure("latency over fp32")
    if ratio is None:
        return f"speed is held against {report.baseline or 'nothing'}."
    faster = f"{1 / ratio:.3g} times as fast" if 0 < ratio < 1 else "slower" if ratio > 1 else "as fast"
    return f"{show(ratio, 'x')} the median of {report.baseline}: {faster}."


def _bars(samples: Sequence[float], axis: Axis, kind: str) -> Html:
    """A histogram in percent of the plot; what lies beyond an end is counted in its last bar."""
    inside = np.clip(np.asarray(samples, np.float64), axis.low, axis.high)
    clipped = {0: min(samples) < axis.low, _BINS - 1: max(samples) > axis.high}
    counts, edges = np.histogram(inside, bins=np.asarray(axis.edges(_BINS)))
    tallest = max(1, int(counts.max()))
    shapes = []
    ends = zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    for index, (count, start, end) in enumerate(ends):
        if count:
            left, height = axis.at(start), max(3.0, 100 * count / tallest)
            width = max(axis.at(end) - left - 0.35, 0.3)
            shapes.append(
                element(
                    "rect",
                    x=f"{left:.2f}",
                    y=f"{100 - height:.1f}",
                    width=f"{width:.2f}",
                    height=f"{height:.1f}",
                    class_=f"{kind} clipped" if clipped.get(index) else kind,
                )
            )
    return join(shapes)


def _percentiles(samples: Sequence[float], unit: str, *, lowest: bool) -> Html:
    """The middle and the bad tail, as a row of small figures."""
    entries = [
        element("div", element("dt", name), element("dd", _closely(value, unit)))
        for name, value in _tail(samples, lowest)
    ]
    return element("dl", *entries, class_="stats")


def _closely(value: float, unit: str) -> str:
    """As everywhere, but that 0.99998 is not told as 1."""
    return f"{value:.6g}" if not unit and 0 < 1 - value < 1e-3 else show(value, unit)


def _tail(samples: Sequence[float], lowest: bool) -> list[tuple[str, float]]:
    shares = (0.5, 0.1, 0.01) if lowest else (0.5, 0.9, 0.99)
    names = ("median", "worst 10 %", "worst 1 %")
    found = [(name, float(np.quantile(samples, share))) for name, share in zip(names, shares, strict=True)]
    return [*found, ("worst", min(samples) if lowest else max(samples))]


def _words(samples: Sequence[float], unit: str, *, lowest: bool) -> str:
    return ", ".join(f"{name} {_closely(value, unit)}" for name, value in _tail(samples, lowest))
