"""Where a model file's bytes are: its tensors by what they do, read from the file's header alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from edgekit.manifest import Manifest
from edgekit.model.gguf_file import read_gguf_header, stored_bytes
from edgekit.report import Size

REST = "graph and metadata"
OTHER = "other"

# The first pattern that a name matches says what the tensor does; names are lower case, with . and / as written.
_GROUPS = (
    ("normalization", r"norm|(^|[._/])ln(_\w+|\d*)([._/]|$)|(^|[._/])bn\d*([._/]|$)"),
    ("embeddings", r"embed(?!der)|embd|token_types|(^|[._/])(wte|wpe)([._/]|$)|cls_token"),
    ("attention", r"att(ention|n)|(^|[._/])(q|k|v|o|qkv|query|key|value)(_proj|_lin)?([._/]|$)"),
    (
        "feed-forward",
        r"ffn|mlp|feed_forward|intermediate|(^|[._/])(fc\d*|lin\d|up_proj|down_proj|gate_proj)([._/]|$)|"
        r"layers?[._/]\d+[._/]output|experts?",
    ),
    ("output", r"classifier|lm_head|(^|[._/])(output|head|score|cls|pooler)([._/]|$)|logits"),
    ("convolution", r"conv|downsample"),
)
_PATTERNS = tuple((group, re.compile(pattern)) for group, pattern in _GROUPS)
# What the kernel that takes a tensor says of it, where its name and the kernel's say nothing.
_KERNELS = {
    "Conv": "convolution", "ConvInteger": "convolution", "QLinearConv": "convolution", "ConvTranspose": "convolution",
    "LayerNormalization": "normalization", "SkipLayerNormalization": "normalization",
    "BatchNormalization": "normalization", "InstanceNormalization": "normalization",
    "SimplifiedLayerNormalization": "normalization", "EmbedLayerNormalization": "embeddings",
    "Attention": "attention", "QAttention": "attention", "MultiHeadAttention": "attention",
    "GroupQueryAttention": "attention", "GatherBlockQuantized": "embeddings",
}  # fmt: skip
# Kernels that only pass a tensor on in another type or shape: what it does is said by who takes their output.
_CARRIERS = frozenset(["DequantizeLinear", "QuantizeLinear", "Transpose", "Cast", "Reshape", "DynamicQuantizeLinear"])
_MOST_HOPS = 4

# onnx.TensorProto.DataType: (name, bits of one element)
_DTYPES: Mapping[int, tuple[str, int]] = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16), 6: ("int32", 32),
    7: ("int64", 64), 9: ("bool", 8), 10: ("float16", 16), 11: ("float64", 64), 12: ("uint32", 32),
    13: ("uint64", 64), 16: ("bfloat16", 16), 17: ("float8", 8), 18: ("float8", 8), 19: ("float8", 8),
    20: ("float8", 8), 21: ("uint4", 4), 22: ("int4", 4), 23: ("float4", 4),
}  # fmt: skip


def sizes(bundle: Path, manifest: Manifest) -> tuple[Size, ...]:
    """Bytes of the model file by tensor group and stored type, largest first, with the rest of the file as one entry.

    External data counts with the file. Their sum is the bytes of the model file and of its external data. Raises
    BadModel, or MissingEngine without `onnx`.
    """
    path = bundle / manifest.model_file
    read = _gguf if manifest.engine == "llama.cpp" else _onnx
    entries, files = read(path)
    found: dict[tuple[str, str], list[int]] = {}
    for group, dtype, size_bytes in entries:
        counted = found.setdefault((group, dtype), [0, 0])
        counted[0] += 1
        counted[1] += size_bytes
    told = [Size(group=g, dtype=d, tensors=count, size_bytes=size) for (g, d), (count, size) in found.items()]
    rest = sum(each.stat().st_size for each in files) - sum(size.size_bytes for size in told)
    told.sort(key=lambda size: (-size.size_bytes, size.group, size.dtype))
    return (*told, Size(group=REST, dtype="", tensors=0, size_bytes=max(0, rest)))


def group_of(name: str) -> str | None:
    """What a tensor, or a kernel, of that name does; None where the name says nothing."""
    lowered = name.lower()
    return next((group for group, pattern in _PATTERNS if pattern.search(lowered)), None)


_Entries = tuple[list[tuple[str, str, int]], set[Path]]


def _gguf(path: Path) -> _Entries:
    header = read_gguf_header(path)
    return [(group_of(each.name) or OTHER, each.dtype, stored_bytes(each)) for each in header.tensors], {path}


def _onnx(path: Path) -> _Entries:
    """Initializers, also those of graphs inside nodes; constants in nodes are the graph's own bytes."""
    from edgekit.model.onnx_file import read_onnx_graph

    graph = read_onnx_graph(path)
    entries: list[tuple[str, str, int]] = []
    files = {path}
    for inner in _graphs(graph):
        takers = _takers(inner)
        for tensor in inner.initializer:
            files |= {path.parent / item.value for item in tensor.external_data if item.key == "location"}
            entries.append((_onnx_group(tensor.name, takers), *_stored(tensor)))
    return entries, {each for each in files if each.is_file()}


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and those inside its nodes (If, Loop)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _takers(graph: Any) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def _onnx_group(name: str, takers: Mapping[str, list[Any]]) -> str:
    """By the tensor's own name, else by the kernels that take it, else by their names.

    Behind a DequantizeLinear the next takers are asked: exporters name folded weights "onnx::MatMul_123".
    """
    own = None if name.startswith("onnx::") else group_of(name)
    if own is not None:
        return own
    ask: list[Callable[[Any], str | None]] = [
        lambda node: _KERNELS.get(node.op_type),
        lambda node: None if node.op_type in _CARRIERS else group_of(node.name),
    ]
    reached = list(_reached(name, takers))
    return next((group for said in ask for node in reached if (group := said(node)) is not None), OTHER)


def _reached(name: str, takers: Mapping[str, list[Any]], hops: int = _MOST_HOPS) -> Iterator[Any]:
    """Nodes that take the tensor, and those behind nodes that only carry it."""
    for node in takers.get(name, ()):
        yield node
        if hops and node.op_type in _CARRIERS:
            for output in node.output:
                yield from _reached(output, takers, hops - 1)


def _stored(tensor: Any) -> tuple[str, int]:
    dtype, bits = _DTYPES.get(tensor.data_type, (f"type {tensor.data_type}", 0))
    elements = prod(tensor.dims)
    if tensor.data_type == 8:  # text: as long as it is
        return "text", sum(map(len, tensor.string_data))
    return dtype, -(-elements * bits // 8)
