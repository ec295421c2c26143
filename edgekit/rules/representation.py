"""Rules about how weights are stored: types, layouts, and what the source is made of."""

from __future__ import annotations

from edgekit.model.quantization import said_to_be_trained
from edgekit.report import show
from edgekit.rules.case import Case
from edgekit.rules.traits import (
    FOUR_BIT_BELOW,
    LONG_PROMPT_TOKENS,
    SENSITIVE_LIMITS,
    STUDENT_LIMITS,
    UNQUANTIZED_BITS,
    copied_bytes,
    embedding_parameters,
    held_of,
    is_aggressive,
    is_carried,
    is_held_back,
    is_requantized,
    task_engine,
    tightened,
)
from edgekit.strategies import Candidate
from edgekit.strategies.onnx.int8 import saturates

_DOMINANT_SHARE = 0.4
# Words by which a strategy's own note of the same matter is known; it knows the tensors, so it is told instead.
SATURATES, CONVOLVES, REPACKS = "VNNI", "convolutions", "repacked for"
NARROW, CARRIED, EMBEDS = "multiple of 256", "carried from", "weights are embeddings"
STUDENT = "a student of"


def _noted(case: Case, words: str) -> str | None:
    return next((note for note in case.candidate.notes if words in note), None) if case.candidate is not None else None


def engine_order(case: Case) -> str | None:
    assert case.candidate is not None
    first = task_engine(case.model.task)
    if case.candidate.engine == first or case.preferences.prefer is not None:
        return None
    if first == "llama.cpp":
        return "comes after llama.cpp, which maps a decoder's weights, caches keys and values, and streams"
    return "comes after ONNX Runtime, whose graphs are the encoders' and vision nets' own, fused and 8-bit throughout"


def saturation(case: Case) -> str | None:
    assert case.candidate is not None
    if not _is_onnx_int8(case.candidate) or not saturates(case.setting.device):
        return None
    return (
        "x86 without VNNI saturates in 8-bit products, so the weights keep 7 bits (reduce_range); other CPUs then give "
        "the same answers"
    )


def _is_onnx_int8(candidate: Candidate) -> bool:
    return candidate.engine == "onnxruntime" and FOUR_BIT_BELOW <= candidate.faithfulness < UNQUANTIZED_BITS


def convolutions(case: Case) -> str | None:
    assert case.candidate is not None
    kernels = any(len(tensor.shape) == 4 and tensor.shape[0] > 1 for tensor in case.model.tensors)
    if not kernels or not _is_onnx_int8(case.candidate):
        return None
    return _noted(case, CONVOLVES) or (
        "8-bit convolutions take calibrated ranges (static QDQ) or stay in float32, never dynamic ones, which run"
        " several times slower than float32"
    )


def four_bit(case: Case) -> str | None:
    candidate = case.candidate
    assert candidate is not None
    if candidate.faithfulness >= FOUR_BIT_BELOW:
        return None
    if case.model.task != "causal-lm":
        return (
            "4-bit weights help where one token at a time is bound by bandwidth; an encoder computes on whole texts, "
            "so it is not sent here for speed"
        )
    longest = max(case.setting.lengths, default=0)
    if longest < LONG_PROMPT_TOKENS:
        return None
    told = "after the types with more bits" if is_held_back(candidate, case.model, case.setting) else "as estimated"
    return f"4-bit weights help decoding and can slow long prompts: at {longest} tokens --prefer speed counts it {told}"


def repacked(case: Case) -> str | None:
    assert case.candidate is not None
    if copied_bytes(case.candidate) <= 0:
        return None
    return "the engine copies such blocks into this CPU's order: anonymous memory, which low_memory saves for speed"


def copied(case: Case) -> str:
    assert case.candidate is not None
    return show(copied_bytes(case.candidate), "bytes")


