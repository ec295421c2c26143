"""What an ONNX bundle will cost, from tensor shapes and the configuration alone: its work, priced for the device.

Phase "encode", one input (`encode`):

    fp32 products            flops    of activations with weights, where the weights are float32
    int8 products            int8_ops the same with int8 weights, activations quantized as they come
    attention products       flops    of activations with activations: scores and weighted sums, float32 always
    softmax                  flops    scaling, masking and softmax of the attention scores, 20 operations an element
    elementwise              flops    norms, GELU, residuals, transposes, quantizing: 20 operations an output of a
                                      product; 7 widths more where int8 graphs get the slow merged layer norm
    convolutions             flops    float32; "int8 convolutions" (int8_ops) where quantized
    depthwise convolutions   flops    float32; "int8 depthwise convolutions" (int8_ops)
    features                 flops    writing feature maps, 4 operations an element; "int8 features" where quantized
    weights read             bytes    of every weight but embeddings, which are gathered by row
    calls                    seconds  nodes of the graph once fused
    hand-overs               seconds  the same times log2(threads): work is shared out and waited for at each
    tokens                   seconds  of text to tokenize

Phase "memory", at the longest input (`memory`):

    process                  Python, numpy, the engine and its graph
    libraries                the same, mapped from files
    tokenizer                its vocabulary, by its kind and the size of tokenizer.json
    weights                  the model file: all of it is copied, the file itself is not kept
    reordered convolutions   copies that are made while loading
    loading                  the largest weight once more, where nothing later needs as much
    activations              attention scores twice, and the widest layer
    packed, mapped weights   instead of the last five but activations, for weights beside the graph: repacked products
                             are copied, rows of embeddings are mapped
"""

from __future__ import annotations

from dataclasses import replace

from edgekit.costs import Estimate, Setting, Work
from edgekit.model import SourceModel
from edgekit.strategies import Candidate, priced
from edgekit.strategies.onnx.disk import fp32_disk_bytes, int8_disk_bytes
from edgekit.strategies.onnx.eligible import as_is
from edgekit.strategies.onnx.encode import encode_terms
from edgekit.strategies.onnx.memory import memory_terms
from edgekit.strategies.onnx.shapes import embedding_share

_DOMINANT_SHARE = 0.3
_MEASURED_OS = "linux"


def estimated(name: str, model: SourceModel, setting: Setting, bits: int, notes: tuple[str, ...] = ()) -> Candidate:
    """The candidate of strategy `name` with weights of 32 or 8 bits, with every estimate there are grounds for.

    A file that is bundled as it is computes in types not looked into: its latency is unknown.
    """
    disk = int8_disk_bytes(model) if bits == 8 else fp32_disk_bytes(model)
    untouched = as_is(model) is not None
    candidate = Candidate(
        strategy=name,
        engine="onnxruntime",
        options={"preset": "as-is"} if untouched else {},
        faithfulness=bits,
        disk_bytes=disk,
        ram_bytes=disk,
        notes=notes,
    )
    terms = {} if untouched else encode_terms(model, setting, bits)
    found = priced(candidate, Work(memory_terms(model, bits), {"encode": terms} if terms else {}), setting)
    return found if setting.device.os == _MEASURED_OS else _carried_over(found)


def _carried_over(candidate: Candidate) -> Candidate:
    """Other systems have other allocators, and browsers another build of the engine: said, not corrected."""
    needed = candidate.memory
    assert needed is not None

    def told(estimate: Estimate) -> Estimate:
        return replace(estimate, basis=f"{estimate.basis}; carried over from the Python runtime on Linux")

    needed = replace(
        needed,
        peak=told(needed.peak),
        file_backed=told(needed.file_backed),
        anonymous=told(needed.anonymous),
        activations=told(needed.activations),
    )
    return replace(candidate, memory=needed, ram_bytes=needed.peak)


def embedding_note(model: SourceModel) -> str | None:
    """What int8 does to a model most of which is its vocabulary, if it is one."""
    share = embedding_share(model)
    if share <= _DOMINANT_SHARE:
        return None
    return (
        f"{share:.0%} of the weights are embeddings: int8 stores each as one byte under one scale for the table, which "
        "makes the file smaller and no step faster"
    )
