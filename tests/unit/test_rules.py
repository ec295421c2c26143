"""Each rule bites where it should and nowhere else; its reason is printed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from fixtures import tiny_tokenizers
from fixtures.costing import machine, row
from fixtures.gguf_models import LLAMA, planned
from fixtures.plans import asked, candidate, exactly, figure, gptq, model
from fixtures.quantized_models import quantized_llama
from fixtures.shaped_models import bert, resnet, vit

from edgekit.costs import MemoryTerm, Setting, Term, Work
from edgekit.costs.factors import Factors
from edgekit.device.profile import Gpu, Ram
from edgekit.fidelity import Truth, compare
from edgekit.limits import FIDELITY_LIMITS, Limits, Preferences
from edgekit.model import Task, TensorInfo, TextSetup, open_model
from edgekit.planner import plan, propose
from edgekit.rules import RULES, Case, Remark, remarks, tightened
from edgekit.strategies import Candidate

INT8 = candidate(8, 1, "onnxruntime")
Q4_0 = candidate(4.5, 1, options={"preset": "Q4_0"})
Q8 = candidate(8.5, 1)
STUDENT = candidate(8.5, 1, strategy="distill", student="small", notes=("a student of m: small",))
GPU = Gpu(name="Big GPU")
CARD = Gpu(name="card", shared_memory=False)
SENSITIVE = Preferences(sensitivity="high")


def case(offer: Candidate | None = None, **changes: Any) -> Case:
    """`changes` are fields of Case."""
    return replace(Case(model(), asked(), Limits(), Preferences(), offer), **changes)


def tensors(*shapes: tuple[str, tuple[int, ...]]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(name, "F32", shape) for name, shape in shapes)


def copying(size: float) -> Candidate:
    return replace(Q4_0, work=Work((MemoryTerm("repacked blocks", size, "anonymous"),), {}))


CONVOLVES = model("image-classification", tensors=tensors(("conv.weight", (16, 3, 3, 3))))
MOSTLY_WORDS = model(
    "embedding", tensors=tensors(("embeddings.word_embeddings.weight", (60, 10)), ("linear", (40, 10)))
)
FEW_WORDS = model("embedding", tensors=tensors(("embeddings.word_embeddings.weight", (30, 10)), ("linear", (70, 10))))
NARROW_NOTE = "84% of the weights lie in rows that are no multiple of 256: Q4_K became Q5_0"

# rule -> (cases in which it bites, with words of its reason), (cases in which it does not)
BITES: dict[str, list[tuple[Case, str]]] = {
    "carry": [(case(Q4_0, model=model(quantization=gptq())), "gptq already")],
    "trained-for": [(case(Q4_0, model=model(quantization=gptq(method="qat"))), "trained for this type (a test)")],
    "requantize": [(case(Q8, model=model(quantization=gptq())), "a second time: only after Q4_0")],
    "said-trained": [
        (
            case(model=model(name="some-qat-model")),
            "its name says that it was trained for a quantization, but its weights",
        ),
        (case(model=model(config={"qat_bits": 4})), "its config.json says that it was trained"),
    ],
    "no-carrier": [(case(model=model(quantization=gptq(lossless=""))), "gptq of 4 bits, which no type here holds")],
    "task-engine": [
        (case(INT8), "comes after llama.cpp"),
        (case(Q8, model=model("embedding")), "comes after ONNX Runtime"),
    ],
    "saturation": [(case(INT8), "saturates in 8-bit products, so the weights keep 7 bits")],
    "convolutions": [(case(INT8, model=CONVOLVES), "never dynamic")],
    "four-bit": [
        (case(Q4_0, model=model("embedding")), "not sent here for speed"),
        (case(Q4_0, setting=asked(lengths=(1024,))), "counts it after the types with more bits"),
        (case(replace(Q4_0, ttft_at={1024: exactly(1)}), setting=asked(lengths=(1024,))), "counts it as estimated"),
    ],
    "aggressive": [
        (case(candidate(3.9, 1)), "below four bits: tried last"),
        (case(Q4_0, preferences=SENSITIVE), "below five bits with --sensitivity high: tried last"),
    ],
    "sensitive-limits": [(case(preferences=SENSITIVE), "--max-kl 0.02, --min-top1 0.95")],
    "repack": [(case(copying(2**21)), "copies such blocks into this CPU's order")],
    "narrow-rows": [(case(replace(Q8, notes=(NARROW_NOTE,))), "no multiple of 256")],
    "embeddings": [(case(model=MOSTLY_WORDS), "the embedding table is 60% of the weights")],
    "student": [
        (case(STUDENT), "a student of m: small; every figure is estimated from its shape; nobody asked for stricter"),
        (case(STUDENT, limits=Limits(max_kl=0.2)), "those of students: --min-top1 0.5"),
    ],
    "base-model": [(case(), "no chat template is invented")],
    "shared-gpu": [(case(setting=asked(gpu=GPU)), "Big GPU shares the memory")],
    "cpu-only": [(case(setting=asked(gpu=CARD)), "runs on the CPU")],
    "anonymous": [(case(setting=asked(counted="anonymous")), "pages of the mapped file are left out, as long as")],
    "unknown-ram": [
        (case(setting=asked(None)), "only its whole memory, 16.0 GiB, is held"),
        (case(setting=asked(ram=Ram(total_bytes=figure(None), app_bytes=figure(None)))), "no memory limit is held"),
    ],
    "unknown-speed": [(case(Q8), "no speed was estimated because")],
}
SILENT: dict[str, list[Case]] = {
    "carry": [
        case(Q4_0),
        case(Q8, model=model(quantization=gptq())),
        case(Q4_0, model=model(quantization=gptq(method="qat"))),
    ],
    "trained-for": [
        case(Q4_0, model=model(quantization=gptq())),
        case(Q8, model=model(quantization=gptq(method="qat"))),
    ],
    "requantize": [
        case(Q8),
        case(Q4_0, model=model(quantization=gptq())),
        case(candidate(16, 1), model=model(quantization=gptq())),
    ],
    "said-trained": [
        case(),
        case(model=model(name="a-qat", quantization=gptq(method="qat"))),
        case(model=model(name="aqat")),
    ],
    "no-carrier": [case(), case(model=model(quantization=gptq())), case(model=model(quantization=gptq("", "qat")))],
    "task-engine": [case(Q8), case(INT8, model=model("embedding")), case(INT8, preferences=Preferences(prefer="size"))],
    "saturation": [
        case(Q8),
        case(candidate(32, 1, "onnxruntime")),
        case(INT8, setting=asked(features=("avx512_vnni",))),
        case(INT8, setting=asked(features=("avx_vnni",))),
        case(INT8, setting=asked(cpu=asked().device.cpu.model_copy(update={"arch": "aarch64"}))),
    ],
    "convolutions": [case(INT8), case(candidate(32, 1, "onnxruntime"), model=CONVOLVES)],
    "four-bit": [
        case(Q4_0),
        case(Q8, model=model("embedding")),
        case(candidate(5, 1), model=model("embedding")),
        case(Q4_0, setting=asked(lengths=(1023,))),
    ],
    "aggressive": [
        case(candidate(4, 1)),
        case(candidate(5, 1), preferences=SENSITIVE),
        case(Q4_0, preferences=SENSITIVE, model=model(quantization=gptq())),
    ],
    "sensitive-limits": [case()],
    "repack": [case(Q4_0), case(copying(0)), case(replace(Q8, work=Work((MemoryTerm("file", 9, "file"),), {})))],
    "narrow-rows": [case(Q8), case(replace(Q8, notes=("another note",)))],
    "embeddings": [case(), case(model=FEW_WORDS)],
    "student": [case(Q8)],
    "base-model": [case(model=replace(model(), kind="chat")), case(model=model("embedding"))],
    "shared-gpu": [case(), case(setting=asked(gpu=CARD))],
    "cpu-only": [case(), case(setting=asked(gpu=GPU))],
    "anonymous": [case()],
    "unknown-ram": [case(), case(setting=asked(None), limits=Limits(max_ram_bytes=5))],
    "unknown-speed": [
        case(replace(Q8, tokens_per_s=exactly(1))),
        case(replace(INT8, latency_ms=exactly(1)), model=model("embedding")),
    ],
}


def rule(name: str) -> Callable[[Case], str | None]:
    return next(each.applies for each in RULES if each.name == name)


@pytest.mark.parametrize(("name", "number"), [(name, n) for name, cases in BITES.items() for n in range(len(cases))])
def test_it_bites(name: str, number: int) -> None:
    where, words = BITES[name][number]
    reason = rule(name)(where)
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize(("name", "number"), [(name, n) for name, cases in SILENT.items() for n in range(len(cases))])
def test_it_does_not_bite(name: str, number: int) -> None:
    assert rule(name)(SILENT[name][number]) is None


def test_every_rule_is_held_both_ways() -> None:
    names = [each.name for each in RULES]
    assert len(names) == len(set(names))
    assert set(names) == set(BITES) == set(SILENT)


def test_every_rule_is_explained() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
    assert [each.name for each in RULES if f"`{each.name}`" not in page] == []


def test_reasons_of_an_unknown_speed_name_what_is_missing() -> None:
    work = Work((), {"decode": {64: (Term("weights", 1.0, "bytes"), Term("products", 1.0, "int8_ops"))}})
    offer = replace(Q8, work=work)
    told = rule("unknown-speed")
    assert told(case(Q8)) == "no speed was estimated because the model's shapes do not tell its work"
    assert told(case(offer)) == (
        "no speed was estimated because no 8-bit throughput or memory bandwidth is known of A box"
    )
    known = Setting(machine(), Factors((row({}, engine="another"),)), 2048, 2)
    assert told(case(offer, setting=known)) == (
        "no speed was estimated because edgekit has no measurement of llama.cpp for such work"
    )


def test_work_that_was_never_measured_is_named_behind_the_candidate() -> None:
    work = Work((), {"decode": {64: (Term("bytes read", 1.0, "bytes"), Term("Q5_1 weights", 1.0, "int8_ops"))}})
    offer = replace(Q8, work=work)
    fitted = Setting(machine(), Factors((row({"bytes read": 1.0}, "decode", engine=Q8.engine),)), 2048, 2)
    (told,) = [each for each in remarks(case(setting=fitted), [offer]) if each.rule == "unknown-speed"]
    assert told.subject == "gguf Q8.5 (Q5_1 weights)"
    assert told.reason.endswith("no measurement of llama.cpp for such work")
    (of_device,) = [each for each in remarks(case(), [offer]) if each.rule == "unknown-speed"]
    assert of_device.subject == "gguf Q8.5"


def test_a_reason_is_printed_once_after_those_it_holds_for() -> None:
    found = remarks(case(model=model("embedding")), [Q4_0, candidate(4.9, 1), Q8, INT8])
    (four,) = [each for each in found if each.rule == "four-bit"]
    assert four.subject == "gguf Q4_0, gguf Q4.9"
    assert len({(each.rule, each.reason) for each in found}) == len(found)
    (all_of_them,) = [each for each in remarks(case(), [Q4_0, Q8]) if each.rule == "unknown-speed"]
    assert all_of_them.subject == "every candidate"
    (of_one,) = [
        each for each in remarks(case(model=model("embedding")), [INT8, Q4_0, Q8]) if each.rule == "task-engine"
    ]
    assert of_one.subject == "every candidate of llama.cpp"


def test_what_is_particular_to_a_candidate_stands_behind_its_label() -> None:
    found = {each.rule: each for each in remarks(case(), [copying(2**21), replace(Q8, notes=(NARROW_NOTE,))])}
    assert found["repack"].subject == "gguf Q4_0 (2.0 MiB)"
    assert found["narrow-rows"].subject == "gguf Q8.5 (Q4_K became Q5_0)"
    carried = replace(Q4_0, notes=("carried from gptq 4-bit: no second loss; the rest becomes F16",))
    found = {each.rule: each for each in remarks(case(model=model(quantization=gptq())), [carried])}
    assert found["carry"].subject == "gguf Q4_0 (the rest becomes F16)"
    assert "note" not in found


def test_a_strategys_note_is_told_unless_a_rule_told_it() -> None:
    noted = replace(INT8, notes=("this CPU has no VNNI: 7 bits", "another matter"))
    found = remarks(case(), [noted])
    assert [each.reason for each in found if each.rule == "note"] == ["another matter"]
    on_vnni = remarks(case(setting=asked(features=("avx512_vnni",))), [noted])
    assert Remark("note", "onnx-8 Q8", "this CPU has no VNNI: 7 bits") in on_vnni


def test_sensitivity_tightens_what_the_user_left() -> None:
    assert tightened(Limits(), Preferences(), "causal-lm") == Limits()
    high = tightened(Limits(max_kl=0.5, max_ram_bytes=7), SENSITIVE, "causal-lm")
    assert high == Limits(max_kl=0.5, min_top1=0.95, max_ram_bytes=7)
    assert tightened(high, SENSITIVE, "causal-lm") == high


@pytest.mark.parametrize("task", get_args(Task))
def test_sensitivity_tightens_what_is_measured_of_the_task_and_nothing_else(task: Task) -> None:
    """A limit of another task's figure would be missed by every bundle: nothing measures it."""
    held = tightened(Limits(), SENSITIVE, task).changed()
    answers = np.eye(3, dtype=np.float32)
    figures = compare(task, [(answers, answers)], Truth(ids=[[0, 1, 2]])).figures
    assert held
    assert set(held) <= {FIDELITY_LIMITS[name][1] for name in figures if name in FIDELITY_LIMITS}
    (told,) = [each.reason for each in remarks(case(model=model(task), preferences=SENSITIVE), [])
               if each.rule == "sensitive-limits"]  # fmt: skip
    assert told.count("--") == 1 + len(held)


