"""The planner is pure: same inputs, same plan; boundaries are exact; what is over a limit is told by how much."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from fixtures.plans import BOTH, MIB, asked, candidate, decoder, exactly, figure, memory, model
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Estimate
from edgekit.device import Figure, Ram
from edgekit.limits import Limits, Preferences
from edgekit.planner import Known, Plan, counted_bytes, plan
from edgekit.strategies import Candidate, Rejection

DECODER = model()


def test_exactly_at_the_limit_is_kept_and_one_byte_over_is_not() -> None:
    at, over = candidate(4, 100 * MIB), candidate(8, 100 * MIB + 1)
    made = plan(DECODER, asked(100 * MIB), Limits(), [at, over], BOTH)
    assert made.candidates == (at,)
    (rejection,) = made.rejections
    assert (rejection.measured, rejection.limit) == (100 * MIB + 1, 100 * MIB)


def test_exactly_at_the_disk_limit_is_kept_and_one_byte_over_is_not() -> None:
    at, over = candidate(4, 200), candidate(8, 202)
    assert plan(DECODER, asked(), Limits(max_disk_bytes=100), [at, over], BOTH).candidates == (at,)


def test_what_straddles_a_limit_is_kept_and_marked() -> None:
    surely = candidate(4, 90)
    maybe = candidate(8, 0, ram_bytes=Estimate(80, 101, "a test"))
    made = plan(DECODER, asked(100), Limits(), [surely, maybe], BOTH)
    assert made.candidates == (maybe, surely)
    assert made.may_miss == {"gguf Q8": ("RAM",)}


def test_a_limit_on_an_unknown_speed_may_be_missed() -> None:
    unknown, known = candidate(8, 1), candidate(4, 1, tokens_per_s=exactly(9), latency_ms=exactly(9))
    made = plan(DECODER, asked(), Limits(min_tokens_per_s=5, max_latency_ms=10), [unknown, known], BOTH)
    assert made.may_miss == {unknown.label: ("latency", "decode speed")}


def test_unknown_ram_rejects_nothing_and_says_so() -> None:
    huge = candidate(8, 2**45)
    nobody_knows = Ram(total_bytes=figure(None), app_bytes=figure(None))
    made = plan(DECODER, asked(ram=nobody_knows), Limits(), [huge], BOTH)
    assert made.candidates == (huge,)
    assert made.ram_limit_bytes is None
    assert "unknown-ram" in [remark.rule for remark in made.remarks]


def test_what_an_app_may_use_is_never_more_than_all_there_is() -> None:
    everything, more = candidate(4, 2**34), candidate(8, 2**34 + 1)
    made = plan(DECODER, asked(None), Limits(), [everything, more], BOTH)
    assert made.candidates == (everything,)
    assert made.ram_limit_bytes is None
    assert made.rejections[0].reason == "needs more memory than A box has, with what it reads of its file"
    assert made.rejections[0].remedy == "gguf Q4 fits"
    alone = plan(DECODER, asked(None), Limits(), [more], BOTH).rejections[0]
    assert alone.remedy == "16.0 GiB of memory, or a model 100% of this size"


def test_a_mapped_file_that_does_not_count_still_has_to_fit_all_memory() -> None:
    """A phone of 16 GiB: a file larger than that would be read from storage again for every token."""
    fits, reread = (
        candidate(bits, size, memory=memory(size - 100, 100)) for bits, size in ((4, 2**34), (8, 2**34 + 1))
    )
    for budget in (2**32, None):
        made = plan(DECODER, asked(budget, counted="anonymous"), Limits(), [fits, reread], BOTH)
        assert made.candidates == (fits,)
        assert made.rejections[0].broke == "whole RAM"
    board = plan(DECODER, asked(2**40), Limits(), [fits, reread], BOTH)
    assert board.candidates == (reread, fits)  # its own limit counts everything already


def test_max_ram_overrides_the_device() -> None:
    made = plan(DECODER, asked(), Limits(max_ram_bytes=5), [candidate(8, 6)], BOTH)
    assert made.candidates == ()
    assert made.ram_limit_bytes == 5
    assert made.rejections[0].reason == "needs more RAM than --max-ram"


def test_no_offers_make_an_empty_plan() -> None:
    made = plan(DECODER, asked(), Limits(), [], BOTH)
    assert (made.candidates, made.rejections, made.advice) == ((), (), ())


@pytest.mark.parametrize(
    ("limits", "changes", "broke"),
    [
        (Limits(max_disk_bytes=1), {}, "disk"),
        (Limits(min_tokens_per_s=9), {"tokens_per_s": Estimate(1, 8.9, "a test")}, "decode speed"),
        (Limits(max_latency_ms=9), {"latency_ms": Estimate(9.1, 20, "a test")}, "latency"),
        (Limits(max_ram_bytes=99), {}, "RAM"),
    ],
)
def test_each_limit_is_named(limits: Limits, changes: dict[str, Any], broke: str) -> None:
    made = plan(DECODER, asked(), limits, [candidate(8, 100, **changes)], BOTH)
    assert made.candidates == ()
    assert made.rejections[0].broke == broke
    assert made.rejections[0].remedy


@pytest.mark.parametrize(
    ("limits", "changes"),
    [
        (Limits(min_tokens_per_s=9), {"tokens_per_s": Estimate(1, 9, "a test")}),
        (Limits(max_latency_ms=9), {"latency_ms": Estimate(9, 20, "a test")}),
    ],
)
def test_a_speed_exactly_at_its_limit_is_tried(limits: Limits, changes: dict[str, Any]) -> None:
    made = plan(DECODER, asked(), limits, [candidate(8, 100, **changes)], BOTH)
    assert len(made.candidates) == 1


def test_of_several_limits_the_one_most_over_is_told() -> None:
    both = candidate(8, 110, disk_bytes=exactly(300))  # 10 % over RAM, 200 % over disk
    (rejection,) = plan(DECODER, asked(100), Limits(max_disk_bytes=100), [both], BOTH).rejections
    assert (rejection.broke, rejection.measured, rejection.limit) == ("disk", 300, 100)


def test_speed_without_grounds_is_tried_not_guessed() -> None:
    unknown = candidate(8, 100)
    assert plan(DECODER, asked(), Limits(min_tokens_per_s=1e9), [unknown], BOTH).candidates == (unknown,)


def test_an_engine_that_is_not_installed_is_a_rejection_with_the_command() -> None:
    made = plan(DECODER, asked(), Limits(), [candidate(8, 1)], ["onnxruntime"])
    assert made.rejections[0].remedy == "pip install gguf llama-cpp-python torch transformers"


def test_a_cpu_without_what_the_engine_needs_is_not_given_it() -> None:
    needs = candidate(8, 1, min_isa={"x86_64": ("avx2", "fma"), "aarch64": ()})
    made = plan(DECODER, asked(), Limits(), [needs], BOTH)
    assert made.candidates == ()
    assert made.rejections[0].reason == "its engine needs fma, which A box does not have"
    elsewhere = candidate(8, 1, min_isa={"aarch64": ()})
    assert "A box is x86_64" in plan(DECODER, asked(), Limits(), [elsewhere], BOTH).rejections[0].reason
    anywhere = candidate(8, 1, min_isa={"x86_64": ("avx2",)})
    assert plan(DECODER, asked(), Limits(), [anywhere], BOTH).candidates == (anywhere,)


def test_a_system_that_counts_anonymous_memory_leaves_the_mapped_file_out() -> None:
    made = candidate(8, 1000, memory=memory(800, 50, 20, 30), kv_bytes=20)
    phone, board = asked(counted="anonymous").device, asked().device
    assert counted_bytes(made, phone).high == 100
    assert counted_bytes(made, board).high == 1000
    at = plan(DECODER, asked(100, counted="anonymous"), Limits(), [made], BOTH)
    assert at.candidates == (made,)
    assert at.ram_counted == "anonymous"
    over = plan(DECODER, asked(99, counted="anonymous"), Limits(), [made], BOTH)
    assert over.rejections[0].measured == 100


def test_memory_of_unknown_parts_counts_whole() -> None:
    assert counted_bytes(candidate(8, 1000), asked(counted="anonymous").device).low == 1000


def test_the_entitled_budget_is_offered_where_it_is_enough() -> None:
    def remedy(entitled: float) -> str:
        sizes = {"total_bytes": 2**34, "app_bytes": 100, "app_entitled_bytes": entitled}
        known = {name: Figure(value=value, status="vendor", source="a test") for name, value in sizes.items()}
        return plan(DECODER, asked(ram=Ram(**known)), Limits(), [candidate(8, 150)], BOTH).rejections[0].remedy

    assert "entitled" in remedy(150)
    assert "entitled" not in remedy(149)


def test_fidelity_measured_before_puts_a_candidate_last_and_says_why() -> None:
    q8, q5 = candidate(8.5, 2), candidate(5.7, 1)
    known = [Known("gguf Q8.5", "mean KL", 0.2)]
    made = plan(DECODER, asked(), Limits(max_kl=0.1), [q8, q5], BOTH, known=known)
    assert made.candidates == (q8, q5)  # both are doubted: Q5.7 keeps fewer bits still
    assert {(each.rule, each.subject) for each in made.remarks} >= {
        ("measured-before", "gguf Q8.5"),
        ("measured-before", "gguf Q5.7"),
    }
    onnx = candidate(8, 3, "onnxruntime")
    assert plan(DECODER, asked(), Limits(), [q8, q5, onnx], BOTH, known=known).candidates[0] == onnx
    assert plan(DECODER, asked(), Limits(max_kl=0.3), [q8, onnx], BOTH, known=known).candidates[0] == q8
    assert made.expectations["gguf Q8.5"] == "measured before: mean KL 0.2"


def test_a_classifiers_kl_is_not_held_against_a_language_models_default() -> None:
    known = [Known("onnx-8 Q8", "mean KL", 0.5), Known("onnx-8 Q8", "agreement", 0.999)]
    int8, fp32 = candidate(8, 1, "onnxruntime"), candidate(32, 2, "onnxruntime")
    made = plan(model("text-classification"), asked(), Limits(), [fp32, int8], BOTH, known=known)
    assert made.candidates == (int8, fp32)
    held = plan(model("text-classification"), asked(), Limits(max_kl=0.4), [fp32, int8], BOTH, known=known)
    assert held.candidates == (fp32, int8)


@pytest.mark.parametrize(
    ("bits", "sensitivity", "gone"), [(3, "normal", True), (4.5, "normal", False), (4.5, "high", True)]
)
def test_aggressive_types_are_offered_only_where_measured_fidelity_allows(
    bits: float, sensitivity: str, gone: bool
) -> None:
    few = candidate(bits, 1)
    known = [Known(few.label, "top-1 agreement", 0.5)]
    preferences = Preferences(sensitivity=sensitivity)  # type: ignore[arg-type]
    made = plan(DECODER, asked(), Limits(), [few, candidate(8.5, 2)], BOTH, preferences, known=known)
    assert (few not in made.candidates) == gone
    if gone:
        assert "measured fidelity does not allow" in made.rejections[0].reason
    allowed = [Known(few.label, "top-1 agreement", 0.99)]
    made = plan(DECODER, asked(), Limits(), [few, candidate(8.5, 2)], BOTH, preferences, known=allowed)
    assert few in made.candidates


def test_expectations_are_told_in_words_of_what_is_kept() -> None:
    offers = [candidate(bits, 1) for bits in (32, 16, 8.5, 5.7, 4.9, 4.5, 2)] + [candidate(8, 1, "onnxruntime")]
    told = plan(DECODER, asked(), Limits(), offers, BOTH).expectations
    assert told["gguf Q32"] == "the original's"
    assert told["gguf Q4.9"] == "slightly off (8B model: KL 0.03)"
    assert told["gguf Q2"] == "far off"
    assert len(set(told.values())) == len(offers)


ESTIMATES = st.tuples(st.integers(1, 2**20), st.integers(0, 2**20)).map(
    lambda ends: Estimate(ends[0], sum(ends), "a test")
)
SPEEDS = st.none() | ESTIMATES


@st.composite
def offer_lists(draw: st.DrawFn) -> list[Candidate]:
    """Candidates of distinct labels, as strategies offer them."""
    names = draw(st.lists(st.tuples(st.sampled_from([2.5, 4.5, 4.9, 5.7, 8.5, 16.0, 32.0]), st.sampled_from(BOTH)),
                          unique=True, max_size=8))  # fmt: skip
    return [
        candidate(bits, 0, engine, ram_bytes=draw(ESTIMATES), disk_bytes=draw(ESTIMATES), latency_ms=draw(SPEEDS),
                  tokens_per_s=draw(SPEEDS))
        for bits, engine in names
    ]  # fmt: skip


PREFERENCES = st.builds(
    Preferences,
    prefer=st.sampled_from([None, "accuracy", "speed", "size"]),
    sensitivity=st.sampled_from(["normal", "high"]),
)
LIMITS = st.builds(
    Limits,
    max_ram_bytes=st.none() | st.integers(1, 2**21),
    max_disk_bytes=st.none() | st.integers(1, 2**21),
    max_latency_ms=st.none() | st.floats(1, 2**21),
    min_tokens_per_s=st.none() | st.floats(1, 2**21),
)
TASKS = st.sampled_from(["causal-lm", "embedding"])


def looser(limits: Limits, by: float) -> Limits:
    def more(value: float | None, factor: float) -> Any:
        return None if value is None or by > 4 else value * factor

    ram, disk = (None if value is None or by > 4 else int(value * by)
                 for value in (limits.max_ram_bytes, limits.max_disk_bytes))  # fmt: skip
    latency, speed = more(limits.max_latency_ms, by), more(limits.min_tokens_per_s, 1 / by)
    return replace(limits, max_ram_bytes=ram, max_disk_bytes=disk, max_latency_ms=latency, min_tokens_per_s=speed)


def labels(made: Plan) -> list[str]:
    return [each.label for each in made.candidates]


@given(offer_lists(), LIMITS, st.floats(1, 5), PREFERENCES, TASKS)
def test_a_looser_limit_never_gives_a_worse_plan(
    offers: list[Candidate], limits: Limits, by: float, preferences: Preferences, task: str
) -> None:
    """What was feasible stays so in the same order: the first of the looser plan is that of the stricter, or better."""
    strict = labels(plan(model(task), asked(None), limits, offers, BOTH, preferences))
    loose = labels(plan(model(task), asked(None), looser(limits, by), offers, BOTH, preferences))
    assert [label for label in loose if label in strict] == strict


@given(offer_lists(), st.integers(1, 2**21), st.integers(0, 2**21), PREFERENCES, TASKS)
def test_more_ram_never_turns_a_plan_infeasible(
    offers: list[Candidate], ram_bytes: int, more_bytes: int, preferences: Preferences, task: str
) -> None:
    few = plan(model(task), asked(ram_bytes), Limits(), offers, BOTH, preferences).candidates
    many = plan(model(task), asked(ram_bytes + more_bytes), Limits(), offers, BOTH, preferences).candidates
    assert {each.label for each in few} <= {each.label for each in many}


@given(offer_lists(), LIMITS, PREFERENCES, TASKS, st.randoms(use_true_random=False))
def test_the_plan_is_a_function_of_the_offers_not_of_their_order(
    offers: list[Candidate], limits: Limits, preferences: Preferences, task: str, chance: random.Random
) -> None:
    refused = [Rejection("a", "one"), Rejection("b", "two")]
    shuffled = [*offers, *refused]
    chance.shuffle(shuffled)
    source = replace(decoder(2, 128, 100), task=task)  # type: ignore[arg-type]
    first = plan(source, asked(2**20), limits, [*offers, *refused], BOTH, preferences)
    assert first == plan(source, asked(2**20), limits, shuffled, BOTH, preferences)
    assert len(first.candidates) + len(first.rejections) == len(shuffled)
    assert all(each.remedy for each in first.rejections if each.broke)


@given(offer_lists(), LIMITS, PREFERENCES, TASKS)
def test_what_is_kept_may_hold_and_what_is_rejected_cannot(
    offers: list[Candidate], limits: Limits, preferences: Preferences, task: str
) -> None:
    made = plan(model(task), asked(None), limits, offers, BOTH, preferences)
    for each in made.candidates:
        assert limits.max_ram_bytes is None or each.ram_bytes.low <= limits.max_ram_bytes
        assert limits.max_disk_bytes is None or each.disk_bytes.low <= limits.max_disk_bytes
    for rejection in made.rejections:
        assert rejection.measured is not None
        assert rejection.limit is not None
        lower_is_over = rejection.broke == "decode speed"
        assert (rejection.measured < rejection.limit) if lower_is_over else (rejection.measured > rejection.limit)
