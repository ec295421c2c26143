"""What a miss teaches: the missed candidate is gone, hopeless ones with it, and the rest stands by what was seen."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.plans import candidate, exactly, memory
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Estimate
from edgekit.limits import FIDELITY_LIMITS, Limits, Preferences
from edgekit.planner import Miss, after_miss
from edgekit.strategies import Candidate, Rejection


def test_a_fidelity_miss_rules_out_fewer_bits_of_the_same_strategy_only() -> None:
    q5, q4, f16, onnx = candidate(5.7, 1), candidate(4.9, 1), candidate(16, 1), candidate(4, 1, "onnxruntime")
    kept, rejected = after_miss(q5, [Miss("mean KL", 0.2, 0.1, "--max-kl")], [q4, f16, onnx])
    assert kept == (f16, onnx)
    assert [each.label for each in rejected] == [q4.label]
    assert isinstance(rejected[0], Rejection)
    assert not rejected[0].estimated
    assert rejected[0].remedy == "loosen --max-kl"


def test_a_memory_miss_moves_the_other_estimates_by_the_error_seen() -> None:
    tried, close, small = candidate(8.5, 100), candidate(5.7, 80), candidate(4.9, 60)
    miss = Miss("peak RSS", measured=140, limit=105, flag="--max-ram")  # 1.4 times what was estimated
    kept, rejected = after_miss(tried, [miss], [close, small])
    assert kept == (small,)  # 1.4 * 60 is within 105, 1.4 * 80 is not
    assert rejected[0].measured == pytest.approx(112)
    assert rejected[0].remedy == "raise --max-ram"


def test_moved_exactly_onto_the_limit_is_kept() -> None:
    tried, at, over = candidate(8.5, 100), candidate(5.7, 50), candidate(4.9, 51)
    kept, _ = after_miss(tried, [Miss("peak RSS", 200, 100, "--max-ram")], [over, at])
    assert kept == (at,)


def test_another_engines_memory_is_not_moved() -> None:
    tried, onnx = candidate(8.5, 100), candidate(8, 100, "onnxruntime")
    kept, _ = after_miss(tried, [Miss("peak RSS", 200, 105, "--max-ram")], [onnx])
    assert kept == (onnx,)


def test_what_is_expected_to_miss_goes_last_and_what_cannot_hold_is_out() -> None:
    tried, small = candidate(8.5, 100), candidate(4.9, 40)
    straddles = candidate(5.7, 0, ram_bytes=Estimate(60, 100, ""))  # 90 to 150 once moved
    hopeless = candidate(5.8, 0, ram_bytes=Estimate(71, 80, ""))
    kept, rejected = after_miss(tried, [Miss("peak RSS", 150, 105, "--max-ram")], [hopeless, straddles, small])
    assert kept == (small, straddles)
    assert [each.label for each in rejected] == [hopeless.label]


def test_the_files_beside_the_model_are_a_difference_not_a_ratio() -> None:
    """A tokenizer of 30 beside a model of 10 says nothing of a model of 50 but that it has the tokenizer too."""
    tried = candidate(4.9, 0, disk_bytes=exactly(10))
    others = [candidate(8.5, 0, disk_bytes=exactly(size)) for size in (50, 51)]
    kept, rejected = after_miss(tried, [Miss("bundle on disk", 40, 80, "--max-disk")], others)
    assert kept == (others[0],)
    assert rejected[0].measured == 81


def test_counted_memory_is_that_which_no_file_backs() -> None:
    tried = candidate(8.5, 1000, memory=memory(900, 100))
    light = candidate(5.7, 700, memory=memory(650, 50))
    heavy = candidate(4.9, 600, memory=memory(500, 100))
    kept, _ = after_miss(tried, [Miss("counted memory", 200, 150, "--max-ram")], [heavy, light])
    assert kept == (light,)


@pytest.mark.parametrize(
    ("name", "measured", "limit", "slow", "fast"),
    [
        ("latency p50", 20.0, 15.0, {"latency_ms": exactly(8)}, {"latency_ms": exactly(7)}),
        ("decode speed", 5.0, 8.0, {"tokens_per_s": exactly(15)}, {"tokens_per_s": exactly(16.1)}),
        ("latency over fp32", 2.0, 1.5, {"tokens_per_s": exactly(13)}, {"tokens_per_s": exactly(14)}),
    ],
)
def test_times_are_moved_too(
    name: str, measured: float, limit: float, slow: dict[str, Any], fast: dict[str, Any]
) -> None:
    tried = candidate(8.5, 1, latency_ms=exactly(10), tokens_per_s=exactly(10))
    others = [candidate(5.7, 1, **slow), candidate(4.9, 1, **fast)]
    kept, rejected = after_miss(tried, [Miss(name, measured, limit, "--flag")], others)
    assert kept == (others[1],)
    assert rejected[0].broke == name


def test_the_unquantized_model_is_asked_for_no_speedup() -> None:
    tried, fp32 = (
        candidate(8, 1, "onnxruntime", latency_ms=exactly(10)),
        candidate(32, 1, "onnxruntime", latency_ms=exactly(20)),
    )
    assert after_miss(tried, [Miss("latency over fp32", 1.5, 1.0, "--max-slowdown")], [fp32])[0] == (fp32,)


def test_a_measured_kl_is_carried_to_fewer_bits_after_any_miss() -> None:
    """At the slowest growth published, twice a bit: 0.02 at 8.5 bits is at least 0.139 at 5.7, over 0.1."""
    q8, q6, q5 = candidate(8.5, 100), candidate(6.5, 80), candidate(5.7, 60)
    miss = Miss("peak RSS", 130, 120, "--max-ram")
    kept, rejected = after_miss(q8, [miss], [q6, q5], {"mean KL": 0.02, "peak RSS": 130})
    assert kept == (q6,)
    assert rejected[0].measured == pytest.approx(0.02 * 2**2.8)
    assert "0.97 is expected" in rejected[0].reason  # 0.02 * 4 ** 2.8
    assert after_miss(q8, [miss], [q6, q5], {"mean KL": 0.02}, Limits(max_kl=0.2))[0] == (q6, q5)


def test_a_kl_is_not_carried_from_the_unquantized_nor_to_more_bits_nor_for_classifiers() -> None:
    miss = Miss("peak RSS", 100, 99, "--max-ram")
    q4, q8, f16 = candidate(4.9, 1), candidate(8.5, 1), candidate(16, 100)
    assert after_miss(f16, [miss], [q8, q4], {"mean KL": 0.05})[0] == (q8, q4)
    assert after_miss(candidate(4.9, 100, options={"preset": "x"}), [miss], [q8], {"mean KL": 9})[0] == (q8,)
    q8_tried = candidate(8.5, 100, options={"preset": "x"})
    assert after_miss(q8_tried, [miss], [q4], {"mean KL": 0.09, "agreement": 1.0})[0] == (q4,)
    assert after_miss(q8_tried, [miss], [q4], {"mean KL": 0.09})[0] == ()


def test_for_speed_the_engines_are_merged_anew_by_the_error_seen() -> None:
    tried = candidate(4.9, 1, tokens_per_s=exactly(20))
    own, other = candidate(8.5, 1, tokens_per_s=exactly(12)), candidate(8, 1, "onnxruntime", tokens_per_s=exactly(10))
    miss, figures = Miss("top-1 agreement", 0.5, 0.85, "--min-top1"), {"decode speed": 10.0}  # half of the prediction
    assert after_miss(tried, [miss], [own, other], figures, preferences=Preferences(prefer="speed"))[0] == (other, own)
    assert after_miss(tried, [miss], [own, other], figures)[0] == (own, other)
    right = {"decode speed": 20.0}
    assert after_miss(tried, [miss], [own, other], right, preferences=Preferences(prefer="speed"))[0] == (own, other)


def test_aggressive_types_stay_last_when_merged() -> None:
    tried = candidate(5.7, 1, latency_ms=exactly(4))
    few = candidate(3.5, 1, latency_ms=exactly(1))
    other = candidate(8, 1, "onnxruntime", latency_ms=exactly(9))
    speed = Preferences(prefer="speed")
    assert after_miss(tried, [Miss("drop", 1, 0.1, "")], [other], {}, preferences=speed)[0] == (other,)
    miss = Miss("latency p50", 4, 3, "--max-latency-ms")
    assert after_miss(tried, [miss], [few, other], {"latency p50": 4.0}, preferences=speed)[0] == (other, few)


NAMES = [
    "peak RSS",
    "counted memory",
    "bundle on disk",
    "latency p50",
    "decode speed",
    "latency over fp32",
    *FIDELITY_LIMITS,
]
MISSES = st.builds(Miss, st.sampled_from(NAMES), st.floats(0.01, 1e6), st.floats(0.01, 1e6), st.just("--flag"))
SIZES = st.integers(1, 10**6).map(exactly)
CANDIDATES = st.builds(
    lambda bits, engine, ram, speed: candidate(bits, 0, engine, ram_bytes=ram, latency_ms=speed, tokens_per_s=speed),
    st.sampled_from([3.5, 4.5, 4.9, 5.7, 8.0, 8.5, 16.0, 32.0]),
    st.sampled_from(["onnxruntime", "llama.cpp"]),
    SIZES,
    st.none() | SIZES,
)
LISTS = st.lists(CANDIDATES, min_size=1, max_size=8)
FIGURES = st.dictionaries(st.sampled_from(NAMES), st.floats(0.01, 1e6))
PREFERENCES = st.builds(
    Preferences, prefer=st.sampled_from([None, "speed"]), sensitivity=st.sampled_from(["normal", "high"])
)


@given(LISTS, st.lists(MISSES, max_size=3), FIGURES, PREFERENCES)
def test_the_missed_candidate_is_never_returned_and_no_other_is_lost(
    candidates: list[Candidate], misses: list[Miss], figures: dict[str, float], preferences: Preferences
) -> None:
    tried, rest = candidates[0], candidates
    kept, rejected = after_miss(tried, misses, rest, figures, preferences=preferences)
    assert tried.label not in [each.label for each in kept]
    others = sorted(each.label for each in rest if each.label != tried.label)
    assert sorted([*(each.label for each in kept), *(each.label for each in rejected)]) == others


@given(LISTS, MISSES)
def test_nothing_is_learnt_of_other_engines(candidates: list[Candidate], miss: Miss) -> None:
    tried = candidates[0]
    kept, _ = after_miss(tried, [miss], candidates[1:])
    others = [each for each in candidates[1:] if each.engine != tried.engine]
    assert [each for each in kept if each.engine != tried.engine] == others
