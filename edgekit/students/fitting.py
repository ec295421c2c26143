"""Students: smaller models of the source's family, shaped so that they fit a device once distilled and quantized.

Embedding tables do not shrink with depth: they are counted as they are, and get smaller only with the width.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgekit.model import SourceModel

_LAYER = re.compile(r"(^|\.)(layers?|h|blocks?|blk)\.\d+\.")
_DEPTH_NAMES = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH_NAMES = ("hidden_size", "n_embd", "dim", "d_model")
_HEAD_NAMES = ("num_attention_heads", "n_head", "n_heads")
_WIDTH_STEP = 64
_LEAST_WIDTH = 128
# Half and a third of the layers is what distilled encoders and decoders were published with.
_LEAST_DEPTH_SHARE = 1 / 3


@dataclass(frozen=True)
class Student:
    """A model of the source's family with fewer layers, or narrower ones. `bytes` is its file packed as `packed_as`."""

    parameters: int
    layers: int
    hidden: int
    bytes: int
    packed_as: str


@dataclass(frozen=True)
class Packing:
    """What a student would be packed as: bits a weight of tables (rows looked up by token) and of all the rest."""

    name: str
    table_bits: float
    other_bits: float
    bytes_per_word: float = 0.0


# Bits with scales. Q4_K_M keeps its tables in Q6_K; GGUF holds the words themselves, about 24 bytes each.
INT8 = Packing("onnx-int8", 8.1, 8.1)
Q8_0 = Packing("gguf Q8_0", 8.5, 8.5, 24.0)
Q4_K_M = Packing("gguf Q4_K_M", 6.5625, 4.9, 24.0)


@dataclass(frozen=True)
class Budget:
    """What a student must hold; None where nothing is asked. Its memory is `fixed_bytes`, `per_file_byte` for each byte
    of its file, and `kv_bytes` of the source's cache, scaled with depth and width.
    """

    disk_bytes: float | None
    ram_bytes: float | None
    fixed_bytes: float
    per_file_byte: float
    kv_bytes: float


def fitting(model: SourceModel, packing: Packing, budget: Budget) -> Student | None:
    """The student that keeps the most of the source and fits: its width first, then as many layers as it can.

    None where the configuration tells no depth and width, or where nothing down to a third of the depth and 128 wide
    fits.
    """
    depth, width = _first(model.config, _DEPTH_NAMES), _first(model.config, _WIDTH_NAMES)
    if depth is None or width is None or not model.tensors:
        return None
    groups = _groups(model, width)
    vocabulary = model.config.get("vocab_size")
    words_bytes = packing.bytes_per_word * vocabulary if isinstance(vocabulary, int) else 0.0
    for layers, hidden in _shapes(depth, width, _first(model.config, _HEAD_NAMES)):
        parameters = bits = 0.0
        for group, elements in groups.items():
            scaled = elements * (hidden / width) ** group.axes * (layers / depth if group.in_layer else 1.0)
            parameters += scaled
            bits += scaled * (packing.table_bits if group.is_table else packing.other_bits)
        size = math.ceil(bits / 8 + words_bytes)
        kv_bytes = budget.kv_bytes * layers / depth * hidden / width
        needed = budget.fixed_bytes + budget.per_file_byte * size + kv_bytes
        fits_disk = budget.disk_bytes is None or size <= budget.disk_bytes
        if fits_disk and (budget.ram_bytes is None or needed <= budget.ram_bytes):
            return Student(round(parameters), layers, hidden, size, packing.name)
    return None


def _shapes(depth: int, width: int, heads: int | None) -> Iterator[tuple[int, int]]:
    """(layers, hidden), at each width from the source's down all depths; never the source's own shape."""
    head = width // heads if heads and width % heads == 0 else 1
    step = math.lcm(_WIDTH_STEP, head)
    shallowest = max(1, math.ceil(depth * _LEAST_DEPTH_SHARE))
    widths = [width, *range((width - 1) // step * step, _LEAST_WIDTH - 1, -step)]
    for hidden in widths:
        for layers in range(depth - 1 if hidden == width else depth, shallowest - 1, -1):
            yield layers, hidden


@dataclass(frozen=True)
class _Group:
    """Tensors that shrink alike: `axes` of theirs follow the width."""

    in_layer: bool
    axes: int
    is_table: bool


def _groups(model: SourceModel, width: int) -> Mapping[_Group, float]:
    """Elements of each group: all of a layer's matrix follows the width; outside, the axes that have it."""
    vocabulary = model.config.get("vocab_size")
    found: dict[_Group, float] = {}
    for tensor in model.tensors:
        in_layer = _LAYER.search(tensor.name) is not None
        axes = min(2, len(tensor.shape)) if in_layer else sum(size == width for size in tensor.shape)
        group = _Group(in_layer, axes, len(tensor.shape) == 2 and vocabulary in tensor.shape)
        found[group] = found.get(group, 0.0) + tensor.elements
    return found


def _first(config: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    return next((value for name in names if isinstance(value := config.get(name), int) and value > 0), None)