ENCODER = bert(width=64, vocabulary=4000)


def test_the_rules_bite_on_what_the_strategies_really_offer(tmp_path: Path) -> None:
    """The words that rules look for in notes and memory terms are those that the strategies write."""
    words = tiny_tokenizers.byte_level(tmp_path)
    decoding = planned(LLAMA | {"vocab_size": words}, text=TextSetup(512, tmp_path / "tokenizer.json"))
    found = {"onnx": propose(ENCODER, asked(), "onnx-int8"), "gguf": propose(decoding, asked(), "gguf")}
    offers = {name: [each for each in offered if isinstance(each, Candidate)] for name, offered in found.items()}
    assert offers["onnx"]
    told = remarks(case(model=ENCODER), offers["onnx"])
    assert {"saturation", "embeddings"} <= {each.rule for each in told}
    assert [each for each in told if each.rule == "note"] == []
    assert offers["gguf"], found["gguf"]
    told = remarks(case(model=decoding), offers["gguf"])
    assert {"repack", "narrow-rows", "aggressive", "base-model"} <= {each.rule for each in told}
    assert [each for each in told if each.rule == "note"] == []


def test_convolutions_are_told_of_by_the_strategy() -> None:
    for net in (resnet(), vit()):
        offers = [each for each in propose(net, asked(), "onnx-int8") if isinstance(each, Candidate)]
        told = remarks(case(model=net), offers)
        assert [each.rule for each in told].count("convolutions") == 1
        assert [each for each in told if each.rule == "note" and "convolution" in each.reason] == []


@pytest.mark.engines
def test_a_real_checkpoint_quantized_already_is_carried_first_and_told_once(tmp_path: Path) -> None:
    quantized_llama(tmp_path, "gptq")
    carried = open_model(tmp_path)
    made = plan(carried, asked(), Limits(), propose(carried, asked(), "gguf"), ("llama.cpp",))
    assert made.candidates[0].options["preset"] == "Q4_0"
    told = {each.rule: each for each in made.remarks}
    assert "gguf Q4_0 (what the source did not quantize becomes F16)" in told["carry"].subject
    assert "note" not in told
