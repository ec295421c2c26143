"""Axes hold their values and their ticks, whatever they are; labels never share a place."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.html.axis import Axis, Mark, marks, short

ENDS = st.tuples(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9)).map(lambda pair: (pair[0], pair[0] + pair[1]))
ABOVE_ZERO = st.tuples(st.floats(1e-12, 1e9), st.floats(1.001, 1e9)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    if draw(st.booleans()):
        low, high = draw(ABOVE_ZERO)
        return Axis(low, high, "", logarithmic=True)
    low, high = draw(ENDS)
    return Axis(low, high, draw(st.sampled_from(["", "ms", "bytes"])))


@given(axes(), st.lists(st.floats(-1e12, 1e12), max_size=5))
def test_every_value_has_a_place_on_the_axis_in_order(axis: Axis, values: list[float]) -> None:
    places = [axis.at(value) for value in sorted(values)]
    assert all(0 <= place <= 100 for place in places)
    assert places == sorted(places)
    assert axis.at(axis.low) == 0
    assert axis.at(axis.high) == pytest.approx(100)


@given(axes())
def test_ticks_are_few_and_on_the_axis(axis: Axis) -> None:
    ticks = axis.ticks()
    assert len(ticks) <= 13
    slack = 1e-6 * (axis.high - axis.low)
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in ticks)
    assert ticks == sorted(ticks)


@given(axes(), st.integers(1, 40))
def test_bins_cover_the_axis_without_a_gap(axis: Axis, bins: int) -> None:
    edges = axis.edges(bins)
    assert len(edges) == bins + 1
    assert (edges[0], edges[-1]) == (axis.low, axis.high)
    assert edges == sorted(edges)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_labels_in_one_row_do_not_overlap(values: list[float]) -> None:
    drawn = marks(Axis(0.0, 1.0, ""), [Mark(value, "p50") for value in values], "")
    found = re.findall(r'class="(left|right|middle)" style="(?:left|right):([\d.]+)%;--row:(\d+)"', drawn)
    assert len(found) == len(values)
    width = 3 * 2.1
    places = []
    for side, percent, row in found:
        at = float(percent)
        start = at if side == "left" else 100 - at - width if side == "right" else at - width / 2
        places.append((int(row), start))
    for (row, start), (other_row, other) in combinations(places, 2):
        assert row != other_row or abs(start - other) >= width


@pytest.mark.parametrize(
    ("low", "high", "unit", "ticks"),
    [
        (0, 47, "ms", ["0 ms", "10 ms", "20 ms", "30 ms", "40 ms"]),
        (0.97, 1.0, "", ["0.97", "0.98", "0.99", "1"]),
        (0, 3.5 * 2**20, "bytes", ["0", "1 MiB", "2 MiB", "3 MiB"]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, unit: str, ticks: list[str]) -> None:
    assert [short(tick, unit) for tick in Axis(low, high, unit).ticks()] == ticks
