"""Fitting factors: the least squared logarithmic error of `edgekit.costs.roofline.combine` over measured points.

Gauss-Newton on the logarithms of the factors, so none is negative, with a weak prior that decides what the points do
not. The interval of a row comes from points of shapes that the factors were fitted without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.costs.roofline import SHARPNESS
from harness.points import Point

Floats = NDArray[np.float64]

# What a factor is before anything is measured, and how far off that may be (a standard deviation of its logarithm):
# engines reach some share of a rate, a call takes microseconds, and memory is what shapes say.
_PRIOR: Mapping[str, tuple[float, float]] = {"rate": (1.5, 1.0), "seconds": (5e-6, 2.0), "memory": (1.0, 0.2)}
# A point's error that the prior is weighed against: times vary from run to run, memory hardly does.
_EXPECTED_ERROR: Mapping[str, float] = {"memory": 0.03, "times": 0.15}
_ROUNDS = 200
# Of the errors on unseen shapes, so many lie within the interval; and no interval is narrower than this, either way.
INTERVAL_QUANTILE = 0.95
LEAST_ERROR = 0.10


@dataclass(frozen=True)
class Fit:
    """`errors` are log(measured / predicted) of each point, `unseen` those by the factors fitted without its shape, in
    the points' order (NaN where those factors know too little).
    """

    factors: Mapping[str, float]
    errors: Floats
    unseen: Floats

    @property
    def half_width(self) -> float:
        """Of the interval, as a logarithm."""
        known = np.abs(self.unseen[~np.isnan(self.unseen)])
        if not len(known):
            known = np.abs(self.errors)
        return float(max(np.quantile(known, INTERVAL_QUANTILE), np.log1p(LEAST_ERROR)))


def fit(points: Sequence[Point]) -> Fit:
    """Factors of every term that any of `points` has work for, and how well they hold. Of one engine and phase."""
    system = _system(points)
    everything = np.ones(len(points), bool)
    logs = _solve(system, everything)
    unseen = np.full(len(points), np.nan)
    for shape in dict.fromkeys(point.shape for point in points):
        held_out = np.array([point.shape == shape for point in points])
        seen = system.work[~held_out].any(axis=0)
        grounded = held_out & ~system.work[:, ~seen].any(axis=1)
        if grounded.any() and not held_out.all():
            unseen[grounded] = _errors(system, _solve(system, ~held_out))[grounded]
    factors = {name: float(np.exp(value)) for name, value in zip(system.names, logs, strict=True)}
    return Fit(factors, _errors(system, logs), unseen)


@dataclass(frozen=True)
class _System:
    """Seconds (or bytes) of each point and term at a factor of 1, by how they add up: [points, terms] each."""

    names: tuple[str, ...]
    compute: Floats
    reading: Floats
    fixed: Floats
    measured: Floats
    prior: Floats
    doubt: Floats
    expected_error: float

    @property
    def work(self) -> NDArray[np.bool_]:
        return (self.compute + self.reading + self.fixed) > 0


def _system(points: Sequence[Point]) -> _System:
    names = tuple(dict.fromkeys(name for point in points for name, amount, _ in point.terms if amount > 0))
    shape = (len(points), len(names))
    parts = {"compute": np.zeros(shape), "reading": np.zeros(shape), "fixed": np.zeros(shape)}
    kinds = dict.fromkeys(names, "rate")
    for row, point in enumerate(points):
        for name, amount, unit in point.terms:
            if amount <= 0:
                continue
            column = names.index(name)
            if point.phase == "memory":
                parts["fixed"][row, column] += amount
                kinds[name] = "memory"
            elif unit == "seconds":
                parts["fixed"][row, column] += amount
                kinds[name] = "seconds"
            else:
                parts["reading" if unit == "bytes" else "compute"][row, column] += amount / point.rates[unit]
    prior, doubt = (np.array([_PRIOR[kinds[name]][index] for name in names]) for index in (0, 1))
    measured = np.array([point.measured for point in points])
    expected = _EXPECTED_ERROR["memory" if points[0].phase == "memory" else "times"]
    return _System(names, **parts, measured=measured, prior=np.log(prior), doubt=doubt, expected_error=expected)


def _predicted(system: _System, logs: Floats) -> tuple[Floats, Floats]:
    """Of each point, and the derivative of its logarithm by the factors' logarithms [points, terms]."""
    factors = np.exp(logs)
    compute, reading, fixed = (part @ factors for part in (system.compute, system.reading, system.fixed))
    longer = np.maximum(np.maximum(compute, reading), 1e-300)
    overlap = longer * ((compute / longer) ** SHARPNESS + (reading / longer) ** SHARPNESS) ** (1 / SHARPNESS)
    overlap = np.maximum(overlap, 1e-300)
    by_compute = (compute / overlap) ** (SHARPNESS - 1)
    by_reading = (reading / overlap) ** (SHARPNESS - 1)
    total = fixed + np.where(overlap > 1e-300, overlap, 0.0)
    slopes = system.fixed + by_compute[:, None] * system.compute + by_reading[:, None] * system.reading
    return total, slopes * factors / total[:, None]


