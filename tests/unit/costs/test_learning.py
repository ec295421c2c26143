from __future__ import annotations

import math
from dataclasses import replace

import pytest
from fixtures.costing import ENGINE, observation, setting
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Estimate, Observation
from edgekit.costs.learning import corrected

ESTIMATE = Estimate(0.08, 0.125, "computed")  # the middle is 0.1


def learnt(*observations: Observation, estimate: Estimate = ESTIMATE) -> Estimate:
    return corrected(estimate, ENGINE, "encode", setting(observations=observations))


def width(estimate: Estimate) -> float:
    return estimate.high / estimate.low


def test_one_report_moves_the_estimate_half_of_the_way() -> None:
    found = learnt(observation(4.0))
    assert (found.low, found.high) == pytest.approx((0.16, 0.25))
    assert found.basis == "computed; times 2.00 from 1 earlier report"
    assert found.leans_on == ("report",)


def test_three_reports_that_agree_move_it_three_quarters_and_narrow_it() -> None:
    found = learnt(*(observation(16.0 ** (1 / 2), name=name) for name in ("a", "bb", "ccc")))
    assert found.mid == pytest.approx(0.1 * 4.0**0.75)
    assert math.log(width(found)) == pytest.approx(math.log(width(ESTIMATE)) / math.sqrt(3))
    assert found.leans_on == ("a", "bb", "ccc")


def test_reports_that_scatter_widen_it() -> None:
    found = learnt(observation(3.0, name="a"), observation(1 / 3.0, name="bb"))
    assert found.mid == pytest.approx(0.1)
    assert width(found) > width(ESTIMATE)


def test_no_agreement_promises_more_than_two_runs_of_one_bundle_hold() -> None:
    found = learnt(*(observation(1.0, name="x" * count) for count in range(200)))
    assert width(found) == pytest.approx(1.05**2)
    certain = Estimate(0.1, 0.1, "a file's size")
    assert width(learnt(observation(1.0), estimate=certain)) == 1


def test_the_same_bundle_measured_again_counts_once() -> None:
    once = learnt(observation(2.0))
    again = learnt(observation(2.0), replace(observation(2.0), name="another day"))
    assert (again.low, again.high) == pytest.approx((once.low, once.high))
    assert again.leans_on == ("report", "another day")


@pytest.mark.parametrize(
    "other",
    [
        replace(observation(2.0), device="another"),
        replace(observation(2.0), engine="llama.cpp"),
        replace(observation(2.0), phase="decode"),
        replace(observation(2.0), on_device=False),
        replace(observation(2.0), predicted=0.0),
        replace(observation(2.0), predicted=math.nan),
        replace(observation(2.0), measured=math.inf),
        replace(observation(2.0), measured=-1.0),
    ],
)
def test_what_tells_nothing_of_this_changes_nothing(other: Observation) -> None:
    assert learnt(other) == ESTIMATE


def test_memory_may_be_measured_anywhere() -> None:
    seen = setting(observations=(observation(4.0, phase="memory", on_device=False),))
    assert corrected(ESTIMATE, ENGINE, "memory", seen).mid == pytest.approx(0.2)


def test_a_wild_report_counts_as_ten_times() -> None:
    assert learnt(observation(1e30)).mid == pytest.approx(0.1 * math.sqrt(10))


@given(st.floats(1e-6, 1e6), st.floats(1.0, 100.0))
def test_a_report_that_says_what_was_predicted_changes_nothing(low: float, spread: float) -> None:
    found = learnt(observation(1.0), estimate=Estimate(low, low * spread, ""))
    assert (found.low, found.high) == pytest.approx((low, low * spread))


@given(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=8))
def test_the_middle_moves_towards_the_reports_and_never_beyond(ratios: list[float]) -> None:
    found = learnt(*(observation(ratio, name="x" * index) for index, ratio in enumerate(ratios)))
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    assert min(1.0, mean) - 1e-9 <= found.mid / 0.1 <= max(1.0, mean) + 1e-9
