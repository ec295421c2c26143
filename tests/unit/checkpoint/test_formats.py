"""Packed checkpoints: each format's values come back exactly, in any rows, under the float names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.quantized_models import CHECKPOINTS, bit_stream, compressed, gptq, mxfp4, quantized_llama, round_to_grid

from edgekit.checkpoint.formats import unpacked
from edgekit.checkpoint.packed import PackedCheckpoint
from edgekit.checkpoint.safetensors import SafetensorsCheckpoint, safetensors_files
from edgekit.errors import BadModel

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_values_are_those_that_were_packed(kind: str, tmp_path: Path) -> None:
    source = quantized_llama(tmp_path, kind, num_hidden_layers=1)
    with unpacked(SafetensorsCheckpoint(safetensors_files(tmp_path)), CHECKPOINTS[kind][0]) as checkpoint:
        assert set(checkpoint.matrices) == set(source.values)
        for name, expected in source.values.items():
            assert checkpoint.tensors[name].shape == expected.shape
            np.testing.assert_array_equal(checkpoint.read(name), expected)
            np.testing.assert_array_equal(checkpoint.read(name, slice(3, 45)), expected[3:45])
        plain = checkpoint.read("model.norm.weight")
        assert (plain.dtype, plain.shape) == (np.float32, (128,))
        assert not [name for name in checkpoint.tensors if "_proj." in name and name not in source.values]


def stored(folder: Path, tensors: dict[str, Any], setup: dict[str, Any]) -> PackedCheckpoint:
    from safetensors.torch import save_file

    save_file(tensors, folder / "model.safetensors")
    return unpacked(SafetensorsCheckpoint(safetensors_files(folder)), setup)


@pytest.mark.parametrize(
    ("name", "shape", "block"),
    [
        ("weight_scale_inv", (3, 2), [64, 128]),
        ("weight_scale_inv", (2, 2), None),
        ("weight_scale", (), None),
        ("weight_scale", (1,), None),
        ("weight_scale", (160, 1), None),
        ("weight_scale", (160,), None),
    ],
)
def test_fp8_is_scaled_by_tensor_row_and_square(
    name: str, shape: tuple[int, ...], block: list[int] | None, tmp_path: Path
) -> None:
    import torch

    generator = torch.Generator().manual_seed(3)
    codes = torch.randn(160, 200, generator=generator).to(torch.float8_e4m3fn)
    scales = torch.rand(shape, generator=generator) + 0.5
    rows = scales.numel() if scales.ndim < 2 else scales.shape[0]
    columns = scales.shape[1] if scales.ndim == 2 else 1
    height, width = block or (-(-160 // rows), -(-200 // columns))
    grown = scales.reshape(rows, columns).repeat_interleave(height, 0).repeat_interleave(width, 1)[:160, :200]
    setup = {"quant_method": "fp8", "weight_block_size": block}
    with stored(tmp_path, {"a.weight": codes, f"a.{name}": scales, "b.bias": scales.clone()}, setup) as checkpoint:
        expected = (codes.float() * grown).numpy()
        np.testing.assert_array_equal(checkpoint.read("a.weight"), expected)
        np.testing.assert_array_equal(checkpoint.read("a.weight", slice(70, 131)), expected[70:131])
        assert set(checkpoint.tensors) == {"a.weight", "b.bias"}
        assert checkpoint.matrices["a.weight"].info.dtype == "FP8"


def test_fp8_of_compressed_tensors(tmp_path: Path) -> None:
    import torch

    codes = torch.randn(8, 64, generator=torch.Generator().manual_seed(1)).to(torch.float8_e4m3fn)
    scales = torch.rand(8, 1) + 0.5
    setup = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    tensors = {"a.weight": codes, "a.weight_scale": scales, "a.input_scale": torch.ones(1)}
    with stored(tmp_path, tensors, setup) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("a.weight"), (codes.float() * scales).numpy())
        assert set(checkpoint.tensors) == {"a.weight"}


def test_mxfp4_of_compressed_tensors_and_stacks_of_experts(tmp_path: Path) -> None:
    import torch

    rng = np.random.default_rng(0)
    parts, values = mxfp4(rng.normal(size=(6, 64)).astype(np.float32))
    blocks, scales = (torch.from_numpy(parts[name]) for name in ("weight_blocks", "weight_scales"))
    tensors = {"a.weight_packed": blocks.reshape(6, 32), "a.weight_scale": scales}
    with stored(tmp_path, tensors, {"quant_method": "compressed-tensors"}) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("a.weight"), values)
    tensors = {"experts.up_proj_blocks": blocks.reshape(3, 2, 2, 16), "experts.up_proj_scales": scales.reshape(3, 2, 2)}
    with stored(tmp_path, tensors, {"quant_method": "mxfp4"}) as checkpoint:
        assert checkpoint.tensors["experts.up_proj"].shape == (3, 2, 64)
        np.testing.assert_array_equal(checkpoint.read("experts.up_proj", slice(1, 3)), values.reshape(3, 2, 64)[1:])


@pytest.mark.parametrize(("index", "act_order"), [("order", True), ("neighbours", False), ("unset", False)])
def test_compressed_tensors_may_reorder_columns(index: str, act_order: bool, tmp_path: Path) -> None:
    import torch

    rng = np.random.default_rng(1)
    order = rng.permutation(128) if act_order else None
    grid = round_to_grid(rng.normal(size=(16, 128)).astype(np.float32), 4, 32, True, order)
    parts = compressed(grid, symmetric=True)
    parts["weight_g_idx"] = np.full(128, -1) if index == "unset" else grid.group
    tensors = {f"a.{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
    setup = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
    with stored(tmp_path, tensors, setup) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("a.weight"), grid.values)
        assert checkpoint.matrices["a.weight"].act_order is act_order


def test_int8_of_compressed_tensors_may_have_zero_points(tmp_path: Path) -> None:
    import torch

    rng = np.random.default_rng(2)
    codes, zeros = rng.integers(-128, 128, (8, 64), np.int8), rng.integers(-9, 9, (8, 2), np.int8)
    scales = rng.uniform(0.5, 1, (8, 2)).astype(np.float32)
    parts = {"a.weight": codes, "a.weight_scale": scales, "a.weight_zero_point": zeros}
    tensors = {name: torch.from_numpy(part) for name, part in parts.items()}
    with stored(tmp_path, tensors, {"quant_method": "compressed-tensors"}) as checkpoint:
        expected = (codes.astype(np.int32) - zeros.repeat(32, 1)) * scales.repeat(32, 1)
        np.testing.assert_array_equal(checkpoint.read("a.weight", slice(2, 7)), expected[2:7].astype(np.float32))
        assert not checkpoint.matrices["a.weight"].symmetric


def test_scales_in_bfloat16_are_read(tmp_path: Path) -> None:
    import torch

    grid = round_to_grid(np.random.default_rng(3).normal(size=(32, 64)).astype(np.float32))
    parts = {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in gptq(grid).items()}
    parts["scales"] = parts["scales"].to(torch.bfloat16)
    with stored(tmp_path, {f"a.{name}": part for name, part in parts.items()}, {"quant_method": "gptq"}) as checkpoint:
        steps = grid.codes.astype(np.float32) - 8
        expected = steps * parts["scales"].float().numpy().T[:, grid.group]
        np.testing.assert_array_equal(checkpoint.read("a.weight"), expected)


def test_columns_that_are_shared_unevenly_are_refused(tmp_path: Path) -> None:
    import torch

    grid = round_to_grid(np.random.default_rng(4).normal(size=(32, 160)).astype(np.float32), 4, 64)
    parts = {name: part for name, part in gptq(grid).items() if name != "g_idx"}
    tensors = {f"a.{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
    with pytest.raises(BadModel, match=r"'a\.weight' has 160 columns and 3 scales a row, which share them unevenly"):
        stored(tmp_path, tensors, {"quant_method": "gptq", "group_size": 128})


@pytest.mark.parametrize("rows", [32, 36])
def test_short_groups_and_padded_zero_points_of_compressed_tensors(rows: int, tmp_path: Path) -> None:
    import torch

    grid = round_to_grid(np.random.default_rng(4).normal(size=(rows, 160)).astype(np.float32), 4, 64, symmetric=False)
    parts = compressed(grid, symmetric=True)
    padded = np.pad(grid.zeros, ((0, -rows % 8), (0, 0)))
    parts["weight_zero_point"] = np.array([bit_stream(column, 4) for column in padded.T], np.int32).T
    tensors = {f"a.{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
    weights = {"num_bits": 4, "group_size": 64}
    setup = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}
    with stored(tmp_path, tensors, setup) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("a.weight"), grid.values)
        np.testing.assert_array_equal(checkpoint.read("a.weight", slice(17, rows)), grid.values[17:])
        assert checkpoint.matrices["a.weight"].group_size == 64


def test_a_last_group_may_be_short(tmp_path: Path) -> None:
    import torch

    grid = round_to_grid(np.random.default_rng(4).normal(size=(32, 160)).astype(np.float32), 4, 64)
    parts = gptq(grid)
    del parts["g_idx"]
    tensors = {f"a.{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
    with stored(tmp_path, tensors, {"quant_method": "gptq", "group_size": 64}) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("a.weight"), grid.values)
        assert not checkpoint.matrices["a.weight"].act_order