def _errors(system: _System, logs: Floats) -> Floats:
    errors: Floats = np.log(system.measured / _predicted(system, logs)[0])
    return errors


def _solve(system: _System, chosen: NDArray[np.bool_]) -> Floats:
    """Logarithms of the factors by the chosen points: Gauss-Newton, damped where a step would make it worse."""
    weight = system.expected_error / system.doubt
    logs, damping = system.prior.copy(), 1e-3

    def residuals(at: Floats) -> Floats:
        return np.concatenate([-_errors(system, at)[chosen], weight * (at - system.prior)])

    found = residuals(logs)
    for _ in range(_ROUNDS):
        slopes = np.concatenate([_predicted(system, logs)[1][chosen], np.diag(weight)])
        normal = slopes.T @ slopes
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -slopes.T @ found)
        step = np.clip(step, -1.0, 1.0)
        tried = residuals(logs + step)
        if tried @ tried < found @ found:
            settled = found @ found - tried @ tried < 1e-10 * (found @ found)
            logs, found, damping = logs + step, tried, max(damping / 5, 1e-9)
            if settled:
                break
        else:
            damping *= 5
            if damping > 1e9:
                break
    return logs


def collinear(points: Sequence[Point], fitted: Fit, above: float = 0.95) -> list[tuple[str, str, float]]:
    """Pairs of factors that the points hardly tell apart: the correlation of their uncertainties, by size."""
    system = _system(points)
    covariance = _covariance(system, fitted)
    deviation = np.sqrt(np.diag(covariance))
    correlation = covariance / deviation[:, None] / deviation
    count = len(system.names)
    pairs = [(a, b) for a in range(count) for b in range(a) if abs(correlation[a, b]) > above]
    told = [(system.names[b], system.names[a], float(correlation[a, b])) for a, b in pairs]
    return sorted(told, key=lambda each: -abs(each[2]))


def undecided(points: Sequence[Point], fitted: Fit) -> list[str]:
    """Factors that stand near their prior because the points say little: uncertain by half of the prior's doubt."""
    system = _system(points)
    deviation = np.sqrt(np.diag(_covariance(system, fitted)))
    return [name for name, own, doubt in zip(system.names, deviation, system.doubt, strict=True) if own > doubt / 2]


def _covariance(system: _System, fitted: Fit) -> Floats:
    """Of the factors' logarithms, if the points' errors are as large as expected."""
    logs = np.log([fitted.factors[name] for name in system.names])
    slopes = np.concatenate([_predicted(system, logs)[1], np.diag(system.expected_error / system.doubt)])
    covariance: Floats = system.expected_error**2 * np.linalg.inv(slopes.T @ slopes)
    return covariance


def groups(points: Iterable[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by engine and phase, in order of appearance."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.engine, point.phase), []).append(point)
    return found
