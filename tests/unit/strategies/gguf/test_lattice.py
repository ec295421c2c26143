"""Carrying: what lies on a grid comes back as it was, whichever codes a block happens to hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import BadModel
from edgekit.strategies.gguf.blocks import encode
from edgekit.strategies.gguf.lattice import CARRIERS, Tally, carry, unpack_blocks
from edgekit.strategies.gguf.presets import BLOCKS, GgmlType

pytestmark = pytest.mark.engines

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def lattice(ggml_type: GgmlType, seed: int, blocks: int, narrow: bool) -> np.ndarray:
    """Random blocks [blocks, 32] on the grid of a type, with steps in float16; `narrow` ones use a few codes only."""
    rng = np.random.default_rng(seed)
    step = np.exp(rng.uniform(-7, -1, (blocks, 1))).astype(np.float16).astype(np.float32)
    low, high = {"Q4_0": (-8, 8), "Q4_1": (0, 16), "Q8_0": (-128, 128), "MXFP4": (0, 16)}[ggml_type]
    if narrow:
        low, high = low // 5, max(high // 5, 2)
    codes = rng.integers(low, high, (blocks, 32))
    if ggml_type == "MXFP4":
        return (E2M1[codes] * 2.0 ** rng.integers(-12, 3, (blocks, 1))).astype(np.float32)
    zero = rng.integers(0, 16, (blocks, 1)) if ggml_type == "Q4_1" else 0
    return ((codes - zero) * step).astype(np.float32)


def decode(data: memoryview, ggml_type: GgmlType) -> np.ndarray:
    """By gguf's own reader of blocks."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    blocks = np.frombuffer(data, np.uint8).reshape(-1, BLOCKS[ggml_type][1])
    np.testing.assert_array_equal(unpack_blocks(blocks, ggml_type), dequantize(blocks, GGMLQuantizationType[ggml_type]))
    return unpack_blocks(blocks, ggml_type)


@pytest.mark.parametrize("ggml_type", CARRIERS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), blocks=st.integers(1, 12), narrow=st.booleans())
def test_a_lattice_comes_back(ggml_type: GgmlType, seed: int, blocks: int, narrow: bool) -> None:
    values = lattice(ggml_type, seed, blocks, narrow)
    tally = Tally()
    found = decode(carry(values.reshape(1, -1), ggml_type, "INT4", "w", tally), ggml_type)
    assert (tally.blocks, tally.off_grid) == (blocks, 0)
    if ggml_type == "Q4_1":  # the minimum is the zero point times the step, which float16 may have to round
        step = np.abs(np.diff(np.sort(values, axis=1), axis=1))
        smallest = np.where(step > 1e-7, step, np.inf).min(axis=1, keepdims=True)
        assert (np.abs(found - values) <= 0.02 * np.where(np.isinf(smallest), np.abs(values).max(), smallest)).all()
        assert tally.relative_rmse < 1e-3
    else:
        np.testing.assert_array_equal(found, values)
        assert tally.relative_rmse == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["bfloat16", "float16"]))
def test_steps_that_were_rounded_with_their_values_are_found(seed: int, dtype: str) -> None:
    import torch

    rng = np.random.default_rng(seed)
    step = np.exp(rng.uniform(-7, -1, (8, 1))).astype(np.float32)  # as training leaves it: of full precision
    codes = rng.integers(-8, 8, (8, 32))
    values = torch.from_numpy(codes * step).to(getattr(torch, dtype)).float().numpy()
    tally = Tally()
    found = decode(carry(values, "Q4_0", {"bfloat16": "BF16", "float16": "F16"}[dtype], "w", tally), "Q4_0")
    assert tally.off_grid == 0
    assert (np.abs(found - values) <= 2.0**-7 * np.abs(values)).all()
    known = np.square(codes * step.astype(np.float16).astype(np.float32) - values, dtype=np.float64).sum()
    kept = np.square(values, dtype=np.float64).sum()
    assert tally.relative_rmse <= np.sqrt(known / kept) * (1 + 1e-9)  # what knowing the steps would lose


def test_ggml_s_own_quantizer_loses_what_is_carried() -> None:
    values = lattice("Q4_0", 1, 512, narrow=False)
    values[:, 0] = np.clip(values[:, 0], -0.02, 0.02)
    rounded = decode(encode(values, "Q4_0", "w"), "Q4_0")
    assert np.linalg.norm(rounded - values) / np.linalg.norm(values) > 0.02
    np.testing.assert_array_equal(decode(carry(lattice("Q4_0", 1, 512, False), "Q4_0", "INT4", "w"), "Q4_0"),
                                  lattice("Q4_0", 1, 512, False))  # fmt: skip


@pytest.mark.parametrize("ggml_type", CARRIERS)
def test_blocks_off_the_grid_are_rounded_and_counted(ggml_type: GgmlType) -> None:
    values = lattice(ggml_type, 3, 6, narrow=False)
    values[2] = np.random.default_rng(0).normal(size=32)
    tally = Tally()
    data = carry(values, ggml_type, "INT4", "w", tally)
    assert (tally.blocks, tally.off_grid) == (6, 1)
    assert "1 were off it and were rounded" in tally.told()
    size = BLOCKS[ggml_type][1]
    assert bytes(data)[2 * size : 3 * size] == bytes(encode(values[2:3], ggml_type, "w"))
    assert 0 < tally.relative_rmse < 0.2


@pytest.mark.parametrize("ggml_type", CARRIERS)
def test_zeros_are_zeros(ggml_type: GgmlType) -> None:
    values = np.zeros((2, 64), np.float32)
    assert not decode(carry(values, ggml_type, "INT4", "w"), ggml_type).any()


@pytest.mark.parametrize("ggml_type", ["Q4_0", "Q4_1", "Q8_0"])
def test_a_step_that_no_scale_can_hold_is_refused_by_name(ggml_type: GgmlType) -> None:
    values = np.tile(np.arange(-8, 8, dtype=np.float32), (1, 2)) * np.float32(1e8)
    with pytest.raises(BadModel, match="w: a value is too large for the scales"):
        carry(values, ggml_type, "INT4", "w")


def test_what_was_not_carried_costs_nothing() -> None:
    assert Tally().relative_rmse == 0
    assert Tally().told() == "0 blocks carried on their own grid, relative RMSE 0.0e+00"
