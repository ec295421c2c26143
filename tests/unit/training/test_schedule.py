from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.training.recipe import Point, Recipe
from edgekit.training.remarks import budget_remarks, curve_remarks
from edgekit.training.schedule import Costs, rate, scheduled, within


def test_the_rate_rises_linearly_and_falls_by_half_a_cosine() -> None:
    shares = [rate(step, 20, 0.2) for step in range(20)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[4] == 1.0
    assert shares[12] == pytest.approx(0.5)  # half of the 16 steps that decay
    assert shares[19] == pytest.approx(0.5 * (1 + math.cos(math.pi * 15 / 16)))


@given(st.integers(1, 5000), st.floats(0, 0.99))
def test_the_rate_is_a_share_that_never_rises_after_the_warm_up(steps: int, warmup: float) -> None:
    shares = [rate(step, steps, warmup) for step in range(steps)]
    assert all(0 <= share <= 1 for share in shares)
    assert shares[0] > 0
    top = shares.index(max(shares))
    assert shares[top:] == sorted(shares[top:], reverse=True)


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_there_are_at_most_20_validations_and_one_at_the_end(steps: int, batches: int) -> None:
    schedule = scheduled(steps, batches)
    rounds = math.ceil(steps / schedule.every)
    assert rounds <= 20
    assert rounds >= min(steps, 3)
    assert schedule.is_round(steps)


@given(st.floats(0.01, 1e5), st.integers(1, 10**6), st.integers(1, 100), st.floats(1e-4, 10), st.floats(0, 100))
def test_the_steps_of_a_budget_take_that_long_and_no_longer(
    budget_s: float, most: int, batches: int, step_s: float, round_s: float
) -> None:
    schedule = within(budget_s, most, batches, Costs(step_s, round_s))
    took = schedule.steps * step_s + math.ceil(schedule.steps / schedule.every) * round_s
    assert 1 <= schedule.steps <= most
    assert schedule.steps == 1 or took <= budget_s
    assert schedule.by_budget == (schedule.steps < most)


def test_a_budget_of_a_minute() -> None:
    """At 0.1 s a step and 1 s a round of 10 batches: 20 rounds leave 40 s."""
    assert within(60, 10**6, 10, Costs(0.1, 1.0)).steps == pytest.approx(400, abs=20)


def points(*losses: tuple[float, float]) -> list[Point]:
    return [Point(10 * at, 1.0 * at, train, validation, 1e-3) for at, (train, validation) in enumerate(losses)]


def test_over_fitting_is_called_out_with_its_figures() -> None:
    curve = points((1.0, 1.0), (0.5, 0.6), (0.3, 0.7), (0.1, 0.9))
    (remark,) = curve_remarks(curve, 10, "patience")
    assert remark == (
        "over-fitting after step 10: the validation loss rose from 0.6 to 0.9 while the training loss fell from 0.5 to "
        "0.1; the weights of step 10 are kept, more data would help"
    )


@pytest.mark.parametrize("curve", [((1.0, 1.0), (0.5, 0.6), (0.3, 0.7)), ((1.0, 1.0), (0.5, 0.8), (0.2, 0.5))])
def test_nothing_is_over_fitted_before_a_row_was_seen_twice(curve: tuple[tuple[float, float], ...]) -> None:
    best = min(points(*curve), key=lambda each: each.validation_loss).step
    assert curve_remarks(points(*curve), best, "patience", 20) == []
    assert len(curve_remarks(points(*curve), best, "patience", 19)) == 1


def test_a_gap_is_called_out_and_noise_is_not() -> None:
    (remark,) = curve_remarks(points((1.0, 1.0), (0.5, 0.8), (0.2, 0.5)), 20, "completed")
    assert remark.startswith("over-fitting: at its best the validation loss is 0.5, 2.5 times the training loss 0.2")
    assert curve_remarks(points((1.0, 1.0), (0.5, 0.55), (0.4, 0.5), (0.38, 0.501)), 20, "patience") == []


def test_a_student_that_never_gained_is_called_out() -> None:
    (remark,) = curve_remarks(points((1.0, 0.4), (0.9, 0.5)), 0, "patience")
    assert remark.startswith("training gained nothing: the validation loss was 0.4 before it")


def test_a_curve_that_still_falls_when_the_budget_ends_is_called_out() -> None:
    curve = points((1.0, 1.0), (0.8, 0.8), (0.6, 0.6), (0.4, 0.45))
    assert curve_remarks(curve, 30, "budget") == [
        "the validation loss fell by 25 % in the last 10 of 30 steps: a longer budget may help"
    ]
    assert curve_remarks(curve, 30, "completed") == []


def test_what_a_budget_came_to_is_told() -> None:
    assert budget_remarks(Recipe(), 10, 20, 5.0) == []
    assert budget_remarks(Recipe(budget_s=60), 10, 40, 58.6) == [
        "a budget of 60 s came to 10 steps by the time of the first ones; 59 s were taken",
        "these steps saw 25 % of the rows to train on: a longer budget has more to learn from",
    ]
    assert budget_remarks(Recipe(budget_s=60), 1, 40, 58.6)[0].startswith("a budget of 60 s came to 1 step by")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0, above 0 and below 10 is expected"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"batch_size": 0}, "batch_size is 0, 1 to 65536"),
        ({"budget_s": 0}, "budget_s is 0"),
        ({"budget_s": math.inf}, "budget_s is inf"),
        ({"warmup_share": 1.0}, "warmup_share is 1.0"),
        ({"patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "int4"}, "precision is 'int4', auto, fp32, bf16 or fp16"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_a_useless_recipe_is_refused(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Recipe(**wrong)  # type: ignore[arg-type]
