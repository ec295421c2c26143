"""How many steps there are, when to validate, and the rate of each step: pure functions of what was measured once."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MOST_ROUNDS, _FEWEST_ROUNDS = 20, 4


@dataclass(frozen=True)
class Schedule:
    """`steps` in all, a validation after every `every` and after the last; `by_budget` where time bounded them."""

    steps: int
    every: int
    by_budget: bool = False

    def is_round(self, step: int) -> bool:
        return step % self.every == 0 or step == self.steps


@dataclass(frozen=True)
class Costs:
    """Measured seconds of a step, and of a validation with the checkpoint that follows it."""

    step_s: float
    round_s: float


def rate(step: int, steps: int, warmup_share: float) -> float:
    """The share of the learning rate at `step` (from 0): a linear rise, then half a cosine down to 0 after the last."""
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def scheduled(steps: int, validation_batches: int, *, by_budget: bool = False) -> Schedule:
    """4 to 20 validations, so many that they cost less than a fifth of the training where that is possible.

    A validation batch takes about a third of a step: there is no way back.
    """
    rounds = max(_FEWEST_ROUNDS, min(_MOST_ROUNDS, steps // (2 * max(1, validation_batches))))
    return Schedule(steps, max(1, math.ceil(steps / rounds)), by_budget)


def within(budget_s: float, most_steps: int, validation_batches: int, costs: Costs) -> Schedule:
    """The most steps, validations included, that take `budget_s`; at least one."""

    def seconds(steps: int) -> float:
        schedule = scheduled(steps, validation_batches)
        return steps * costs.step_s + math.ceil(steps / schedule.every) * costs.round_s

    low, high = 1, most_steps
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if seconds(middle) <= budget_s else (low, middle - 1)
    return scheduled(low, validation_batches, by_budget=low < most_steps)
