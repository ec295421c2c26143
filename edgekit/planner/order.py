"""The order in which candidates are tried. It is of all offers, before any limit: a limit leaves gaps, and moves none.

The one exception are types that measured fidelity speaks against, which go last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from edgekit.costs import TIMED_TOKENS, Phase
from edgekit.rules import Case
from edgekit.rules.traits import (
    LONG_PROMPT_TOKENS,
    is_aggressive,
    is_carried,
    is_held_back,
    is_quantized,
    is_requantized,
    task_engine,
)
from edgekit.strategies import Candidate

Key = tuple[float | str, ...]

# Of the logarithm of an interval that holds nineteen in twenty, which is two standard errors each way: what two
# candidates each keep so that they tie where they differ by one standard error of a difference or less.
_TELLING = 0.35
_TIERS = 4


def in_order(offers: Sequence[Candidate], case: Case, doubted: Callable[[Candidate], bool]) -> list[Candidate]:
    """The offers, the best first: by `case.preferences`, after what the rules say whatever is preferred.

    No preference: the most faithful quantized one, of the task's engine before the other, ties to the faster; the
    unquantized ones are the fallback. accuracy: the most faithful. speed: the fastest; what is too close to tell is a
    tie and goes to the more faithful; unknown speeds come last, quantized ones before the fallback. size: the fewest
    bytes.
    """
    by_preference = _PREFERENCES[case.preferences.prefer or "quantized"](offers, case)
    return sorted(offers, key=lambda each: (_tier(each, case, doubted), *by_preference(each)))


def _tier(candidate: Candidate, case: Case, doubted: Callable[[Candidate], bool]) -> int:
    """A student comes after all that is made of the source itself."""
    return _own_tier(candidate, case, doubted) + (_TIERS if candidate.student else 0)


def _own_tier(candidate: Candidate, case: Case, doubted: Callable[[Candidate], bool]) -> int:
    model = case.model
    if is_aggressive(candidate, model, case.preferences) or doubted(candidate):
        return 3
    if is_carried(candidate, model):
        return 0
    # Types of about the checkpoint's own bits, too: IQ4_XS for weights of four bits.
    no_more = model.quantization is not None and candidate.faithfulness < model.quantization.bits + 1
    return 2 if no_more and is_requantized(candidate, model) else 1


def _quantized_first(offers: Sequence[Candidate], case: Case) -> Callable[[Candidate], Key]:  # noqa: ARG001
    engine = task_engine(case.model.task)
    return lambda each: (
        not is_quantized(each),
        each.engine != engine,
        -each.faithfulness,
        cost_ms(each, case)[2],
        each.label,
    )


def _accurate_first(offers: Sequence[Candidate], case: Case) -> Callable[[Candidate], Key]:  # noqa: ARG001
    engine = task_engine(case.model.task)
    return lambda each: (-each.faithfulness, each.engine != engine, cost_ms(each, case)[2], each.label)


def _small_first(offers: Sequence[Candidate], case: Case) -> Callable[[Candidate], Key]:  # noqa: ARG001
    return lambda each: (each.disk_bytes.mid, -each.faithfulness, cost_ms(each, case)[2], each.label)


def _fast_first(offers: Sequence[Candidate], case: Case) -> Callable[[Candidate], Key]:
    engine = task_engine(case.model.task)
    costs = {each.label: cost_ms(each, case) for each in offers}
    groups = ties({each.label: _comparable(costs[each.label], each, case) for each in offers})
    return lambda each: (
        is_held_back(each, case.model, case.setting),
        groups[each.label],
        math.isinf(costs[each.label][0]) and not is_quantized(each),
        -each.faithfulness,
        each.engine != engine,
        each.label,
    )


_PREFERENCES = {
    "quantized": _quantized_first,
    "accuracy": _accurate_first,
    "size": _small_first,
    "speed": _fast_first,
}


def _comparable(cost: tuple[float, float, float], candidate: Candidate, case: Case) -> tuple[float, float]:
    """The cost's interval as far as it tells candidates apart: around its middle, as wide as its engine's factors are
    usually off. What nobody knows of the device moves all candidates alike.
    """
    low, high, _ = cost
    phase: Phase = "decode" if case.model.task == "causal-lm" else "encode"
    found = case.setting.factors.row(candidate.engine, phase, case.setting.device)
    if found is None or not 0 < low <= high < math.inf:
        return low, high
    width = min(high / low, found[0].high / found[0].low) ** (_TELLING / 2)
    middle = math.sqrt(low) * math.sqrt(high)
    return middle / width, middle * width


def ties(intervals: dict[str, tuple[float, float]]) -> dict[str, int]:
    """Groups of intervals, the smallest first: each holds what overlaps with its smallest."""
    left = sorted(intervals, key=lambda label: (sum(intervals[label]), label))
    groups: dict[str, int] = {}
    while left:
        leader = intervals[left[0]]
        for label in [label for label in left if intervals[label][0] <= leader[1]]:
            groups[label] = max(groups.values(), default=-1) + 1 if label == left[0] else groups[left[0]]
        left = [label for label in left if label not in groups]
    return groups


def cost_ms(candidate: Candidate, case: Case) -> tuple[float, float, float]:
    """(low, high, middle) in ms of what `--prefer speed` compares; infinite where it is unknown.

    Encoders: one input of the timed length. Decoders: one token; where long prompts are asked, the longest of them and
    the tokens of an answer.
    """
    speed, latency = candidate.tokens_per_s, candidate.latency_ms
    if case.model.task != "causal-lm":
        low, high = (latency.low, latency.high) if latency else _UNKNOWN
        return low, high, (low + high) / 2
    low, high = (1e3 / speed.high, 1e3 / max(speed.low, 1e-9)) if speed else _UNKNOWN
    longest = max(case.setting.lengths, default=0)
    first = candidate.ttft_at.get(longest)
    if longest >= LONG_PROMPT_TOKENS and first is not None:
        low, high = first.low + TIMED_TOKENS * low, first.high + TIMED_TOKENS * high
    return low, high, (low + high) / 2


_UNKNOWN = (float("inf"), float("inf"))
