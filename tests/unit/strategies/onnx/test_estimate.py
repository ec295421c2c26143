"""Costs from shapes alone: which tensors count, and how many bytes each keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.devices import device, figure
from hypothesis import given
from hypothesis import strategies as st

from edgekit.model import ImageSetup, SourceModel, TensorInfo, TextSetup
from edgekit.strategies.onnx import estimate

ENCODER = {"num_hidden_layers": 2, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}


def model(*tensors: TensorInfo, **fields: Any) -> SourceModel:
    known: dict[str, Any] = {"task": "embedding", "kind": "embedding", "text": TextSetup(128, None), "config": ENCODER}
    return SourceModel(
        name="m", source="m", format="hf", architecture="BertModel", folder=None, tensors=tensors, **(known | fields)
    )


def matrix(name: str, rows: int = 1000, columns: int = 1000, dtype: str = "F32") -> TensorInfo:
    return TensorInfo(name, dtype, (rows, columns))


def test_fp32_counts_four_bytes_whatever_the_checkpoint_stores() -> None:
    full, half = model(matrix("a.weight")), model(matrix("a.weight", dtype="BF16"))
    assert estimate.fp32_disk_bytes(full) == estimate.fp32_disk_bytes(half)
    assert estimate.fp32_disk_bytes(full).low == pytest.approx(0.98 * 4e6)


@pytest.mark.parametrize(
    "unused",
    ["cls.predictions.decoder.weight", "lm_head.dense.weight", "pooler.dense.weight", "bert.pooler.dense.weight"],
)
def test_tensors_that_an_embedding_graph_leaves_behind_do_not_count(unused: str) -> None:
    bare = model(matrix("a.weight"))
    assert estimate.fp32_disk_bytes(model(matrix("a.weight"), matrix(unused))) == estimate.fp32_disk_bytes(bare)


def test_a_classifier_keeps_its_pooler() -> None:
    with_pooler = model(matrix("a.weight"), matrix("bert.pooler.dense.weight"), task="text-classification")
    assert estimate.fp32_disk_bytes(with_pooler).low == pytest.approx(0.98 * 8e6)


def test_integer_buffers_do_not_count() -> None:
    assert estimate.fp32_disk_bytes(model(matrix("position_ids", dtype="I64"))).low == 0


def test_dynamic_int8_keeps_convolutions_heads_and_biases_in_four_bytes() -> None:
    tensors = (
        matrix("embeddings.word.weight"),
        matrix("layer.weight"),
        TensorInfo("layer.bias", "F32", (1000,)),
        TensorInfo("patch.weight", "F32", (10, 3, 10, 10)),
        TensorInfo("classifier.weight", "F32", (3, 1000)),
    )
    expected = 1e6 + (1e6 + 5 * 1000) + 4 * 1000 + 4 * 3000 + 4 * 3000
    assert estimate.int8_disk_bytes(model(*tensors)).low == pytest.approx(0.98 * expected)


def test_static_int8_counts_one_byte_for_convolutions() -> None:
    net = model(TensorInfo("conv.weight", "F32", (100, 100, 3, 3)), task="image-classification", text=None, config={})
    assert estimate.is_convolutional(net.tensors)
    assert estimate.int8_disk_bytes(net).low == pytest.approx(0.98 * (90_000 + 500))


def test_a_patch_embedding_does_not_make_a_convolution_net() -> None:
    patch, token = TensorInfo("patch.weight", "F32", (64, 3, 8, 8)), TensorInfo("position", "F32", (1, 500, 64))
    assert not estimate.is_convolutional((patch, token, matrix("layer.weight")))


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=8))
def test_int8_never_costs_more_than_fp32_where_it_pays(shapes: list[tuple[int, int]]) -> None:
    net = model(*(matrix(f"layer.{i}.weight", 16 + rows, 16 + columns) for i, (rows, columns) in enumerate(shapes)))
    small, large = estimate.int8_disk_bytes(net), estimate.fp32_disk_bytes(net)
    assert small.low < large.low
    for disk in (small, large):
        ram = estimate.ram_bytes(net, disk)
        assert disk.low <= disk.high
        assert disk.low < ram.low < ram.high


def test_longer_inputs_need_more_ram() -> None:
    short = model(matrix("layer.weight"))
    long = replace(short, text=TextSetup(4096, None))
    disk = estimate.fp32_disk_bytes(short)
    assert estimate.ram_bytes(long, disk).high > estimate.ram_bytes(short, disk).high


def test_latency_is_unknown_without_a_rate_or_without_the_work() -> None:
    net = model(matrix("layer.weight"))
    known = device(fp32_flops_per_s=figure(1e11))
    assert estimate.latency_ms(net, device(), 32) is None
    assert estimate.latency_ms(replace(net, config={}), known, 32) is None
    picture = ImageSetup(224, 224, (0.5,) * 3, (0.5,) * 3)
    assert estimate.latency_ms(replace(net, text=None, image=picture), known, 32) is None


def test_latency_is_the_roofline_at_128_tokens() -> None:
    net = model(matrix("layer.weight"))
    found = estimate.latency_ms(net, device(fp32_flops_per_s=figure(1e11)), 32)
    operations = 2 * 1e6 * 128 + 4 * 2 * 512 * 128**2
    assert found is not None
    assert found.low == pytest.approx(1e3 * operations / 1e11)
    integers = estimate.latency_ms(net, device(int8_ops_per_s=figure(4e11)), 8)
    assert integers is not None
    assert integers.low == pytest.approx(found.low / 4)
    guessed = estimate.latency_ms(net, device(fp32_flops_per_s=figure(1e11)), 8)
    assert guessed is not None
    assert guessed.low < found.low < guessed.high


def test_a_vision_transformer_works_on_its_patches() -> None:
    picture = ImageSetup(32, 32, (0.5,) * 3, (0.5,) * 3)
    net = model(matrix("layer.weight"), text=None, image=picture, config=ENCODER | {"patch_size": 8})
    found = estimate.latency_ms(net, device(fp32_flops_per_s=figure(1e11)), 32)
    assert found is not None
    assert found.low == pytest.approx(1e3 * (2 * 1e6 * 17 + 4 * 2 * 512 * 17**2) / 1e11)
