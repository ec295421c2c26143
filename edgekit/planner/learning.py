"""What a measurement teaches about the candidates that were not measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.costs import Estimate
from edgekit.limits import FIDELITY_LIMITS, Limits, Preferences
from edgekit.planner.holding import Held, unbacked_bytes
from edgekit.planner.values import Known, Miss
from edgekit.rules.traits import AGGRESSIVE_BELOW, FOUR_BIT_BELOW, is_quantized
from edgekit.strategies import FP32_BITS, Candidate, Rejection

KL_GROWTH = 4.0
"""Rounding noise falls by 6 dB a bit, and KL goes with its power: four times for every bit given up."""
KL_SLOWEST_GROWTH = 2.0
"""The slowest growth in llama.cpp's published table (Llama-3-8B, wikitext-2: Q8_0 0.00136, Q6_K 0.00545, Q5_K_M
0.01076, Q4_K_M 0.03127, Q4_0 0.07194) is 2.0 times a bit, from Q8_0 to Q6_K; the optimistic end of what is carried.
"""


def after_miss(
    candidate: Candidate,
    missed: Iterable[Miss],
    remaining: Iterable[Candidate],
    figures: Mapping[str, float] = {},
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    preferences: Preferences = Preferences(),  # noqa: B008
) -> tuple[tuple[Candidate, ...], tuple[Rejection, ...]]:
    """What is still worth trying once `candidate` was measured and missed: (kept, rejected with what was learnt).

    `figures` are all the figures measured, by the name of their row. A fidelity limit missed rules out the less
    faithful of the same strategy, and a measured KL is carried to fewer bits. Memory, size and times missed move the
    other estimates of that engine by the error seen: what is then over the limit is out, what is expected to be goes
    last; with `preferences` for speed, the engines are merged anew by the moved times.
    """
    rejected: list[Rejection] = []
    kept: list[Candidate] = []
    doubted: list[Candidate] = []
    misses = tuple(missed)
    for other in remaining:
        if other.label == candidate.label:
            continue
        less_faithful = (_less_faithful(candidate, miss, other) for miss in misses)
        reason = next(filter(None, less_faithful), None) or _carried_kl(candidate, other, figures, limits)
        expected = [held for miss in misses if (held := _moved(candidate, miss, other))]
        reason = reason or next((_expected(candidate, held, other) for held in expected if held.overshoot > 0), None)
        if reason is not None:
            rejected.append(reason)
        elif any(_middle_is_over(each) for each in expected):
            doubted.append(other)
        else:
            kept.append(other)
    if preferences.prefer == "speed":
        kept = _merged_by_speed(kept, _speed_error(candidate, figures), candidate, preferences)
    return (*kept, *doubted), tuple(rejected)


def speaks_against(candidate: Candidate, offers: Sequence[Candidate], known: Sequence[Known], limits: Limits) -> str:
    """Why fidelity measured before on this model says that `candidate` misses a limit; "" where nothing does."""
    by_label = {each.label: each for each in offers}
    for each in known:
        held = _fidelity_limit(each.name, limits, {entry.name for entry in known})
        if held is None:
            continue
        bound, limit = held
        if each.candidate == candidate.label and (each.measured > limit if bound == "max" else each.measured < limit):
            return f"an earlier pack measured {each.name} {each.measured:.4g} against {limit:.4g}"
        tried = by_label.get(each.candidate)
        if each.name == "mean KL" and tried is not None:
            reason = _carried_kl(tried, candidate, {"mean KL": each.measured}, limits)
            if reason is not None:
                return reason.reason
    return ""


def _fidelity_limit(name: str, limits: Limits, measured: set[str]) -> tuple[Literal["min", "max"], float] | None:
    """The bound and limit of a fidelity figure. The default of --max-kl is a language model's, not a classifier's."""
    if name not in FIDELITY_LIMITS or (
        name == "mean KL" and "agreement" in measured and limits.max_kl == Limits.max_kl
    ):
        return None
    bound, field = FIDELITY_LIMITS[name]
    limit = getattr(limits, field)
    return None if limit is None else (bound, limit)


def _less_faithful(candidate: Candidate, miss: Miss, other: Candidate) -> Rejection | None:
    same = other.strategy == candidate.strategy and other.faithfulness < candidate.faithfulness
    if not same or miss.name not in FIDELITY_LIMITS:
        return None
    reason = f"keeps fewer bits than {candidate.label}, which missed {miss.name}"
    return Rejection(
        other.label,
        reason,
        miss.measured,
        miss.limit,
        remedy=f"loosen {miss.flag}",
        estimated=False,
        broke=miss.name,
    )


def _carried_kl(
    candidate: Candidate, other: Candidate, figures: Mapping[str, float], limits: Limits
) -> Rejection | None:
    """Fewer bits of a strategy whose KL, carried from the measured one at its slowest growth, is over the limit."""
    measured = figures.get("mean KL")
    held = _fidelity_limit("mean KL", limits, set(figures))
    lost = candidate.faithfulness - other.faithfulness
    if measured is None or held is None or lost <= 0 or other.strategy != candidate.strategy:
        return None
    optimistic, expected = measured * KL_SLOWEST_GROWTH**lost, measured * KL_GROWTH**lost
    if not is_quantized(candidate) or optimistic <= held[1]:
        return None
    return Rejection(
        other.label,
        f"gives up {lost:.1f} bits of {candidate.label}, whose mean KL was {measured:.3g}: {expected:.3g} is expected",
        optimistic,
        held[1],
        "nats",
        "loosen --max-kl",
        broke="mean KL",
    )


@dataclass(frozen=True)
class _Figure:
    """The estimate behind a measured figure, and how an error in it is carried over: as a ratio, or, for the files
    beside the model's, as a difference.
    """

    estimate: Callable[[Candidate], Estimate | None]
    bound: Literal["min", "max"]
    unit: str
    carried_as: Literal["ratio", "difference"] = "ratio"


def _step(candidate: Candidate) -> Estimate | None:
    """What "latency over fp32" compares: one input, or one token decoded. The unquantized model has no such limit."""
    speed = candidate.tokens_per_s
    if candidate.faithfulness >= FP32_BITS:
        return None
    if speed is None:
        return candidate.latency_ms
    return Estimate(1e3 / speed.high, 1e3 / max(speed.low, 1e-9), speed.basis)


_FIGURES: Mapping[str, _Figure] = {
    "peak RSS": _Figure(lambda each: each.ram_bytes, "max", "bytes"),
    "counted memory": _Figure(unbacked_bytes, "max", "bytes"),
    "anonymous memory": _Figure(unbacked_bytes, "max", "bytes"),
    "bundle on disk": _Figure(lambda each: each.disk_bytes, "max", "bytes", "difference"),
    "model file": _Figure(lambda each: each.disk_bytes, "max", "bytes"),
    "latency p50": _Figure(lambda each: each.latency_ms, "max", "ms"),
    "decode speed": _Figure(lambda each: each.tokens_per_s, "min", "tokens/s"),
    "latency over fp32": _Figure(_step, "max", "x"),
}


def _moved(candidate: Candidate, miss: Miss, other: Candidate) -> Held | None:
    """The missed limit against the other's estimate, moved by the error seen; None where nothing was learnt."""
    figure = _FIGURES.get(miss.name)
    if figure is None or other.engine != candidate.engine:
        return None
    predicted, estimate = figure.estimate(candidate), figure.estimate(other)
    if predicted is None or estimate is None or predicted.mid <= 0:
        return None
    if figure.carried_as == "ratio":
        low, high = (end * miss.measured / predicted.mid for end in (estimate.low, estimate.high))
    else:
        low, high = (end + miss.measured - predicted.mid for end in (estimate.low, estimate.high))
    moved = Estimate(low, high, estimate.basis)
    return Held(miss.name, miss.flag, figure.unit, figure.bound, miss.limit, moved, "is expected to miss")


