"""A GGUF file's tensors as amounts of work and memory: read from GGUF's own names, whether the file is there already or
is still to be written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from edgekit.model import TensorInfo
from edgekit.model.gguf_file import stored_bytes
from edgekit.strategies.gguf.file_size import padded

_LAYER = re.compile(r"blk\.(\d{1,9})\.(\w+)\.(weight|bias)$")
# Of a layer beside its tensors: two rotations, two writes to the cache, attention, two residuals, the gate; of the rest
# the lookup, the choice of outputs, the last norm.
_LAYER_NODES, _OUTER_NODES = 8, 4
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
_LOOKED_UP = (EMBEDDING, "position_embd.weight", "token_types.weight")


@dataclass(frozen=True)
class Weights:
    """What of a file's tensors costs anything.

    `products` are weights by GGML type that every token is multiplied by, `output` those of the vocabulary's (empty for
    encoders). `data_bytes` is all tensor data, `read_bytes` what is read for a batch: an embedding that is not also the
    output is looked up by the row. `copies` maps (type, the largest of 8, 4 and 1 that divides the rows) to the bytes
    of the matrices that an engine may keep in another order. Widths are in values: of the residual stream, the
    feed-forward layer (`gated`: two of them side by side), all query heads; `cached` is K and V of one token in all
    layers. `nodes` counts the operations of a forward pass. `known` is False where these figures do not tell the work:
    experts, recurrent layers, compressed caches.
    """

    products: Mapping[str, int]
    output: Mapping[str, int]
    data_bytes: int
    read_bytes: int
    copies: Mapping[tuple[str, int], int]
    layers: int
    width: int
    inner: int
    gated: bool
    query_width: int
    cached: int
    vocabulary: int
    nodes: int
    known: bool


def weigh(tensors: Iterable[TensorInfo], decodes: bool) -> Weights:
    """The figures of a file that holds `tensors`, by GGUF's names and types. KeyError without a token embedding."""
    stored = {tensor.name: tensor for tensor in tensors}
    embedding = stored[EMBEDDING]
    output = stored.get(OUTPUT, embedding) if decodes else None
    sizes = {tensor.name: stored_bytes(tensor) for tensor in stored.values()}
    in_layers = {name: found for name in stored if (found := _in_layer(name))}
    matrices = [stored[name] for name in in_layers if len(stored[name].shape) > 1]
    products: Counter[str] = Counter()
    copies: Counter[tuple[str, int]] = Counter()
    for tensor in matrices:
        products[tensor.dtype] += tensor.elements
    for tensor in [*matrices, *([] if output is None else [output])]:
        copies[tensor.dtype, _granule(tensor)] += sizes[tensor.name]
    data_bytes = sum(padded(size) for size in sizes.values())
    looked_up = [name for name in _LOOKED_UP if name in stored and stored[name] is not output]
    numbers = {layer for layer, _ in in_layers.values()}
    layers = len(numbers)
    scales = sum(is_scale for _, is_scale in in_layers.values())
    inner, gated = _feed_forward(stored)
    cached = [_cached(stored, layer) for layer in numbers]
    return Weights(
        products=dict(products),
        output={} if output is None else {output.dtype: output.elements},
        data_bytes=data_bytes,
        read_bytes=data_bytes - sum(padded(sizes[name]) for name in looked_up),
        copies=dict(copies),
        layers=layers,
        width=embedding.shape[-1],
        inner=inner,
        gated=gated,
        query_width=_queries(stored),
        cached=sum(cached),
        vocabulary=embedding.shape[0],
        nodes=_OUTER_NODES + len(in_layers) + scales + layers * _LAYER_NODES,
        known=0 not in cached and inner > 0 and all(len(tensor.shape) == 2 for tensor in matrices),
    )


@lru_cache(maxsize=4096)
def _in_layer(name: str) -> tuple[int, bool] | None:
    """(layer, whether it is the scale of a norm); None outside the layers. The same names come with every preset."""
    found = _LAYER.match(name)
    return None if found is None else (int(found[1]), found[2].endswith("_norm") and found[3] == "weight")


def _granule(tensor: TensorInfo) -> int:
    return next(rows for rows in (8, 4, 1) if tensor.shape[0] % rows == 0)


def _feed_forward(stored: Mapping[str, TensorInfo]) -> tuple[int, bool]:
    """(width, whether a gate stands beside it) of the first layer; 0 where it has none of the usual kind."""
    down, up = stored.get("blk.0.ffn_down.weight"), stored.get("blk.0.ffn_up.weight")
    if down is None or up is None or len(down.shape) != 2:
        return 0, False
    return down.shape[1], "blk.0.ffn_gate.weight" in stored or up.shape[0] == 2 * down.shape[1]


def _queries(stored: Mapping[str, TensorInfo]) -> int:
    output = stored.get("blk.0.attn_output.weight")
    return output.shape[-1] if output is not None else stored[EMBEDDING].shape[-1]


def _cached(stored: Mapping[str, TensorInfo], layer: int) -> int:
    """Values of K and V of one token; 0 where the layer has none, or keeps them otherwise."""
    keys, values, fused = (stored.get(f"blk.{layer}.attn_{part}.weight") for part in ("k", "v", "qkv"))
    if keys is not None:
        return keys.shape[0] + (values or keys).shape[0]
    return max(fused.shape[0] - _queries(stored), 0) if fused is not None else 0
