"""Blocks: what comes out stands for what went in, and nothing that would abort ggml gets to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.errors import BadModel
from edgekit.strategies.gguf.blocks import encode
from edgekit.strategies.gguf.presets import BLOCKS, GgmlType

pytestmark = pytest.mark.engines

# The largest error of a value in units of its block's largest magnitude, from each type's step.
STEPS: dict[GgmlType, float] = {
    "Q8_0": 1 / 127, "Q4_0": 1 / 7, "Q5_0": 1 / 15, "Q5_1": 2 / 31, "Q4_K": 0.2, "Q5_K": 0.1, "Q6_K": 0.06,
}  # fmt: skip


@pytest.mark.parametrize("ggml_type", STEPS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 3), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_blocks_keep_values_within_their_step(ggml_type: GgmlType, seed: int, rows: int, scale: float) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    values = np.random.default_rng(seed).normal(size=(rows, 512)).astype(np.float32) * np.float32(scale)
    data = np.frombuffer(encode(values, ggml_type, "w"), np.uint8)
    size, size_bytes = BLOCKS[ggml_type]
    assert data.nbytes == values.size // size * size_bytes
    found = dequantize(data.reshape(rows, -1), GGMLQuantizationType[ggml_type])
    largest = np.abs(values.reshape(-1, size)).max(axis=1, keepdims=True)
    error = np.abs(found - values).reshape(-1, size)
    assert (error <= STEPS[ggml_type] * largest).all()


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (2, 5), elements=st.floats(-60000, 60000, width=32)))
def test_halves_are_gguf_s_own(values: np.ndarray) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    for ggml_type in ("F16", "BF16"):
        expected = quantize(values, GGMLQuantizationType[ggml_type]).tobytes()
        assert bytes(encode(values, ggml_type, "w")) == expected


def test_float32_is_kept_bit_for_bit() -> None:
    values = np.array([[1.5, -0.0, 1e-42]], np.float32)
    assert bytes(encode(values, "F32", "w")) == values.tobytes()


@pytest.mark.parametrize("value", [70000.0, -70000.0])
def test_a_value_f16_cannot_hold_is_refused_by_name(value: float) -> None:
    with pytest.raises(BadModel, match="w: a value beyond 65504 cannot be stored as F16"):
        encode(np.array([[value]], np.float32), "F16", "w")


def test_a_value_no_scale_can_hold_is_refused_by_name() -> None:
    with pytest.raises(BadModel, match="w: a value is too large for the scales of Q8_0"):
        encode(np.full((1, 32), 1e30, np.float32), "Q8_0", "w")


@pytest.mark.parametrize(("ggml_type", "columns"), [("Q6_K", 896), ("Q8_0", 40), ("Q4_K", 32)])
def test_broken_blocks_do_not_reach_ggml(ggml_type: GgmlType, columns: int) -> None:
    with pytest.raises(ValueError, match="do not divide"):
        encode(np.zeros((2, columns), np.float32), ggml_type, "w")
