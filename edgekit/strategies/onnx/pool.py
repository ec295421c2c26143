"""Pooling and normalisation as graph nodes: the sentence embedding leaves the graph finished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekit.errors import UnsupportedModel
from edgekit.model import Pooling
from edgekit.strategies.onnx.engine import require

TOKENS = "last_hidden_state"
MASK = "attention_mask"
EMBEDDING = "sentence_embedding"


class _Nodes:
    """Nodes and constants to append, with names no exporter gives."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"pooling/{operator}_{len(self.nodes)}"
        node = require("onnx").helper.make_node(operator, inputs, [name], name=f"node:{name}", **attributes)
        self.nodes.append(node)
        return name

    def constant(self, value: Any, dtype: str) -> str:
        import numpy as np

        name = f"pooling/constant_{len(self.constants)}"
        self.constants.append(require("onnx").numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name


def append_pooling(proto: Any, pooling: Pooling, normalize: bool) -> None:
    """Add the output `sentence_embedding` [batch, width], float32, computed from `last_hidden_state` and the mask.

    The arithmetic is sentence-transformers': padding is left out by `attention_mask`, on whichever side it stands;
    `cls` takes the first position as it does. UnsupportedModel without those two tensors or below opset 13.
    """
    onnx = require("onnx")
    tokens = next((value for value in proto.graph.output if value.name == TOKENS), None)
    if tokens is None or all(value.name != MASK for value in proto.graph.input):
        raise UnsupportedModel(
            f"pooling needs a graph with an input {MASK} and an output {TOKENS}", "pack it with its task named"
        )
    opset = next(each.version for each in proto.opset_import if each.domain in ("", "ai.onnx"))
    if opset < 13:
        raise UnsupportedModel(
            f"pooling needs opset 13, the graph has {opset}", "export it again with opset 13 or later"
        )
    nodes = _Nodes()
    pooled = _POOLINGS[pooling](nodes, opset)
    if normalize:
        pooled = _normalized(nodes, pooled, opset)
    nodes.add("Identity", pooled, output=EMBEDDING)
    proto.graph.node.extend(nodes.nodes)
    proto.graph.initializer.extend(nodes.constants)
    dims = tokens.type.tensor_type.shape.dim
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in (dims[0], dims[-1])]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, shape))


def _mask_column(nodes: _Nodes) -> str:
    mask = nodes.add("Cast", MASK, to=require("onnx").TensorProto.FLOAT)
    return nodes.add("Unsqueeze", mask, nodes.constant([-1], "int64"))


def _mean(nodes: _Nodes, opset: int) -> str:  # noqa: ARG001
    mask, axis = _mask_column(nodes), nodes.constant([1], "int64")
    total = nodes.add("ReduceSum", nodes.add("Mul", TOKENS, mask), axis, keepdims=0)
    count = nodes.add("ReduceSum", mask, axis, keepdims=0)
    return nodes.add("Div", total, nodes.add("Max", count, nodes.constant(1e-9, "float32")))


def _max(nodes: _Nodes, opset: int) -> str:
    kept = nodes.add("Greater", _mask_column(nodes), nodes.constant(0, "float32"))
    masked = nodes.add("Where", kept, TOKENS, nodes.constant(-1e9, "float32"))
    return _reduce(nodes, "ReduceMax", masked, axis=1, keepdims=0, opset=opset)


def _cls(nodes: _Nodes, opset: int) -> str:  # noqa: ARG001
    return nodes.add("Gather", TOKENS, nodes.constant(0, "int64"), axis=1)


def _last(nodes: _Nodes, opset: int) -> str:  # noqa: ARG001
    mask = nodes.add("Cast", MASK, to=require("onnx").TensorProto.INT32)
    position = nodes.add("ArgMax", mask, axis=1, keepdims=1, select_last_index=1)
    return nodes.add("GatherND", TOKENS, position, batch_dims=1)


def _normalized(nodes: _Nodes, pooled: str, opset: int) -> str:
    length = _reduce(nodes, "ReduceL2", pooled, axis=1, keepdims=1, opset=opset)
    return nodes.add("Div", pooled, nodes.add("Max", length, nodes.constant(1e-12, "float32")))


def _reduce(nodes: _Nodes, operator: str, value: str, *, axis: int, keepdims: int, opset: int) -> str:
    """Reductions other than ReduceSum take their axes as an input from opset 18 on."""
    if opset >= 18:
        return nodes.add(operator, value, nodes.constant([axis], "int64"), keepdims=keepdims)
    return nodes.add(operator, value, axes=[axis], keepdims=keepdims)


_POOLINGS: dict[Pooling, Callable[[_Nodes, int], str]] = {"mean": _mean, "max": _max, "cls": _cls, "last": _last}
