"""Confidence intervals by resampling what was measured (Efron 1979, the percentile interval)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
_MOST_WEIGHTS = 2**22

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure, and where it lies in 95 % of the resamples."""

    value: float
    low: float
    high: float


def of_sums(rows: Sums, figure: Callable[[Sums], Sums], seed: int = 0) -> Interval:
    """The interval of a figure of column sums: `rows` [inputs, k] are drawn with replacement, as many as there are, and
    `figure` maps sums [..., k] to [...].
    """
    generator = np.random.default_rng(seed)
    count = len(rows)
    drawn = []
    at_once = max(1, _MOST_WEIGHTS // max(1, count))
    for start in range(0, RESAMPLES, at_once):
        weights = generator.multinomial(count, np.full(count, 1 / count), size=min(at_once, RESAMPLES - start))
        drawn.append(figure(weights @ rows))
    return _interval(float(figure(rows.sum(axis=0))), np.concatenate(drawn))


def of_median_ratio(above: NDArray[np.float64], below: NDArray[np.float64], seed: int = 0) -> Interval:
    """The interval of median(above) / median(below), of samples taken in turn: pairs are drawn together."""
    chosen = np.random.default_rng(seed).integers(0, len(above), size=(RESAMPLES, len(above)))
    drawn = np.median(above[chosen], axis=1) / np.median(below[chosen], axis=1)
    return _interval(float(np.median(above) / np.median(below)), drawn)


def _interval(value: float, drawn: Sums) -> Interval:
    low, high = np.quantile(drawn, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(value, float(low), float(high))