def narrow_rows(case: Case) -> str | None:
    """As the strategy notes it, which knows the tensors."""
    if _noted(case, NARROW) is None:
        return None
    return "rows that are no multiple of 256 are not whole blocks: their tensors take wider types than the name says"


def fallbacks(case: Case) -> str:
    """What each type became."""
    return (_noted(case, NARROW) or "").partition(": ")[2]


def embeddings(case: Case) -> str | None:
    share = embedding_parameters(case.model) / max(1, case.model.parameters)
    if share < _DOMINANT_SHARE:
        return None
    return f"the embedding table is {share:.0%} of the weights: it sets the size, and fewer layers change it little"


def carried(case: Case) -> str | None:
    candidate, stored = case.candidate, case.model.quantization
    assert candidate is not None
    if stored is None or stored.method == "qat" or not is_carried(candidate, case.model):
        return None
    return f"the weights are {stored.method} already and this type holds them without another loss: first"


def carried_rest(case: Case) -> str:
    """What becomes of the weights that the source left as they were, as the strategy notes it."""
    return (_noted(case, CARRIED) or "").partition("; ")[2]


def trained_for(case: Case) -> str | None:
    candidate, stored = case.candidate, case.model.quantization
    assert candidate is not None
    if stored is None or stored.method != "qat" or not is_carried(candidate, case.model):
        return None
    return f"the weights were trained for this type ({stored.evidence or 'quantization-aware training'}): first"


def said_to_be_trained_for_it(case: Case) -> str | None:
    said = said_to_be_trained(case.model.name, case.model.config)
    if case.model.quantization is not None or not said:
        return None
    return f"its {said} says that it was trained for a quantization, but its weights lie on no grid known here"


def requantized(case: Case) -> str | None:
    assert case.candidate is not None
    if not is_requantized(case.candidate, case.model):
        return None
    stored = case.model.quantization
    assert stored is not None
    return f"would round weights that are {stored.method} already a second time: only after {stored.lossless}"


def without_carrier(case: Case) -> str | None:
    stored = case.model.quantization
    if stored is None or stored.lossless or stored.method == "qat":
        return None
    return f"its weights are {stored.method} of {stored.bits:g} bits, which no type here holds without another loss"


def base(case: Case) -> str | None:
    if case.model.task != "causal-lm" or case.model.kind != "base":
        return None
    return "a base model, not a chat model: it continues text, and no chat template is invented"


def aggressive(case: Case) -> str | None:
    candidate = case.candidate
    assert candidate is not None
    if not is_aggressive(candidate, case.model, case.preferences):
        return None
    below = "five bits with --sensitivity high" if case.preferences.sensitivity == "high" else "four bits"
    return f"below {below}: tried last, and not at all where fidelity measured on this model speaks against it"


def kept_bits(case: Case) -> str:
    assert case.candidate is not None
    return f"{case.candidate.faithfulness:g} bits"


def sensitive_limits(case: Case) -> str | None:
    if case.preferences.sensitivity != "high":
        return None
    held = tightened(case.limits, case.preferences, case.model.task)
    told = [f"--{name.replace('_', '-')} {getattr(held, name):g}" for name in SENSITIVE_LIMITS[case.model.task]]
    return f"--sensitivity high holds {', '.join(told)}"


def student(case: Case) -> str | None:
    """What a student is, that its figures are its shape's, and what it is held to where nobody said."""
    candidate = case.candidate
    assert candidate is not None
    if not candidate.student:
        return None
    held = held_of(candidate, case.limits, case.model.task)
    loosened = {name: limit for name, limit in STUDENT_LIMITS[case.model.task].items() if getattr(held, name) == limit}
    flags = " ".join(f"--{name.replace('_', '-')} {limit:g}" for name, limit in loosened.items())
    asked = f"; nobody asked for stricter ones, so its limits are those of students: {flags}" if flags else ""
    return f"{_noted(case, STUDENT)}; every figure is estimated from its shape{asked}"