def _middle_is_over(held: Held) -> bool:
    return held.estimate.mid > held.limit if held.bound == "max" else held.estimate.mid < held.limit


def _expected(candidate: Candidate, held: Held, other: Candidate) -> Rejection:
    reason = f"expected to miss {held.name} too, from the error seen on {candidate.label}"
    verb = "raise" if held.bound == "max" else "lower"
    return Rejection(
        other.label, reason, held.optimistic, held.limit, held.unit, f"{verb} {held.flag}", broke=held.name
    )


def _speed_error(candidate: Candidate, figures: Mapping[str, float]) -> float:
    """Measured over predicted duration of the candidate; 1 where either is not known."""
    speed, latency = candidate.tokens_per_s, candidate.latency_ms
    if speed is not None and figures.get("decode speed"):
        return speed.mid / figures["decode speed"]
    if latency is not None and latency.mid > 0 and figures.get("latency p50"):
        return figures["latency p50"] / latency.mid
    return 1.0


def _merged_by_speed(
    kept: Sequence[Candidate], error: float, candidate: Candidate, preferences: Preferences
) -> list[Candidate]:
    """The engines' own orders merged, the faster front first; an overlap is a tie and goes to the more faithful."""
    queues = [[each for each in kept if each.engine == engine] for engine in dict.fromkeys(c.engine for c in kept)]
    below = FOUR_BIT_BELOW if preferences.sensitivity == "high" else AGGRESSIVE_BELOW
    merged: list[Candidate] = []
    while any(queues):
        fronts = [queue for queue in queues if queue]
        chosen = fronts[0]
        for queue in fronts[1:]:
            if _goes_before(queue[0], chosen[0], error, candidate, below):
                chosen = queue
        merged.append(chosen.pop(0))
    return merged


def _goes_before(one: Candidate, other: Candidate, error: float, tried: Candidate, aggressive_below: float) -> bool:
    if (one.faithfulness < aggressive_below) != (other.faithfulness < aggressive_below):
        return other.faithfulness < aggressive_below
    (low, high), (other_low, other_high) = (_times(each, error if each.engine == tried.engine else 1.0)
                                            for each in (one, other))  # fmt: skip
    if high < other_low or other_high < low:
        return high < other_low
    return one.faithfulness > other.faithfulness


def _times(candidate: Candidate, error: float) -> tuple[float, float]:
    speed = candidate.tokens_per_s
    if speed is not None:
        return error * 1e3 / speed.high, error * 1e3 / max(speed.low, 1e-9)
    latency = candidate.latency_ms
    return (error * latency.low, error * latency.high) if latency is not None else (float("inf"), float("inf"))
