"""What the planner orders candidates by: the predicates behind the rules, so that what is printed is what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgekit.costs import Setting
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel, Task
from edgekit.strategies import Candidate, Engine
from edgekit.strategies.onnx.int8 import CARRIED_BITS, NAME

UNQUANTIZED_BITS = 10.0
"""From this many bits kept per weight a candidate counts as unquantized."""
FOUR_BIT_BELOW = 5.0
"""Candidates below this are of the 4-bit weight-only kind: Q4_0 keeps 4.5 bits, Q4_K_M 4.9."""
AGGRESSIVE_BELOW = 4.0
LONG_PROMPT_TOKENS = 1024
_SENSITIVE_CLASSIFIER = {"min_agreement": 0.995}
SENSITIVE_LIMITS: Mapping[Task, Mapping[str, float]] = {
    "causal-lm": {"max_kl": 0.02, "min_top1": 0.95},
    "embedding": {"min_cosine": 0.99},
    "tensors": {"min_cosine": 0.99},
    "text-classification": _SENSITIVE_CLASSIFIER,
    "token-classification": _SENSITIVE_CLASSIFIER,
    "image-classification": _SENSITIVE_CLASSIFIER,
}
"""What --sensitivity high holds of a task's own figures where the user asked nothing. A limit of another task's figure
is one that nothing measures, and so would be missed by every bundle.
"""


_STUDENT_CLASSIFIER = {"min_agreement": 0.9}
STUDENT_LIMITS: Mapping[Task, Mapping[str, float]] = {
    "causal-lm": {"max_kl": 1.0, "min_top1": 0.5},
    "embedding": {"min_cosine": 0.9},
    "tensors": {},
    "text-classification": _STUDENT_CLASSIFIER,
    "token-classification": _STUDENT_CLASSIFIER,
    "image-classification": _STUDENT_CLASSIFIER,
}
"""What is held of a student's own figures where the user asked nothing: it is another model than its teacher, and says
so; these tell one that learnt from one that did not.
"""


def tightened(limits: Limits, preferences: Preferences, task: Task) -> Limits:
    """The limits that are held: with sensitivity "high" stricter ones for those of the task left at their default."""
    if preferences.sensitivity != "high":
        return limits
    asked = limits.changed()
    return replace(limits, **{name: value for name, value in SENSITIVE_LIMITS[task].items() if name not in asked})  # type: ignore[arg-type]


def held_of(candidate: Candidate, limits: Limits, task: Task) -> Limits:
    """The limits that are held of this candidate: a student's answers are its own, so that limits on fidelity which
    nobody asked for are those of STUDENT_LIMITS.
    """
    if not candidate.student:
        return limits
    asked = limits.changed()
    return replace(limits, **{name: value for name, value in STUDENT_LIMITS[task].items() if name not in asked})  # type: ignore[arg-type]


def task_engine(task: str) -> Engine:
    """The engine that is tried first: llama.cpp for decoders, ONNX Runtime for everything else."""
    return "llama.cpp" if task == "causal-lm" else "onnxruntime"


def is_quantized(candidate: Candidate) -> bool:
    return candidate.faithfulness < UNQUANTIZED_BITS


def is_carried(candidate: Candidate, model: SourceModel) -> bool:
    """Whether the candidate's type holds the source's own quantized weights, which no student has, without a loss.

    onnx-int8 says so by its faithfulness: for some devices it rounds them once more.
    """
    lossless = model.quantization.lossless if model.quantization is not None else ""
    if candidate.strategy == NAME:
        return lossless == NAME and candidate.faithfulness >= CARRIED_BITS
    return lossless != "" and lossless in candidate.options.values() and not candidate.student


def is_requantized(candidate: Candidate, model: SourceModel) -> bool:
    """Whether weights that are quantized already would be rounded a second time, onto another grid."""
    stored = model.quantization
    if stored is None or stored.lossless == "" or candidate.student:
        return False
    return is_quantized(candidate) and not is_carried(candidate, model)


def is_aggressive(candidate: Candidate, model: SourceModel, preferences: Preferences) -> bool:
    """Below four bits, or below five where the user marked the task as sensitive."""
    below = FOUR_BIT_BELOW if preferences.sensitivity == "high" else AGGRESSIVE_BELOW
    return candidate.faithfulness < below and not is_carried(candidate, model)


def is_held_back(candidate: Candidate, model: SourceModel, setting: Setting) -> bool:
    """Whether a 4-bit weight-only type is not chosen for speed: in encoders, and for long prompts of unknown cost."""
    if candidate.faithfulness >= FOUR_BIT_BELOW:
        return False
    longest = max(setting.lengths, default=0)
    return model.task != "causal-lm" or (longest >= LONG_PROMPT_TOKENS and longest not in candidate.ttft_at)


def embedding_parameters(model: SourceModel) -> int:
    """Of the token table, by the vocabulary in its shape; 0 where none is known."""
    vocabulary = model.config.get("vocab_size")
    tables = [
        tensor.elements
        for tensor in model.tensors
        if len(tensor.shape) == 2 and "embd" in tensor.name.replace("embed", "embd")
        and (vocabulary is None or vocabulary in tensor.shape)
    ]  # fmt: skip
    return max(tables, default=0)


def copied_bytes(candidate: Candidate) -> float:
    """Of the weights that the engine keeps a copy of in the CPU's own order, and reads there."""
    terms = candidate.work.memory if candidate.work is not None else ()
    return sum(term.bytes for term in terms if "repacked" in term.name)
