"""Layers that compute as deployed: the engine's own bits forward, straight through backward."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.quantaware import grids, layers

pytestmark = pytest.mark.engines

Array = np.ndarray[Any, Any]


def engine(weight: Array, bias: Array, seven_bits: bool, folder: Path) -> Any:
    """A session of one product, quantized by ONNX Runtime's tools and fused by its optimizer."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper, save
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], "product"),
        helper.make_node("Add", ["p", "b"], ["y"], "add"),
    ]
    values = [
        numpy_helper.from_array(np.ascontiguousarray(weight.T), "w"),
        numpy_helper.from_array(bias, "b"),
    ]
    inputs = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", weight.shape[1]])
    outputs = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "tokens", weight.shape[0]])
    graph = helper.make_graph(nodes, "g", [inputs], [outputs], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    entry = model.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"
    save(model, folder / "m.onnx")
    quantize_dynamic(
        folder / "m.onnx",
        folder / "q.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=seven_bits,
        weight_type=QuantType.QInt8,
    )
    return ort.InferenceSession(str(folder / "q.onnx"))


def linear(weight: Array, bias: Array) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(weight))
        made.bias.copy_(torch.from_numpy(bias))
    return made


@pytest.mark.parametrize("seven_bits", [False, True])
@pytest.mark.parametrize("columns", [48, 600, 1536])
def test_a_product_is_the_engines_bit_for_bit(columns: int, seven_bits: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(columns)
    weight = (rng.normal(size=(33, columns)) * rng.lognormal(size=(33, 1))).astype(np.float32)
    weight[3] = 0
    bias = rng.normal(size=33).astype(np.float32)
    session = engine(weight, bias, seven_bits, tmp_path)
    module = linear(weight, bias)
    layers.attach(module, {"": "int8-7bit" if seven_bits else "int8"}, apart=False)
    for size in (1e-3, 1.0, 30.0):
        values = (rng.normal(size=(2, 7, columns)) * size + rng.normal()).astype(np.float32)
        (expected,) = session.run(None, {"x": values})
        assert np.array_equal(module(torch.from_numpy(values)).detach().numpy(), expected)


@pytest.mark.parametrize(("columns", "largest"), [(518, 127), (519, 127), (3072, 127), (1028, 64), (3072, 64)])
def test_sums_of_the_largest_codes_are_exact(columns: int, largest: int) -> None:
    codes, weights = torch.full((1, columns), 255.0), torch.full((1, columns), float(largest))
    assert layers.integer_product(codes, weights, largest).item() == np.float32(255 * largest * columns)
    weights[0, 0] = largest - 1  # an odd sum beyond 2^24 shows what float32 alone would lose
    exact = 255 * largest * columns - 255
    assert layers.integer_product(codes, weights, largest).item() == np.float32(exact)


@pytest.mark.parametrize("apart", [True, False])
def test_gradients_pass_straight_through_and_reach_the_ranges(apart: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(3, 5, 40, generator=generator, requires_grad=True)
    module = linear(np.random.default_rng(0).normal(size=(20, 40)).astype(np.float32), np.zeros(20, np.float32))
    wanted = torch.randn(3, 5, 20, generator=generator)
    layers.attach(module, {"": "int8"}, apart=apart)
    found = torch.autograd.grad(module(values), (values, module.weight, module.bias), wanted)

    # The same by autograd alone: only `round` is passed straight through, the step depends on the largest and smallest.
    axes = (1, 2) if apart else (0, 1, 2)
    low = values.amin(dim=axes, keepdim=True).clamp(max=0)
    high = values.amax(dim=axes, keepdim=True).clamp(min=0)
    step = (high - low) / 255
    codes = grids.dynamic_uint8(values.detach(), apart=apart).codes
    rounded = layers.straight_through(values / step, codes) * step
    weight = layers.straight_through(module.weight, grids.int8_rows(module.weight, 127).values)
    product = nn.functional.linear(rounded, weight, module.bias)
    expected = torch.autograd.grad(product, (values, module.weight, module.bias), wanted)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_straight_through_is_the_rounded_value_exactly() -> None:
    values = torch.tensor([0.1, -1e-8, 3e7], requires_grad=True)
    rounded = torch.tensor([0.3, 0.0, 1.0])
    out = layers.straight_through(values, rounded)
    assert torch.equal(out.detach(), rounded)
    (gradient,) = torch.autograd.grad(out.sum(), values)
    assert torch.equal(gradient, torch.ones(3))


def test_a_detached_module_is_what_it_was_and_a_copy_goes_its_own_way() -> None:
    module = nn.Sequential(nn.Embedding(10, 64), nn.Linear(64, 32), nn.Linear(32, 32))
    ids = torch.arange(6)[None]
    before = module(ids)
    layers.attach(module, {"0": "uint8-table", "1": "int8", "2": "q4_0"})
    assert not torch.equal(module(ids), before)
    other = copy.deepcopy(module)
    assert torch.equal(other(ids), module(ids))
    with torch.no_grad():
        other[1].weight.zero_()
    assert not torch.equal(other(ids), module(ids))
    layers.detach(module)
    assert torch.equal(module(ids), before)
    assert list(module.state_dict()) == ["0.weight", "1.weight", "1.bias", "2.weight", "2.bias"]


def test_settled_weights_answer_as_the_trained_ones_did() -> None:
    module = nn.Sequential(nn.Embedding(10, 64), nn.Linear(64, 32), nn.Linear(32, 32))
    kinds: dict[str, layers.Kind] = {"0": "uint8-table", "1": "int8-7bit", "2": "q4_0"}
    layers.attach(module, kinds)
    before = module(torch.arange(6)[None])
    layers.settle(module, kinds)
    assert torch.allclose(module(torch.arange(6)[None]), before, rtol=1e-5, atol=1e-6)
    settled = copy.deepcopy(module.state_dict())
    layers.settle(module, kinds)
    assert all(torch.equal(settled[name], each) for name, each in module.state_dict().items())


def test_a_table_that_scales_what_it_gives_is_no_plain_one() -> None:
    class Scaled(nn.Embedding):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids) * 8

    assert layers.is_plain(nn.Embedding(4, 8))
    assert layers.is_plain(nn.Linear(4, 8))
    assert not layers.is_plain(Scaled(4, 8))


def test_padding_counts_for_no_range() -> None:
    """A text in a batch of longer ones is computed, and learns, as if it were alone."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 4)
    layers.attach(layer, {"": "int8"})
    texts = [torch.randn(length, 8, requires_grad=True) for length in (3, 5)]
    alone = [layer(each[None])[0] for each in texts]
    wanted = torch.autograd.grad(sum(each.square().sum() for each in alone), texts)  # type: ignore[arg-type]
    padding = 50 * torch.randn(2, 8)  # would set the range, and every step with it
    batch = torch.stack([torch.cat([texts[0], padding]), texts[1]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    with layers.padded_by(mask):
        found = layer(batch)
    torch.testing.assert_close(found[0, :3], alone[0], rtol=0, atol=0)
    torch.testing.assert_close(found[1], alone[1], rtol=0, atol=0)
    kept = (found * mask.unsqueeze(-1)).square().sum()
    for one, other in zip(torch.autograd.grad(kept, texts), wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(layer(batch)[0, :3], alone[0])
