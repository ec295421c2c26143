"""benchmarks/harness/fitting.py: the factors of edgekit.costs come from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from harness.fitting import LEAST_ERROR, collinear, fit, groups, undecided
from harness.points import Point

from edgekit.costs import Term
from edgekit.costs.roofline import combine

RATES = {"flops": 100e9, "int8_ops": 300e9, "bytes": 10e9}
TRUE = {"products": 2.0, "weights": 1.3, "calls": 2e-5}


def point(shape: str, *terms: tuple[str, float, str], measured: float, phase: str = "encode") -> Point:
    return Point(shape, "s", "e", 1, phase, 128, terms, RATES, measured, measured, measured)  # type: ignore[arg-type]


def seconds(terms: Sequence[tuple[str, float, str]], factors: Mapping[str, float]) -> float:
    return combine([Term(name, amount, unit) for name, amount, unit in terms], factors, RATES)  # type: ignore[arg-type]


def drawn(shapes: int, noise: float, seed: int = 0, first: int = 0) -> list[Point]:
    """Four lengths of each shape, whose durations follow TRUE but for a relative error of `noise`."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(shapes):
        weights, calls = 10 ** rng.uniform(6, 9), rng.uniform(20, 400)
        for tokens in (1, 16, 128, 512):
            terms = (
                ("products", weights * tokens, "flops"),
                ("weights", weights, "bytes"),
                ("calls", calls, "seconds"),
            )
            measured = seconds(terms, TRUE) * float(np.exp(rng.normal(0, noise)))
            found.append(point(f"shape {first + number}", *terms, measured=measured))
    return found


def test_it_finds_the_factors_that_made_the_points() -> None:
    exact = fit(drawn(6, noise=0.0))
    assert exact.factors == pytest.approx(TRUE, rel=0.01)
    assert np.abs(exact.errors).max() < 0.01


def test_it_finds_them_through_noise() -> None:
    assert fit(drawn(10, noise=0.1)).factors == pytest.approx(TRUE, rel=0.15)


def test_the_interval_holds_nine_in_ten_of_new_points() -> None:
    fitted = fit(drawn(10, noise=0.2))
    new = drawn(40, noise=0.2, seed=1, first=100)
    errors = [np.log(each.measured / seconds(each.terms, fitted.factors)) for each in new]
    assert np.mean(np.abs(errors) <= fitted.half_width) >= 0.9
    assert fitted.half_width < 1


def test_points_without_noise_still_leave_the_least_interval() -> None:
    assert fit(drawn(6, noise=0.0)).half_width == pytest.approx(np.log1p(LEAST_ERROR))


def test_terms_without_work_get_no_factor() -> None:
    points = [replace(each, terms=(*each.terms, ("never", 0.0, "bytes"))) for each in drawn(3, noise=0.0)]
    assert set(fit(points).factors) == set(TRUE)


def test_a_shape_that_alone_knows_a_term_says_nothing_of_the_unseen() -> None:
    own = (("products", 1e9, "flops"), ("unique", 1e9, "int8_ops"))
    points = [*drawn(4, noise=0.0), point("alone", *own, measured=0.05)]
    fitted = fit(points)
    assert np.isnan(fitted.unseen[-1])
    assert not np.isnan(fitted.unseen[:-1]).any()
    assert "unique" in fitted.factors


def test_leaving_a_shape_out_hides_what_only_it_shows() -> None:
    points = drawn(6, noise=0.0)
    slow = [replace(each, measured=each.measured * 3) if each.shape == "shape 2" else each for each in points]
    fitted = fit(slow)
    unseen = [error for error, each in zip(fitted.unseen, slow, strict=True) if each.shape == "shape 2"]
    assert np.median(unseen) == pytest.approx(np.log(3), abs=0.1)
    assert fitted.half_width > np.log(2)


def test_of_one_shape_the_fitted_errors_are_all_there_is() -> None:
    fitted = fit(drawn(1, noise=0.3))
    assert np.isnan(fitted.unseen).all()
    assert fitted.half_width >= np.log1p(LEAST_ERROR)


def test_memory_adds_up_whatever_the_rates() -> None:
    rng = np.random.default_rng(0)
    points = []
    for number in range(8):
        file, activations = rng.uniform(1e6, 1e9), rng.uniform(1e7, 1e9)
        terms = (("process", 60e6, "bytes"), ("file", file, "bytes"), ("activations", activations, "bytes"))
        measured = 75e6 + file + 0.5 * activations
        points.append(replace(point(str(number), *terms, measured=measured, phase="memory"), rates={}))
    expected = {"process": 1.25, "file": 1.0, "activations": 0.5}
    assert fit(points).factors == pytest.approx(expected, rel=0.1)


def test_terms_that_always_go_together_are_told() -> None:
    points = []
    for each in drawn(6, noise=0.0):
        amount = each.terms[0][1]
        points.append(replace(each, terms=(*each.terms, ("twin", amount, "flops"))))
    fitted = fit(points)
    first, second, correlation = collinear(points, fitted)[0]
    assert {first, second} == {"products", "twin"}
    assert correlation < -0.95
    assert {"products", "twin"} <= set(undecided(points, fitted))
    assert fitted.factors["products"] + fitted.factors["twin"] == pytest.approx(TRUE["products"], rel=0.02)


def test_points_are_grouped_by_engine_and_phase() -> None:
    points = drawn(1, noise=0.0)
    other = replace(points[0], phase="memory", rates={})
    assert {key: len(each) for key, each in groups([*points, other]).items()} == {
        ("e", "encode"): 4,
        ("e", "memory"): 1,
    }
