"""Reading, checking and writing ONNX files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.strategies import TensorSignature
from edgekit.strategies.onnx.engine import first_line, require, session

INLINE_LIMIT_BYTES = 1_800_000_000
"""Above this the weights go to `<name>_data` beside the file: protobuf ends at 2 GiB."""

EXTERNAL_FROM_BYTES = 1024
"""Smaller tensors stay inside even then: shapes and axes must be readable without the weights."""

_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "com.microsoft", "com.microsoft.nchwc"}
_QUANTIZED = {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "GatherBlockQuantized",
    "MatMulBnb4",
    "MatMulFpQ4",
    "MatMulInteger",
    "MatMulInteger16",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "ConvInteger",
    "QAttention",
    "QEmbedLayerNormalization",
    "QGemm",
    "QMoE",
}


def load(path: Path, *, weights: bool = True) -> Any:
    """The ModelProto in `path`; without `weights`, what lies in external files stays there. BadModel if unreadable."""
    onnx = require("onnx")
    try:
        proto = onnx.load(str(path), load_external_data=weights)
    except OSError as error:
        raise BadModel(f"{path.name} cannot be read: {first_line(error)}") from error
    except Exception as error:  # protobuf's DecodeError and onnx's own checks share no class
        raise BadModel(f"{path.name} is no ONNX file: {first_line(error)}", "export or copy it again") from error
    if not proto.graph.node:
        raise BadModel(f"{path.name} holds no graph", "export or copy it again")
    return proto


def save(proto: Any, path: Path) -> None:
    """Write without what varies between runs or machines (doc strings, metadata); big weights beside the file."""
    onnx = require("onnx")
    tidy(proto)
    path.parent.mkdir(parents=True, exist_ok=True)
    if proto_bytes(proto) <= INLINE_LIMIT_BYTES:
        onnx.save(proto, str(path))
        return
    onnx.save(
        proto, str(path), save_as_external_data=True, location=path.name + "_data", size_threshold=EXTERNAL_FROM_BYTES
    )


def tidy(proto: Any) -> None:
    """Drop doc strings and metadata: they hold source paths and change nothing."""
    proto.doc_string = ""
    del proto.metadata_props[:]
    for graph in graphs(proto):
        graph.doc_string = ""
        if hasattr(graph, "metadata_props"):
            del graph.metadata_props[:]
        for part in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            part.doc_string = ""
            if hasattr(part, "metadata_props"):
                del part.metadata_props[:]


def proto_bytes(proto: Any) -> int:
    """About what the file would take with all weights inside; safe above protobuf's own limit."""
    return sum(
        len(tensor.raw_data) + 8 * (len(tensor.float_data) + len(tensor.int64_data) + len(tensor.int32_data))
        for graph in graphs(proto)
        for tensor in graph.initializer
    )


def graphs(proto: Any) -> Iterator[Any]:
    """The main graph and every graph inside a node's attributes, outermost first."""
    pending = [proto.graph]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    pending.append(attribute.g)
                pending.extend(attribute.graphs)


def signatures(proto: Any) -> tuple[tuple[TensorSignature, ...], tuple[TensorSignature, ...]]:
    """Inputs and outputs as an app sees them: initializers that are listed as inputs are left out."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(_signature(each) for each in proto.graph.input if each.name not in weights)
    return inputs, tuple(_signature(each) for each in proto.graph.output)


def _signature(value: Any) -> TensorSignature:
    onnx = require("onnx")
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise UnsupportedModel(f"graph input or output {value.name!r} is not a tensor", "only tensors are supported")
    dtype = "string" if kind.elem_type == onnx.TensorProto.STRING else _dtype(kind.elem_type)
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_axis_{axis}"
        for axis, dim in enumerate(kind.shape.dim)
    )
    return TensorSignature(value.name, dtype, shape)


def _dtype(elem_type: int) -> str:
    name: str = require("onnx").TensorProto.DataType.Name(elem_type).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def quantized_operator(proto: Any) -> str | None:
    """The first operator that computes on quantized values, if there is one."""
    for graph in graphs(proto):
        for node in graph.node:
            if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
                return str(node.op_type)
    return None


def half_precision(proto: Any) -> str | None:
    """ "float16" or "bfloat16" if most weights are stored so."""
    kinds = require("onnx").TensorProto
    counts: dict[int, int] = {}
    for tensor in proto.graph.initializer:
        elements = 1
        for axis in tensor.dims:
            elements *= axis
        counts[tensor.data_type] = counts.get(tensor.data_type, 0) + elements
    most = max(counts, key=lambda kind: counts[kind], default=kinds.FLOAT)
    return {kinds.FLOAT16: "float16", kinds.BFLOAT16: "bfloat16"}.get(most)


def check_operators(proto: Any, name: str) -> None:
    """UnsupportedModel naming the first operator of a domain that ONNX Runtime does not have."""
    functions = {(function.domain, function.name) for function in proto.functions}
    for graph in graphs(proto):
        for node in graph.node:
            if node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in functions:
                raise UnsupportedModel(
                    f"{name} uses the operator {node.domain}::{node.op_type}, which ONNX Runtime does not have",
                    "export it with standard ONNX operators",
                )


def check_loads(path: Path) -> None:
    """Open the graph once: UnsupportedModel for an operator without a kernel, BadModel for anything else."""
    try:
        session(path)
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        reason = first_line(error)
        if type(error).__name__ == "NotImplemented" or "not a registered" in reason:
            raise UnsupportedModel(
                f"{path.name}: ONNX Runtime cannot run it: {reason}", "export it with standard ONNX operators"
            ) from error
        raise BadModel(f"{path.name}: ONNX Runtime refuses it: {reason}", "export or copy it again") from error
