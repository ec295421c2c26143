"""What fidelity to expect, in words: from what was measured before on this model, else from the bits that are kept."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.model import SourceModel
from edgekit.planner.values import Known
from edgekit.rules.traits import is_carried, is_quantized
from edgekit.strategies import FP32_BITS, Candidate

# Mean KL of Llama-3-8B on wikitext-2, as llama.cpp publishes it; a smaller model loses more at the same bits.
_BY_BITS = (
    (8.0, "very close", "0.001"),
    (6.0, "very close", "0.005"),
    (5.0, "close", "0.01"),
    (4.7, "slightly off", "0.03"),
    (4.0, "off", "0.07"),
)


def expected_fidelity(candidate: Candidate, model: SourceModel, known: Sequence[Known]) -> str:
    measured = [f"{each.name} {each.measured:.3g}" for each in known if each.candidate == candidate.label]
    if measured:
        return f"measured before: {', '.join(measured[:2])}"
    if candidate.student:
        return "a student's: unknown until it is trained"
    if is_carried(candidate, model):
        return "the original's own weights"
    if not is_quantized(candidate):
        return "the original's" if candidate.faithfulness >= FP32_BITS else "the original's, within rounding"
    if candidate.engine == "onnxruntime":
        return "close: activations are rounded to 8 bits too"
    for bits, words, kl in _BY_BITS:
        if candidate.faithfulness >= bits:
            return f"{words} (8B model: KL {kl})" if model.task == "causal-lm" else words
    return "far off"
