"""Intervals are those of resampling: as wide as the theory says, none where nothing varies, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.distilling.bootstrap import of_median_ratio, of_sums


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def columns(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values)], axis=1)


def test_the_interval_of_a_mean_is_two_standard_errors_each_way() -> None:
    values = np.random.default_rng(0).normal(3, 2, 900)
    found = of_sums(columns(values), ratio)
    error = values.std() / 30
    assert found.value == pytest.approx(values.mean())
    assert found.value - found.low == pytest.approx(1.96 * error, rel=0.1)
    assert found.high - found.value == pytest.approx(1.96 * error, rel=0.1)


def test_about_nineteen_in_twenty_intervals_hold_the_truth() -> None:
    draw = np.random.default_rng(1)
    held = 0
    for seed in range(100):
        found = of_sums(columns(draw.exponential(1.0, 200)), ratio, seed)
        held += found.low <= 1.0 <= found.high
    assert 88 <= held <= 99


def test_inputs_are_drawn_whole() -> None:
    """Tokens of one text are not independent: ten texts of a hundred equal tokens are ten draws, not a thousand."""
    right = np.array([0, 1] * 5, float)
    clustered = of_sums(np.stack([100 * right, np.full(10, 100.0)], axis=1), ratio)
    single = of_sums(columns(np.repeat(right, 100)), ratio)
    assert clustered.high - clustered.low > 5 * (single.high - single.low)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(0.5, 10), min_size=2, max_size=50), seed=st.integers(0, 99))
def test_the_figure_lies_within_what_its_inputs_span(values: list[float], seed: int) -> None:
    found = of_sums(columns(np.array(values)), ratio, seed)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found == of_sums(columns(np.array(values)), ratio, seed)


def test_nothing_varies_where_all_are_equal() -> None:
    found = of_sums(columns(np.full(20, 0.5)), ratio)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_medians_of_runs_in_turn() -> None:
    noise = np.random.default_rng(2).normal(1, 0.05, 40)
    found = of_median_ratio(10 * noise, 5 * noise)  # both slowed by the same noise
    assert found.value == pytest.approx(2)
    assert (found.low, found.high) == (pytest.approx(2), pytest.approx(2))
    apart = of_median_ratio(10 * noise, 5 * noise[::-1])
    assert apart.low < 2 < apart.high
