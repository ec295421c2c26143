"""What a plan prints: everything that is in it, no wider than 110 columns."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from fixtures.plans import BOTH, MIB, Larger, asked, candidate, decoder, exactly, memory, model

from edgekit.costs import Estimate, Observation
from edgekit.grid import paragraph, table, tables
from edgekit.limits import Limits, Preferences
from edgekit.plan_table import interval, plan_text, plan_value
from edgekit.planner import Plan, plan
from edgekit.strategies import Candidate, Rejection

FACTORS = "llama.cpp decode on avx2: 12 points, by hand"


def decoding(bits: float, size: float) -> Candidate:
    parts = memory(size, 30 * MIB, 24 * MIB, 7 * MIB)
    return candidate(
        bits,
        0,
        disk_bytes=exactly(size),
        ram_bytes=parts.peak,
        memory=parts,
        kv_bytes=24 * MIB,
        ttft_at={16: Estimate(80, 120, "roofline"), 512: Estimate(2000, 3000, "roofline")},
        prefill_tokens_per_s=Estimate(170, 250, "roofline"),
        tokens_per_s=Estimate(8, 12.5, "roofline", (FACTORS,)),
    )


def planned(**changes: Any) -> Plan:
    limits = Limits(max_ram_bytes=600 * MIB)
    offers = [decoding(4.9, 300 * MIB), decoding(8.5, 500 * MIB), decoding(16, 900 * MIB), Rejection("onnx", "no loop")]
    return plan(decoder(), asked(), limits, offers, BOTH, **changes)


def test_the_chosen_row_is_marked_and_every_figure_is_there() -> None:
    lines = plan_text(planned()).splitlines()
    (costs, speeds) = [line for line in lines if line.startswith("-> gguf Q8.5")]
    for figure in ("500 MiB", "561 MiB", "30.0 MiB", "24.0 MiB", "7.0 MiB"):
        assert figure in costs
    for figure in ("80.0-120 ms", "2,000-3,000 ms", "170-250 tok/s", "8.0-12.5 tok/s", "very close"):
        assert figure in speeds
    assert sum(line.startswith("   gguf Q4.9") for line in lines) == 2


def test_rejected_rows_say_which_limit_by_how_much_and_what_would_change_it() -> None:
    lines = plan_text(planned()).splitlines()
    (row,) = [line for line in lines if line.startswith("gguf Q16")]
    for words in ("RAM", "961.0 MiB", "600.0 MiB", "361.0 MiB, 60.2%", "gguf Q8.5 fits"):
        assert words in row
    assert lines[lines.index("not tried:") + 1] == "  onnx: no loop"


def test_doubts_stand_in_the_table() -> None:
    maybe = replace(decoding(8.5, 500 * MIB), ram_bytes=Estimate(500 * MIB, 700 * MIB, ""))
    told = plan_text(plan(decoder(), asked(), Limits(max_ram_bytes=600 * MIB), [maybe], BOTH))
    assert "may miss RAM" in told
    assert "may miss" not in plan_text(planned())


def test_a_limit_without_an_estimate_is_told_as_unknown_not_as_a_near_miss() -> None:
    unknown = candidate(8, 0, ram_bytes=Estimate(500 * MIB, 700 * MIB, ""))
    limits = Limits(max_ram_bytes=600 * MIB, max_latency_ms=5)
    told = plan_text(plan(model("embedding"), asked(), limits, [unknown], BOTH))
    assert "may miss RAM; latency unknown" in told


def test_without_grounds_it_says_unknown() -> None:
    told = plan_text(plan(model("embedding"), asked(None), Limits(), [candidate(8, MIB, "onnxruntime")], BOTH))
    assert "RAM limit unknown" in told
    (_, speeds) = [line for line in told.splitlines() if line.startswith("-> onnx")]
    assert "unknown" in speeds


def test_encoders_are_told_by_length() -> None:
    offer = candidate(8, MIB, "onnxruntime", latency_at={16: exactly(2), 512: exactly(90)}, latency_ms=exactly(2))
    told = plan_text(plan(model("embedding"), asked(), Limits(), [offer], BOTH))
    assert "latency @16  latency @512" in told
    assert "2.0 ms       90.0 ms" in told


def test_a_context_and_lengths_that_the_model_does_not_take_are_told() -> None:
    short = model(config={"max_position_embeddings": 1024})
    limits = Limits(context_tokens=4096)
    told = plan_text(plan(short, replace(asked(), context_tokens=4096), limits, [decoding(8, MIB)], BOTH))
    assert "context 1024 tokens, all that the model takes" in " ".join(told.split())
    assert "Longer inputs" not in told  # 512, the longest asked, is told
    wanted = Preferences(lengths=(16, 2048))
    cut = plan_text(plan(short, asked(), limits, [decoding(8, MIB)], BOTH, wanted))
    assert "Longer inputs than 512 tokens are left out" in " ".join(cut.split())


def test_threads_that_were_asked_are_told() -> None:
    assert "; 1 thread;" in plan_text(planned(preferences=Preferences(threads=1)))
    assert "; 4 threads;" in plan_text(planned(preferences=Preferences(threads=4)))
    assert "thread" not in plan_text(planned())


def test_that_earlier_reports_moved_the_estimates_is_told_without_explain() -> None:
    report = Observation("pack of yesterday", "box", "a CPU", True, "llama.cpp", "decode", "gguf Q8", 2, 1.0, 2.0)
    moved = replace(decoding(8, MIB), tokens_per_s=Estimate(8, 9, "roofline", (report.name,)))
    made = plan(decoder(), replace(asked(), observations=(report,)), Limits(), [moved], BOTH)
    assert made.earlier_reports == (report.name,)
    assert "Earlier reports moved the estimates" in " ".join(plan_text(made).split())
    assert "Earlier reports" not in plan_text(planned())


def test_where_no_limit_is_to_blame_none_is_blamed() -> None:
    told = plan_text(plan(decoder(), asked(), Limits(), [Rejection("gguf", "no such CPU")], BOTH))
    assert "no candidate can be packed for" in told
    assert "every limit" not in told


def test_a_net_of_fixed_inputs_has_one_latency() -> None:
    offer = candidate(8, MIB, "onnxruntime", latency_at={0: exactly(2)}, latency_ms=exactly(2))
    told = plan_text(plan(model("image-classification"), asked(), Limits(), [offer], BOTH))
    assert "latency  fidelity" in told


def test_rules_advice_and_the_proposal_are_printed() -> None:
    limits = Limits(max_disk_bytes=3 * 5_000_000)
    source = decoder()
    offers = [candidate(bits, 0, disk_bytes=exactly(bits * source.parameters / 8)) for bits in (4.5, 8.5)]
    student = replace(
        offers[0], strategy="distill", options={"preset": "gguf", "student": "layers=3"}, student="3 of 6"
    )
    told = plan_text(replace(plan(source, asked(), limits, offers, BOTH), student=student))
    assert "no candidate can hold every limit" in told
    assert "what would fit:\n  a lower bit width" in told
    assert re.search(r"distilled student +3 of 6 +gguf layers=3 +[\d.]+ MiB +--data FILE trains it", told)
    assert "[base-model]" in told


def test_explain_tells_what_estimates_lean_on_each_once() -> None:
    made = planned()
    told = plan_text(made, explain=True)
    assert told.startswith(plan_text(made))
    grounds = told.removeprefix(plan_text(made))
    assert "grounds of gguf Q8.5, gguf Q4.9:" in grounds
    assert grounds.count(FACTORS) == 1
    assert "first token @16, first token @512, prefill, decode: roofline" in grounds
    apart = replace(decoding(8.5, 500 * MIB), tokens_per_s=Estimate(1, 2, "another basis"))
    told = plan_text(plan(decoder(), asked(), Limits(), [apart, decoding(4.9, 300 * MIB)], BOTH), explain=True)
    assert "decode: another basis\n  leans on no measurement" in told
    assert told.count("grounds of gguf") == 2


def test_what_the_system_counts_has_a_column_of_its_own() -> None:
    phone = plan(decoder(), asked(2**30, counted="anonymous"), Limits(), [decoding(8.5, 500 * MIB)], BOTH)
    told = plan_text(phone)
    assert "RAM limit 1.0 GiB of anonymous memory" in told
    assert "counted" in told
    assert "61.0 MiB" in told  # 30 + 24 + 7
    assert "counted" not in plan_text(planned())


@pytest.mark.parametrize("prefer", [None, "accuracy", "speed", "size"])
def test_no_line_is_wider_than_the_page(prefer: Any) -> None:
    wide = Estimate(1.234e9, 9.876e9, "a basis of many words " * 9, ("a measurement of many words " * 9,))
    offers = [replace(decoding(bits, 2**33), ram_bytes=wide, tokens_per_s=wide) for bits in (16, 8.5, 4.9, 2)]
    offers += [candidate(8, 2**50, "onnxruntime", notes=("a long note " * 30,)), Rejection("x", "reason " * 60)]
    larger = (Larger("y", "A Device of Quite a Long Name, 512 GB", 2**60),)
    for limits in (Limits(), Limits(max_disk_bytes=1000, max_ram_bytes=2**40)):
        made = plan(decoder(), asked(2**34), limits, offers, BOTH, Preferences(prefer, "high"), siblings=larger)
        assert max(map(len, plan_text(made, explain=True).splitlines())) <= 110


def test_the_value_for_machines_holds_everything() -> None:
    made = planned()
    value = json.loads(json.dumps(plan_value(made)))
    assert value["chosen"] == "gguf Q8.5"
    assert [each["label"] for each in value["candidates"]] == ["gguf Q8.5", "gguf Q4.9"]
    assert value["candidates"][0]["tokens_per_s"]["leans_on"] == [FACTORS]
    assert value["rejections"][-1]["broke"] == "RAM"
    assert value["remarks"][0].keys() == {"rule", "subject", "reason"}
    assert plan_value(plan(decoder(), asked(), Limits(), [], BOTH))["chosen"] is None


@pytest.mark.parametrize(
    ("low", "high", "unit", "told"),
    [
        (31 * MIB, 40 * MIB, "bytes", "31.0-40.0 MiB"),
        (900 * MIB, 1100 * MIB, "bytes", "0.88-1.1 GiB"),
        (7, 7, "ms", "7.0 ms"),
        (0.123, 12345, "ms", "0.12-12,345 ms"),
        (500, 600, "bytes", "500-600 bytes"),
    ],
)
def test_intervals_in_one_unit(low: float, high: float, unit: str, told: str) -> None:
    assert interval(Estimate(low, high, ""), unit) == told


def test_the_last_column_is_wrapped_under_itself() -> None:
    told = table(("a", "b"), [("x", "many words of text that go on"), ("y", "")], columns=27)
    assert told == "a  b\n-  ------------------------\nx  many words of text that\n   go on\ny"
    assert paragraph("one two three", columns=8) == "one two\n  three"


def test_columns_that_do_not_fit_go_into_further_tables_with_the_first_column() -> None:
    told = tables(("name", "one", "two", "words"), [("n", "1" * 8, "2" * 8, "w" * 20)], columns=40)
    first, second = told.split("\n\n")
    assert first.splitlines()[0].split() == ["name", "one", "two"]
    assert second.splitlines()[0].split() == ["name", "words"]
    offer = candidate(8.5, 1, ttft_at={2**n: Estimate(1234, 56789, "") for n in range(4, 14)})
    told = plan_text(plan(decoder(), asked(), Limits(), [offer], BOTH))
    assert max(map(len, told.splitlines())) <= 110
    assert all(f"first token @{2**n}" in told for n in range(4, 14))
