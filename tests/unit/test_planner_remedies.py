"""What would have to change: true of the plan with the change, and no more than is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.costing import row
from fixtures.plans import BOTH, MIB, Larger, asked, box, candidate, decoder, exactly, model
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Estimate, MemoryTerm, Setting, Work
from edgekit.costs.factors import Factors
from edgekit.limits import Limits
from edgekit.model import TextSetup
from edgekit.planner import Plan, plan
from edgekit.strategies import Candidate, priced


def remedy(made: Plan, index: int = 0) -> str:
    return made.rejections[index].remedy


def test_shorter_context_is_offered_only_where_it_fits() -> None:
    big = candidate(8, 200 * MIB, kv_bytes=160 * MIB)
    made = plan(model(), asked(100 * MIB), Limits(context_tokens=2048), [big], BOTH)
    assert remedy(made) == "fits with --context 768"  # 160 MiB / 2048 tokens; 100 MiB less is 768 tokens
    assert made.advice[0] == "a smaller context: gguf Q8 fits with --context 768 (asked: 2048)"
    stuck = candidate(8, 200 * MIB, kv_bytes=MIB)
    assert "--context" not in remedy(plan(model(), asked(100 * MIB), Limits(), [stuck], BOTH))


def test_a_context_of_which_only_the_optimistic_end_fits_may_fit() -> None:
    wide = candidate(8, 0, ram_bytes=Estimate(150 * MIB, 280 * MIB, ""), kv_bytes=160 * MIB)
    made = plan(model(), asked(100 * MIB), Limits(), [wide], BOTH)
    assert remedy(made) == "may fit with --context 1408"  # 50 MiB less than asked, in steps of 128


def test_a_model_shorter_than_the_context_asked_counts_its_own_positions() -> None:
    short = model(config={"max_position_embeddings": 1024})
    big = candidate(8, 200 * MIB, kv_bytes=160 * MIB)
    assert remedy(plan(short, asked(100 * MIB), Limits(), [big], BOTH)) == "fits with --context 384"


def test_a_tokenizer_that_takes_less_than_the_model_counts_too() -> None:
    short = model(config={"max_position_embeddings": 32768}, text=TextSetup(1024, None))
    big = candidate(8, 200 * MIB, kv_bytes=160 * MIB)
    assert remedy(plan(short, asked(100 * MIB), Limits(), [big], BOTH)) == "fits with --context 384"


def test_what_nothing_is_known_of_is_not_told_as_if_it_were() -> None:
    slow = candidate(8, MIB, latency_ms=Estimate(9, 12, ""))
    made = plan(model("embedding"), asked(), Limits(max_latency_ms=5), [slow, candidate(5, MIB)], BOTH)
    assert remedy(made) == "gguf Q5, of unknown latency, may fit, or --max-latency-ms 12 would allow it"


WORK = Work(
    (
        MemoryTerm("weights", 50 * MIB, "file"),
        MemoryTerm("process", 20 * MIB, "anonymous"),
        MemoryTerm("cache", 160 * MIB, "kv"),
        MemoryTerm("buffers", 5 * MIB, "activations"),
    ),
    {},
)


@given(st.integers(104 * MIB, 225 * MIB))
def test_the_context_told_is_the_largest_that_fits(ram_bytes: int) -> None:
    """Planned again with it the candidate surely fits, and with 128 tokens more it does not surely fit."""
    factors = Factors((row({"cache": 1.1}, "memory", isa="any", low=0.9, high=1.2, engine="llama.cpp"),))

    def planned(tokens: int) -> Plan:
        share = tokens / 2048
        terms = tuple(replace(term, bytes=term.bytes * share) if term.part == "kv" else term for term in WORK.memory)
        setting = Setting(box(ram_bytes), factors, tokens, 2)
        offer = priced(candidate(8, 1), replace(WORK, memory=terms), setting)
        return plan(model(), setting, Limits(context_tokens=tokens), [offer], BOTH)

    told = remedy(planned(2048))
    tokens = int(told.removeprefix("fits with --context "))
    assert tokens % 128 == 0
    assert planned(tokens).candidates
    assert not planned(tokens).may_miss
    longer = planned(tokens + 128)
    assert longer.may_miss or longer.rejections


def test_a_larger_model_of_the_device_is_named() -> None:
    larger = (Larger("box-4gb", "box, 4 GB", 149), Larger("box-8gb", "box, 8 GB", 150), Larger("x", "x", None))
    big = candidate(8, 150)
    made = plan(model(), asked(100), Limits(), [big], BOTH, siblings=larger)
    assert remedy(made) == "fits the box, 8 GB"
    assert made.advice == ("a larger device: gguf Q8 fits the box, 8 GB",)
    maybe = replace(big, ram_bytes=Estimate(120, 160, ""))
    assert remedy(plan(model(), asked(100), Limits(), [maybe], BOTH, siblings=larger)) == "may fit the box, 4 GB"
    asked_less = plan(model(), asked(2**30), Limits(max_ram_bytes=100), [big], BOTH, siblings=larger)
    assert "box" not in remedy(asked_less)  # the user set the limit: another device does not change it


@pytest.mark.parametrize(
    ("limits", "changes", "told"),
    [
        (Limits(max_disk_bytes=10**8), {"disk_bytes": exactly(409_600_001)}, "--max-disk 410MB would allow it"),
        (Limits(max_disk_bytes=1000), {"disk_bytes": exactly(5_001)}, "--max-disk 6KB would allow it"),
        (Limits(max_ram_bytes=10**6), {}, "--max-ram 2MB would allow it"),
        (Limits(max_latency_ms=9), {"latency_ms": Estimate(9.1, 12.34, "")}, "--max-latency-ms 13 would allow it"),
        (Limits(min_tokens_per_s=9), {"tokens_per_s": Estimate(7.19, 8, "")}, "--min-tokens-per-s 7.1 would allow it"),
    ],
)
def test_the_flag_that_would_allow_it_does(limits: Limits, changes: dict[str, Estimate], told: str) -> None:
    over = candidate(8, 1_500_000, **changes)
    assert remedy(plan(model(), asked(), limits, [over], BOTH)) == told
    flag, value = told.split()[:2]
    size = {"MB": 10**6, "KB": 10**3}.get(value[-2:], 1)
    number = float(value.rstrip("KMB")) * size
    name = flag.strip("-").replace("-", "_")
    field = f"{name}_bytes" if size > 1 else name
    again = plan(model(), asked(), replace(limits, **{field: number}), [over], BOTH)  # type: ignore[arg-type]
    assert again.candidates == (over,)
    assert not again.may_miss


def test_of_several_limits_no_change_of_one_is_told_as_enough() -> None:
    over = candidate(8, 120_000_000, kv_bytes=100_000_000, disk_bytes=exactly(60_000_000))
    limits = Limits(max_ram_bytes=50_000_000, max_disk_bytes=20_000_000)
    made = plan(model(), asked(), limits, [over], BOTH)
    assert remedy(made) == "--max-disk 60MB and --max-ram 120MB would allow it"
    assert made.advice == (f"nearest: {over.label}: {remedy(made)}",)
    made = plan(model(), asked(50_000_000), replace(limits, max_ram_bytes=None), [over], BOTH,
                siblings=(Larger("big", "big box", 2**40),))  # fmt: skip
    assert remedy(made) == "--max-disk 60MB and 114.4 MiB for an app would allow it"


def test_bits_are_told_only_where_they_would_hold_every_limit() -> None:
    source = decoder()
    per_bit = source.parameters / 8
    over = candidate(8.5, 0, disk_bytes=exactly(8.5 * per_bit), ram_bytes=exactly(8.5 * per_bit + 60 * MIB))
    disk = Limits(max_disk_bytes=int(4 * per_bit))
    assert plan(source, asked(), disk, [over], BOTH).advice[0].startswith("a lower bit width: about 4.0 bits")
    both = plan(source, asked(), replace(disk, max_ram_bytes=50 * MIB), [over], BOTH).advice
    assert not any("bit width" in line for line in both)
    phone = asked(50 * MIB, counted="anonymous")  # the mapped file does not count there
    held = plan(source, phone, Limits(), [replace(over, ram_bytes=exactly(60 * MIB))], BOTH).advice
    assert not any("bit width" in line for line in held)


def test_a_kept_candidate_of_fewer_bits_is_named() -> None:
    kept, over = candidate(4.9, 90), candidate(8.5, 150)
    assert remedy(plan(model(), asked(100), Limits(), [over, kept], BOTH)) == "gguf Q4.9 fits"
    maybe = replace(kept, ram_bytes=Estimate(90, 101, ""))
    assert remedy(plan(model(), asked(100), Limits(), [over, maybe], BOTH)) == "gguf Q4.9 may fit"


def test_where_nothing_else_helps_the_share_is_told() -> None:
    made = plan(model(), asked(50 * MIB), Limits(), [candidate(8, 100 * MIB)], BOTH)
    assert remedy(made) == "100.0 MiB for an app, or a model 50% of this size"


def offers_of(bits_and_bytes: list[tuple[float, float]]) -> list[Candidate]:
    return [
        candidate(bits, 0, disk_bytes=exactly(size), ram_bytes=exactly(size + 2 * MIB)) for bits, size in bits_and_bytes
    ]


def test_where_nothing_fits_fewer_bits_are_told() -> None:
    source = decoder()  # 41.9 million parameters
    per_bit = source.parameters / 8
    offers = offers_of([(8.5, 8.5 * per_bit), (4.5, 4.5 * per_bit)])
    limits = Limits(max_disk_bytes=int(3.2 * per_bit))
    made = plan(source, asked(), limits, offers, BOTH)
    assert (
        made.advice[0]
        == "a lower bit width: about 3.2 bits a weight would fit; the smallest offered, gguf Q4.5, takes 4.5"
    )


def test_where_only_speed_is_missed_the_nearest_is_told() -> None:
    near, far = candidate(4.9, 1, tokens_per_s=exactly(8)), candidate(8.5, 1, tokens_per_s=exactly(4))
    made = plan(decoder(), asked(), Limits(min_tokens_per_s=10), [near, far], BOTH)
    assert made.advice == ("nearest: gguf Q4.9: --min-tokens-per-s 8 would allow it",)
