"""Bytes of the file from shapes alone: which tensors count, and how many bytes each keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.shaped_models import bert, picture_model, shaped
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Estimate
from edgekit.model import SourceModel, TensorInfo
from edgekit.strategies.onnx.disk import fp32_disk_bytes, int8_disk_bytes


def matrix(name: str, rows: int = 1000, columns: int = 1000, dtype: str = "F32") -> TensorInfo:
    return TensorInfo(name, dtype, (rows, columns))


def weights(estimate: Estimate, nodes: float) -> float:
    """The middle of the weights' own interval: of `nodes` bytes of operators 0.4 and 1.6 times are the ends."""
    low, high = (estimate.low - 0.4 * nodes) / 0.998, (estimate.high - 1.6 * nodes) / 1.002
    assert low == pytest.approx(high)
    return low


def test_fp32_counts_four_bytes_whatever_the_checkpoint_stores() -> None:
    full, half = shaped(matrix("a.weight")), shaped(matrix("a.weight", dtype="BF16"))
    assert fp32_disk_bytes(full) == fp32_disk_bytes(half)
    assert weights(fp32_disk_bytes(full), 9000 + 2500) == pytest.approx(4e6)


def test_dynamic_int8_keeps_convolutions_heads_and_biases_in_four_bytes() -> None:
    tensors = (
        matrix("embeddings.word.weight"),
        matrix("layer.weight"),
        TensorInfo("layer.bias", "F32", (1000,)),
        TensorInfo("scale", "F32", ()),
        TensorInfo("patch.weight", "F32", (10, 3, 10, 10)),
        TensorInfo("classifier.weight", "F32", (3, 1000)),
    )
    expected = 1e6 + (1e6 + 5 * 1000) + 4 * 1000 + 4 + 4 * 3000 + 4 * 3000
    assert weights(int8_disk_bytes(shaped(*tensors)), 9000 + 2 * 3600 + 700) == pytest.approx(expected)


def test_batch_norms_and_biases_are_folded_into_convolutions() -> None:
    vectors = ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    tensors = [TensorInfo(name, "F32", (100,)) for name in vectors]
    net = picture_model(TensorInfo("conv.weight", "F32", (100, 100, 3, 3)), *tensors)
    assert weights(fp32_disk_bytes(net), 9000 + 700) == pytest.approx(4 * 90_000 + 4 * 100)
    assert weights(int8_disk_bytes(net), 9000 + 2600) == pytest.approx(90_000 + 17 * 100)


def test_of_a_module_nothing_says_how_many_operators_there_are() -> None:
    checkpoint, module = shaped(matrix("a.weight")), shaped(matrix("a.weight"), format="torch", text=None)
    assert fp32_disk_bytes(module).low < fp32_disk_bytes(checkpoint).low
    assert fp32_disk_bytes(module).high == fp32_disk_bytes(checkpoint).high


def test_an_onnx_file_is_carried_over_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(4_200_000))
    model = shaped(matrix("w"), format="onnx", file=path, folder=tmp_path, files=(Path("m.onnx"),))
    assert fp32_disk_bytes(model) == Estimate(4_200_000, 4_200_000, "the source file's size")
    low, high = int8_disk_bytes(model).low, int8_disk_bytes(model).high
    assert low < 1e6 + 5000 + 1.4 * 200_000 < high
    unknown: SourceModel = shaped(format="onnx", file=path, folder=tmp_path, files=(Path("m.onnx"),))
    assert (int8_disk_bytes(unknown).low, int8_disk_bytes(unknown).high) == (1_050_000, 4_200_000)


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=8))
def test_int8_never_costs_more_than_fp32_where_it_pays(shapes: list[tuple[int, int]]) -> None:
    net = shaped(*(matrix(f"layer.{i}.weight", 64 + rows, 64 + columns) for i, (rows, columns) in enumerate(shapes)))
    small, large = int8_disk_bytes(net), fp32_disk_bytes(net)
    assert small.low < large.low
    assert all(disk.low <= disk.high for disk in (small, large))


@given(layers=st.integers(1, 6), scale=st.integers(1, 8))
def test_more_layers_are_more_bytes(layers: int, scale: int) -> None:
    fewer, more = (bert(layers=n, width=16 * scale, inner=64 * scale) for n in (layers, layers + 1))
    assert fp32_disk_bytes(fewer).mid < fp32_disk_bytes(more).mid
    assert int8_disk_bytes(fewer).mid < int8_disk_bytes(more).mid
