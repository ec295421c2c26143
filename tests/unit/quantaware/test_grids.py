"""The grids in torch against the quantizers that they stand for: the same integers and the same scales, bit for bit."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.quantaware import grids
from edgekit.strategies.gguf.blocks import encode
from edgekit.strategies.gguf.lattice import carry, unpack_blocks

pytestmark = pytest.mark.engines

Array = np.ndarray[Any, Any]


@st.composite
def matrices(draw: st.DrawFn) -> Array:
    """float32 [rows, columns], columns a multiple of 32: normal, whole, halves (ties), of any size; rows of zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 5)), 32 * draw(st.integers(1, 3))
    drawn = {
        "normal": lambda: rng.normal(size=shape),
        "whole": lambda: rng.integers(-20, 21, size=shape),
        "halves": lambda: rng.integers(-16, 17, size=shape) / 2,
        "positive": lambda: rng.random(size=shape),
    }[draw(st.sampled_from(["normal", "whole", "halves", "positive"]))]()
    values = drawn.astype(np.float32) * np.float32(10.0 ** draw(st.integers(-9, 3)))
    if draw(st.booleans()):
        values[0] = 0
    return values


@settings(max_examples=60, deadline=None)
@given(matrices(), st.booleans())
def test_int8_rows_are_onnx_runtimes(weight: Array, seven_bits: bool) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import quantize_data

    found = grids.int8_rows(torch.from_numpy(weight), grids.SEVEN_BITS if seven_bits else grids.EIGHT_BITS)
    for row, codes, scale in zip(weight, found.codes, found.scales, strict=True):
        zero_point, expected, integers = quantize_data(row, TensorProto.INT8, symmetric=True, reduce_range=seven_bits)
        assert int(zero_point) == 0
        assert np.float32(expected) == scale.numpy()
        assert np.array_equal(integers, codes.numpy())


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_uint8_tables_are_onnx_runtimes(table: Array) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import quantize_data

    found = grids.uint8_table(torch.from_numpy(table))
    zero_point, scale, integers = quantize_data(table.ravel(), TensorProto.UINT8, symmetric=False)
    assert np.float32(scale) == found.scale.numpy()
    assert int(zero_point) == int(found.zero_point)
    assert np.array_equal(integers, found.codes(torch.from_numpy(table)).numpy().ravel())


@cache
def dynamic_quantizer() -> Any:
    import onnxruntime as ort
    from onnx import TensorProto, helper

    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero_point"])
    kinds = {"y": TensorProto.UINT8, "scale": TensorProto.FLOAT, "zero_point": TensorProto.UINT8}
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "columns"])]
    graph = helper.make_graph([node], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString())


@settings(max_examples=100, deadline=None)
@given(matrices(), st.floats(-3, 3))
def test_activations_are_the_engines(values: Array, shift: float) -> None:
    values = values + np.float32(shift) * np.abs(values).max()
    codes, scale, zero_point = dynamic_quantizer().run(None, {"x": values})
    found = grids.dynamic_uint8(torch.from_numpy(values), apart=False)
    assert found.scale.numpy().item() == scale
    assert np.array_equal(found.codes.numpy(), codes.astype(np.float32) - np.float32(zero_point))


def test_examples_apart_are_quantized_as_if_each_were_alone() -> None:
    values = (
        torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10, 100])[:, None, None]
    )
    together = grids.dynamic_uint8(values, apart=True)
    for at, each in enumerate(values):
        alone = grids.dynamic_uint8(each[None], apart=False)
        assert torch.equal(together.codes[at], alone.codes[0])
        assert together.scale[at].item() == alone.scale.item()


@settings(max_examples=100, deadline=None)
@given(matrices())
def test_q4_0_is_ggmls_and_is_carried_without_a_change(weight: Array) -> None:
    def unpacked(data: memoryview) -> Array:
        return unpack_blocks(np.frombuffer(data, np.uint8).reshape(-1, 18), "Q4_0").reshape(weight.shape)

    found = grids.q4_0(torch.from_numpy(weight))
    assert np.array_equal(found.numpy(), unpacked(encode(weight, "Q4_0", "w")))
    assert np.array_equal(found.numpy(), unpacked(carry(found.numpy(), "Q4_0", "F32", "w")))
    assert torch.equal(found, grids.q4_0(found))


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_settled_weights_are_what_their_quantizer_makes_of_them(weight: Array) -> None:
    tensor = torch.from_numpy(weight)
    for largest in (grids.EIGHT_BITS, grids.SEVEN_BITS):
        settled = grids.settled_rows(tensor, largest)
        assert torch.equal(grids.int8_rows(settled, largest).codes, grids.int8_rows(tensor, largest).codes)
        assert torch.equal(grids.int8_rows(settled, largest).values, settled)
    table = grids.settled_table(tensor)
    assert torch.equal(grids.uint8_table(table).rounded(table), table)
