"""The planner is pure: same inputs, same plan; boundaries are exact; a miss rules out what it proves hopeless."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Estimate, Setting
from edgekit.costs.factors import Factors
from edgekit.device import Cluster, Cpu, DeviceProfile, Features, Figure, Ram
from edgekit.limits import Limits
from edgekit.model import SourceModel
from edgekit.planner import Miss, after_miss, plan
from edgekit.strategies import Candidate, Rejection

MIB = 2**20


def device(app_bytes: int | None) -> Setting:
    known = Figure(value=app_bytes, status="derived", source="a test") if app_bytes else Figure(status="unknown")
    profile = DeviceProfile(
        name="box",
        title="A box",
        os="linux",
        form_factor="test",
        cpu=Cpu(
            arch="x86_64",
            isa=Features(value=("avx2",), status="vendor", source="a test"),
            clusters=(Cluster(microarchitecture="any", count=2),),
        ),
        ram=Ram(total_bytes=Figure(value=2**34, status="vendor", source="a test"), app_bytes=known),
    )
    return Setting(profile, Factors(()), context_tokens=2048, threads=2)


def model(task: str = "causal-lm") -> SourceModel:
    return SourceModel(
        name="m", source="m", format="hf", task=task, kind="base", architecture="LlamaForCausalLM", folder=None
    )  # type: ignore[arg-type]


def candidate(bits: float, ram_bytes: float, engine: str = "llama.cpp", **changes: object) -> Candidate:
    made = Candidate(
        strategy="gguf" if engine == "llama.cpp" else f"onnx-{bits:g}",
        engine=engine,  # type: ignore[arg-type]
        options={"preset": f"Q{bits:g}"},
        faithfulness=bits,
        disk_bytes=Estimate(ram_bytes / 2, ram_bytes / 2, "a test"),
        ram_bytes=Estimate(ram_bytes, ram_bytes, "a test"),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


BOTH = ("onnxruntime", "llama.cpp")


def test_exactly_at_the_limit_is_kept_and_one_byte_over_is_not() -> None:
    at, over = candidate(4, 100 * MIB), candidate(8, 100 * MIB + 1)
    made = plan(model(), device(100 * MIB), Limits(), [at, over], BOTH)
    assert made.candidates == (at,)
    (rejection,) = made.rejections
    assert (rejection.measured, rejection.limit) == (100 * MIB + 1, 100 * MIB)


def test_unknown_ram_rejects_nothing() -> None:
    huge = candidate(8, 2**45)
    assert plan(model(), device(None), Limits(), [huge], BOTH).candidates == (huge,)


def test_max_ram_overrides_the_device() -> None:
    made = plan(model(), device(2**40), Limits(max_ram_bytes=5), [candidate(8, 6)], BOTH)
    assert made.candidates == ()
    assert made.ram_limit_bytes == 5


def test_shorter_context_is_offered_only_where_it_fits() -> None:
    big = candidate(8, 200 * MIB, kv_bytes=160 * MIB)
    made = plan(model(), device(100 * MIB), Limits(context_tokens=2048), [big], BOTH)
    assert made.rejections[0].remedy == "fits with --context 768"  # 160 MiB / 2048 tokens; 100 MiB less is 768 tokens
    stuck = candidate(8, 200 * MIB, kv_bytes=MIB)
    assert "--context" not in plan(model(), device(100 * MIB), Limits(), [stuck], BOTH).rejections[0].remedy


@pytest.mark.parametrize(
    ("limits", "changes", "reason"),
    [
        (Limits(max_disk_bytes=1), {}, "--max-disk"),
        (Limits(min_tokens_per_s=9), {"tokens_per_s": Estimate(1, 8.9, "a test")}, "--min-tokens-per-s"),
        (Limits(max_latency_ms=9), {"latency_ms": Estimate(9.1, 20, "a test")}, "--max-latency-ms"),
    ],
)
def test_each_limit_is_named(limits: Limits, changes: dict[str, object], reason: str) -> None:
    made = plan(model(), device(2**40), limits, [candidate(8, 100, **changes)], BOTH)
    assert made.candidates == ()
    assert reason in made.rejections[0].reason


def test_speed_without_grounds_is_tried_not_guessed() -> None:
    unknown = candidate(8, 100)
    assert plan(model(), device(2**40), Limits(min_tokens_per_s=1e9), [unknown], BOTH).candidates == (unknown,)


def test_an_engine_that_is_not_installed_is_a_rejection_with_the_command() -> None:
    made = plan(model(), device(2**40), Limits(), [candidate(8, 1)], ["onnxruntime"])
    assert made.rejections[0].remedy == "pip install gguf llama-cpp-python torch transformers"


def test_order_quantized_first_preferred_engine_then_most_faithful() -> None:
    offers = [
        candidate(32, 1, "onnxruntime"),
        candidate(16, 1),
        candidate(4.9, 1),
        candidate(8.5, 1),
        candidate(8, 1, "onnxruntime"),
    ]
    order = [each.faithfulness for each in plan(model("embedding"), device(2**40), Limits(), offers, BOTH).candidates]
    assert order == [8, 8.5, 4.9, 32, 16]
    order = [each.faithfulness for each in plan(model("causal-lm"), device(2**40), Limits(), offers, BOTH).candidates]
    assert order == [8.5, 4.9, 8, 16, 32]


offers_strategy = st.lists(
    st.builds(candidate, st.sampled_from([4.5, 4.9, 5.7, 8.5, 16.0]), st.integers(1, 2**40)), max_size=8
)


@given(offers_strategy, st.integers(1, 2**40), st.integers(0, 2**40))
def test_more_ram_never_loses_a_candidate(offers: list[Candidate], ram_bytes: int, more_bytes: int) -> None:
    few = plan(model(), device(ram_bytes), Limits(), offers, BOTH).candidates
    many = plan(model(), device(ram_bytes + more_bytes), Limits(), offers, BOTH).candidates
    assert {id(each) for each in few} <= {id(each) for each in many}


@given(offers_strategy, st.integers(1, 2**40), st.randoms())
def test_the_plan_is_a_function_of_the_offers_not_of_their_order(
    offers: list[Candidate], ram_bytes: int, random: object
) -> None:
    shuffled = list(offers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = plan(model(), device(ram_bytes), Limits(), offers, BOTH)
    second = plan(model(), device(ram_bytes), Limits(), shuffled, BOTH)
    assert [each.label for each in first.candidates] == [each.label for each in second.candidates]
    assert len(first.candidates) + len(first.rejections) == len(offers)


def test_a_fidelity_miss_rules_out_fewer_bits_of_the_same_strategy_only() -> None:
    q5, q4, f16, onnx = candidate(5.7, 1), candidate(4.9, 1), candidate(16, 1), candidate(4, 1, "onnxruntime")
    kept, rejected = after_miss(q5, [Miss("mean KL", 0.2, 0.1, "--max-kl")], [q4, f16, onnx])
    assert kept == (f16, onnx)
    assert [each.label for each in rejected] == [q4.label]
    assert isinstance(rejected[0], Rejection)
    assert not rejected[0].estimated


def test_a_memory_miss_moves_the_other_estimates_by_the_error_seen() -> None:
    tried, close, small = candidate(8.5, 100), candidate(5.7, 80), candidate(4.9, 60)
    miss = Miss("peak RSS", measured=140, limit=105, flag="--max-ram")  # 1.4 times what was estimated
    kept, rejected = after_miss(tried, [miss], [close, small])
    assert kept == (small,)  # 1.4 * 60 is within 105, 1.4 * 80 is not
    assert rejected[0].measured == pytest.approx(112)


def test_a_cpu_without_what_the_engine_needs_is_not_given_it() -> None:
    needs = candidate(8, 1, min_isa={"x86_64": ("avx2", "fma"), "aarch64": ()})
    made = plan(model(), device(2**40), Limits(), [needs], BOTH)
    assert made.candidates == ()
    assert made.rejections[0].reason == "its engine needs fma, which A box does not have"
    elsewhere = candidate(8, 1, min_isa={"aarch64": ()})
    assert "A box is x86_64" in plan(model(), device(2**40), Limits(), [elsewhere], BOTH).rejections[0].reason
    anywhere = candidate(8, 1, min_isa={"x86_64": ("avx2",)})
    assert plan(model(), device(2**40), Limits(), [anywhere], BOTH).candidates == (anywhere,)
