"""How much work one input is, from shapes: the terms of the phase "encode". `estimate` says what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.costs import TIMED_TOKENS, Setting, Term, Unit
from edgekit.model import SourceModel
from edgekit.strategies.onnx.quantize import SMALLEST_OUTPUT
from edgekit.strategies.onnx.shapes import (
    Encoder,
    Use,
    encoder,
    is_convolutional,
    longest_input,
    picture_positions,
    uses,
)

_SOFTMAX_OPERATIONS = 20.0
_ELEMENT_OPERATIONS = 20.0
_FEATURE_OPERATIONS = 4.0
# ONNX Runtime merges residual and layer norm of int8 graphs into an operator as slow as these many other elements.
_SLOW_NORM_ELEMENTS = 7
# Nodes that are left once ONNX Runtime has fused the graph.
_NODES, _PRODUCT_NODES, _CONVOLUTION_NODES = 20.0, 5.0, 1.5

Totals = dict[tuple[str, Unit], float]


def encode_terms(model: SourceModel, setting: Setting, bits: int) -> Mapping[int, tuple[Term, ...]]:
    """Terms by the length of the input in tokens (0 for pictures), at weights of 32 or 8 bits.

    Text: at every asked length, cut to the longest the model takes, and at the length that `pack` times. Empty where
    the shapes do not tell the work: unknown families, bare modules and graphs.
    """
    found = uses(model)
    if found is None:
        return {}
    graph = _Graph(found, encoder(model), bits, is_convolutional(model), max(1, setting.threads))
    if model.text is None:
        return {0: graph.terms(picture_positions(model) or 0)}
    longest = longest_input(model)
    lengths = sorted({min(tokens, longest) for tokens in (*setting.lengths, TIMED_TOKENS) if tokens > 0})
    return {tokens: (*graph.terms(tokens), Term("tokens", tokens, "seconds")) for tokens in lengths}


@dataclass(frozen=True)
class _Graph:
    """What runs: `shape` is None for convolution nets; `static`: quantized with its convolutions."""

    uses: tuple[Use, ...]
    shape: Encoder | None
    bits: int
    static: bool
    threads: int

    def terms(self, tokens: int) -> tuple[Term, ...]:
        totals: Totals = {}
        for use in self.uses:
            _add_use(totals, use, tokens if use.positions is None else use.positions, self.is_quantized(use))
        if self.shape is not None:
            _add_attention(totals, self.shape, tokens, self.bits)
        _add(totals, "calls", "seconds", _NODES)
        _add(totals, "hand-overs", "seconds", totals["calls", "seconds"] * math.log2(self.threads))
        return tuple(Term(name, amount, unit) for (name, unit), amount in totals.items() if amount > 0)

    def is_quantized(self, use: Use) -> bool:
        return self.bits == 8 and (self.static or (use.kind == "product" and use.outputs >= SMALLEST_OUTPUT))


def _add_use(totals: Totals, use: Use, positions: int, quantized: bool) -> None:
    operations = 2.0 * use.elements * positions * use.repeats
    elements = float(use.outputs * positions * use.repeats)
    unit: Unit = "int8_ops" if quantized else "flops"
    if use.kind == "product":
        _add(totals, "int8 products" if quantized else "fp32 products", unit, operations)
        _add(totals, "elementwise", "flops", _ELEMENT_OPERATIONS * elements)
        _add(totals, "calls", "seconds", _PRODUCT_NODES * use.repeats)
    else:
        name = "depthwise convolutions" if use.kind == "depthwise" else "convolutions"
        _add(totals, f"int8 {name}" if quantized else name, unit, operations)
        _add(totals, "int8 features" if quantized else "features", "flops", _FEATURE_OPERATIONS * elements)
        _add(totals, "calls", "seconds", _CONVOLUTION_NODES)
    _add(totals, "weights read", "bytes", (1.0 if quantized else 4.0) * use.elements * use.repeats)


def _add_attention(totals: Totals, shape: Encoder, tokens: int, bits: int) -> None:
    """Scores and weighted sums are products of two activations, which stay float32 in int8 graphs too."""
    _add(totals, "attention products", "flops", 4.0 * shape.layers * shape.width * tokens**2)
    _add(totals, "softmax", "flops", _SOFTMAX_OPERATIONS * shape.layers * shape.heads * tokens**2)
    if bits == 8 and not shape.norm_first:
        slow = _SLOW_NORM_ELEMENTS * shape.layers * shape.width * tokens
        _add(totals, "elementwise", "flops", _ELEMENT_OPERATIONS * slow)


def _add(totals: Totals, name: str, unit: Unit, amount: float) -> None:
    totals[name, unit] = totals.get((name, unit), 0.0) + amount
