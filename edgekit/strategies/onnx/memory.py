"""Where peak memory goes, from shapes: the terms of the phase "memory". `estimate` says what they mean.

Chosen on 14 shapes in float32 and int8, with the bundle's Python runtime on Linux (glibc), ONNX Runtime 1.31, in fresh
processes. benchmarks/planner_fit.py fits their factors since the runtime gives freed weights back.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.costs import MemoryTerm
from edgekit.model import SourceModel
from edgekit.strategies.onnx.disk import fp32_disk_bytes, int8_disk_bytes
from edgekit.strategies.onnx.eligible import as_is
from edgekit.strategies.onnx.graph import INLINE_LIMIT_BYTES
from edgekit.strategies.onnx.quantize import SMALLEST_OUTPUT
from edgekit.strategies.onnx.shapes import (
    encoder,
    is_convolutional,
    longest_input,
    outputs_of,
    picture_positions,
    stored,
    uses,
)
from edgekit.strategies.onnx.vocabulary import tokenizer_bytes

MIB = 2**20
_PROCESS_BYTES = 24.4 * MIB
"""Python, numpy, ONNX Runtime and an empty session: private pages."""
_NODE_BYTES = 10_000
_LIBRARY_BYTES, _TEXT_LIBRARY_BYTES = 35.5 * MIB, 38.6 * MIB
"""Pages of the same, mapped from files; with the tokenizers library."""
_RUN_BYTES = 2.0 * MIB
_UNKNOWN_CHANNELS = 64
"""Of the widest feature map, at half the picture's size, in nets of other families: as ResNet and MobileNet have."""
_PAGE_BYTES = 64 * 1024
"""What the system maps around one row that is read."""
# Families whose exported mask is spread over all scores: twice as many matrices of that size live at once.
_WIDE_MASKS = frozenset(["distilbert"])


@dataclass(frozen=True)
class _Weights:
    """Bytes of the engine's weights: the largest, those repacked for products, and copies of convolutions made while
    loading. The originals of what is copied are given back (the runtime sees to that).
    """

    largest: float
    packed: float
    reordered: float


def memory_terms(model: SourceModel, bits: int) -> tuple[MemoryTerm, ...]:
    """Summands of the peak. The stages of loading and running are told by what each adds to those before it."""
    disk = (int8_disk_bytes(model) if bits == 8 else fp32_disk_bytes(model)).mid
    weights = _weights(model, bits)
    tokenizer = 0.0 if model.text is None else tokenizer_bytes(model)
    activations = _activation_bytes(model, bits)
    libraries = _LIBRARY_BYTES if model.text is None else _TEXT_LIBRARY_BYTES
    terms = [
        MemoryTerm("process", _PROCESS_BYTES + _NODE_BYTES * _nodes(model), "anonymous"),
        MemoryTerm("libraries", libraries, "file"),
        MemoryTerm("tokenizer", tokenizer, "anonymous"),
        MemoryTerm("activations", activations, "activations"),
    ]
    if disk > INLINE_LIMIT_BYTES or (model.format == "onnx" and len(model.files) > 1):
        terms.append(MemoryTerm("packed weights", weights.packed, "anonymous"))
        terms.append(MemoryTerm("mapped weights", _mapped_bytes(model, disk - weights.packed), "file"))
    else:
        loading = max(0.0, weights.largest - tokenizer - activations)
        terms.append(MemoryTerm("weights", disk, "anonymous"))
        terms.append(MemoryTerm("reordered convolutions", weights.reordered, "anonymous"))
        terms.append(MemoryTerm("loading", loading, "anonymous"))
    return tuple(term for term in terms if term.bytes > 0)


def _weights(model: SourceModel, bits: int) -> _Weights:
    if as_is(model) is not None:
        return _Weights(0.0, 0.0, 0.0)
    static = is_convolutional(model)
    largest = packed = reordered = 0.0
    for tensor, kind in stored(model):
        whole = kind in ("convolution", "depthwise")
        narrow = kind == "product" and outputs_of(tensor, model) < SMALLEST_OUTPUT
        small = bits == 8 and kind != "vector" and not narrow and (static or not whole)
        size = (1.0 if small else 4.0) * tensor.elements
        largest = max(largest, size)
        if kind == "product":
            packed += size
        elif whole and not small:
            wide = tensor.elements > tensor.shape[0] * tensor.shape[1]
            reordered += (2.0 if wide and static else 1.0) * size
    return _Weights(largest, packed, reordered)


def _mapped_bytes(model: SourceModel, unpacked: float) -> float:
    """Of weights kept beside the graph only the rows that are gathered are read, each with the pages around it."""
    return max(0.0, min(unpacked, float(longest_input(model) * _PAGE_BYTES)))


def _activation_bytes(model: SourceModel, bits: int) -> float:
    """Of one input of the longest length: two matrices of attention scores, and the widest layer."""
    shape = encoder(model)
    tokens = longest_input(model) if model.text is not None else picture_positions(model)
    if shape is not None and tokens is not None:
        copies = 4 if shape.family in _WIDE_MASKS else 2
        scores = 4.0 * copies * shape.heads * tokens**2
        return _RUN_BYTES + scores + 4.0 * 1.5 * shape.inner * tokens
    found = uses(model)
    if found is not None:
        static = bits == 8 and is_convolutional(model)
        widest = max(use.outputs * (use.positions or 1) for use in found)
        return _RUN_BYTES + (1.0 if static else 4.0) * 3 * widest
    if model.image is not None:
        return _RUN_BYTES + 4.0 * 3 * _UNKNOWN_CHANNELS * model.image.height * model.image.width / 4
    return _RUN_BYTES


def _nodes(model: SourceModel) -> float:
    products = sum(kind == "product" for _, kind in stored(model))
    shape = encoder(model)
    if shape is not None and shape.family == "albert":
        products *= shape.layers
    return 5.0 * products + 2.0 * sum(kind in ("convolution", "depthwise") for _, kind in stored(model))
