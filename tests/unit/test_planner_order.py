"""What is tried first: by preference, and after what the rules say whatever is preferred."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.costing import row
from fixtures.plans import BOTH, asked, candidate, exactly, gptq, model
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Estimate
from edgekit.costs.factors import Factors
from edgekit.limits import Limits, Preferences
from edgekit.planner import plan
from edgekit.planner.order import ties
from edgekit.strategies import Candidate


def order(offers: list[Candidate], task: str = "causal-lm", prefer: Any = None, **changes: Any) -> list[float]:
    preferences = Preferences(prefer=prefer, sensitivity=changes.pop("sensitivity", "normal"))
    setting = asked(lengths=changes.pop("lengths", (16, 128, 512)))
    made = plan(model(task, **changes), setting, Limits(), offers, BOTH, preferences)
    return [each.faithfulness for each in made.candidates]


def test_quantized_first_the_tasks_engine_then_the_most_faithful() -> None:
    offers = [
        candidate(32, 1, "onnxruntime"),
        candidate(16, 1),
        candidate(4.9, 1),
        candidate(8.5, 1),
        candidate(8, 1, "onnxruntime"),
    ]
    assert order(offers, "embedding") == [8, 8.5, 4.9, 32, 16]
    assert order(offers, "causal-lm") == [8.5, 4.9, 8, 16, 32]
    assert order(offers, "causal-lm", "accuracy") == [32, 16, 8.5, 8, 4.9]


def test_equal_faithfulness_goes_to_the_faster() -> None:
    slow = candidate(8.5, 1, options={"preset": "A"}, tokens_per_s=exactly(5))
    fast = candidate(8.5, 1, options={"preset": "B"}, tokens_per_s=exactly(9))
    unknown = candidate(8.5, 1, options={"preset": "0"})
    made = plan(model(), asked(), Limits(), [unknown, slow, fast], BOTH)
    assert made.candidates == (fast, slow, unknown)


def test_size_goes_by_bytes_on_disk_ties_to_the_more_faithful() -> None:
    offers = [candidate(32, 8), candidate(8.5, 4), candidate(5.7, 2), candidate(4.9, 2)]
    assert order(offers, prefer="size") == [5.7, 4.9, 8.5, 32]


def test_speed_goes_by_time_overlaps_to_the_more_faithful_unknown_last() -> None:
    offers = [
        candidate(32, 1),
        candidate(4.9, 1, tokens_per_s=Estimate(20, 30, "")),
        candidate(5.7, 1, tokens_per_s=Estimate(15, 22, "")),
        candidate(8.5, 1, tokens_per_s=Estimate(10, 14, "")),
    ]
    assert order(offers, prefer="speed") == [5.7, 4.9, 8.5, 32]


def test_what_is_not_known_of_the_device_makes_no_tie() -> None:
    """Both intervals are four times as wide as the factors are off, by a bandwidth that is the same for both."""
    factors = Factors((row({}, "decode", engine="llama.cpp", low=0.9, high=1.2),))
    setting = replace(asked(), factors=factors)

    def first(fast_low: float) -> Candidate:
        slow, fast = (
            candidate(bits, 1, tokens_per_s=Estimate(low, 4 * low, "")) for bits, low in ((16, 10), (8.5, fast_low))
        )
        return plan(model(), setting, Limits(), [slow, fast], BOTH, Preferences(prefer="speed")).candidates[0]

    assert first(11.1).faithfulness == 8.5  # more than (1.2 / 0.9) ** 0.35 apart
    assert first(11.0).faithfulness == 16


def test_of_unknown_speeds_the_fallback_is_last() -> None:
    assert order([candidate(16, 1), candidate(8.5, 1), candidate(4.9, 1)], prefer="speed") == [8.5, 4.9, 16]


def test_encoders_are_not_sent_to_four_bits_for_speed() -> None:
    fast = candidate(4.9, 1, latency_ms=exactly(1))
    slow = candidate(8, 1, "onnxruntime", latency_ms=exactly(5))
    assert order([fast, slow], "embedding", "speed") == [8, 4.9]
    quick = candidate(4.9, 1, tokens_per_s=exactly(9))
    slower = candidate(8.5, 1, tokens_per_s=exactly(2))
    assert order([quick, slower], "causal-lm", "speed") == [4.9, 8.5]


def test_long_prompts_are_counted_where_known_and_four_bits_held_back_where_not() -> None:
    def pair(**ttft: Any) -> list[Candidate]:
        return [candidate(4.9, 1, tokens_per_s=exactly(9), **ttft), candidate(8.5, 1, tokens_per_s=exactly(8))]

    assert order(pair(), prefer="speed", lengths=(2048,)) == [8.5, 4.9]
    assert order(pair(), prefer="speed", lengths=(512,)) == [4.9, 8.5]
    slow_first = [
        candidate(4.9, 1, tokens_per_s=exactly(9), ttft_at={2048: exactly(60_000)}),
        candidate(8.5, 1, tokens_per_s=exactly(8), ttft_at={2048: exactly(20_000)}),
    ]
    assert order(slow_first, prefer="speed", lengths=(2048,)) == [8.5, 4.9]
    fast_first = [
        candidate(4.9, 1, tokens_per_s=exactly(9), ttft_at={2048: exactly(20_000)}),
        candidate(8.5, 1, tokens_per_s=exactly(8), ttft_at={2048: exactly(60_000)}),
    ]
    assert order(fast_first, prefer="speed", lengths=(2048,)) == [4.9, 8.5]


@pytest.mark.parametrize("prefer", [None, "accuracy", "speed", "size"])
def test_aggressive_types_go_last_whatever_is_preferred(prefer: str | None) -> None:
    def offer(bits: float) -> Candidate:
        return candidate(bits, bits, tokens_per_s=exactly(100 / bits))

    offers = [offer(bits) for bits in (3.9, 4.0, 4.9, 5.0, 16)]
    assert order(offers, prefer=prefer)[-1] == 3.9
    assert set(order(offers, prefer=prefer, sensitivity="high")[-3:]) == {3.9, 4.0, 4.9}


@pytest.mark.parametrize("prefer", [None, "accuracy", "speed", "size"])
def test_weights_quantized_already_are_carried_first_and_rounded_again_after_all_else(prefer: str | None) -> None:
    carried = candidate(4.5, 4.5, options={"preset": "Q4_0"})
    offers = [candidate(bits, bits) for bits in (3.9, 4.9, 8.5, 16)]
    found = order([*offers, carried], prefer=prefer, quantization=gptq())
    assert found[0] == 4.5
    assert found[-2:] == [4.9, 3.9]


def test_a_qat_checkpoint_goes_to_its_type_even_for_a_sensitive_task() -> None:
    carried = candidate(4.5, 4.5, options={"preset": "Q4_0"})
    offers = [candidate(8.5, 9), carried]
    assert order(offers, quantization=gptq(method="qat"), sensitivity="high") == [4.5, 8.5]


def test_where_no_type_carries_the_weights_the_order_is_the_usual_one() -> None:
    assert order([candidate(4.5, 1), candidate(8.5, 1)], quantization=gptq(lossless="")) == [8.5, 4.5]


INTERVALS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.tuples(st.integers(0, 100), st.integers(0, 50)).map(lambda ends: (float(ends[0]), float(sum(ends)))),
)


@given(INTERVALS)
def test_ties_overlap_with_their_leader_and_groups_follow_one_another(
    intervals: dict[str, tuple[float, float]],
) -> None:
    groups = ties(intervals)
    assert set(groups) == set(intervals)
    assert sorted(set(groups.values())) == list(range(len(set(groups.values()))))
    for number in set(groups.values()):
        leader = min((intervals[label] for label in groups if groups[label] == number), key=sum)
        later = [intervals[label] for label in groups if groups[label] > number]
        assert all(low > leader[1] for low, _ in later)
