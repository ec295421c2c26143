"""Choosing the next token from logits."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BadInput


class Sampler:
    """Temperature 0 is greedy; otherwise softmax(logits / temperature), cut to the nucleus of mass `top_p`.

    The same seed gives the same tokens on the same machine; None draws a fresh one.
    """

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        if not (_is_number(temperature) and temperature >= 0):
            raise BadInput(f"temperature is {temperature!r}, expected 0 or more")
        if not (_is_number(top_p) and 0 < top_p <= 1):
            raise BadInput(f"top_p is {top_p!r}, expected more than 0 and at most 1")
        if seed is not None and (not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0):
            raise BadInput(f"seed is {seed!r}, expected a whole number of 0 or more")
        self._temperature, self._top_p = temperature, top_p
        self._random = np.random.default_rng(seed)

    def pick(self, logits: npt.NDArray[Any]) -> int:
        best = int(logits.argmax())
        if self._temperature == 0:
            return best
        with np.errstate(over="ignore"):  # a tiny temperature sends the others to -inf, which is right
            scaled = (logits.astype(np.float64) - float(logits[best])) / self._temperature
        weights = np.exp(scaled)
        if self._top_p < 1:
            order = np.argsort(-weights, kind="stable")
            mass = np.cumsum(weights[order])
            weights[order[int(np.searchsorted(mass, self._top_p * mass[-1])) + 1 :]] = 0
        edges = np.cumsum(weights)
        return int(np.searchsorted(edges, self._random.random() * edges[-1], side="right"))


def _is_number(value: object) -> bool:
    """Whether it is one, neither infinite nor more than a float64 holds."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
