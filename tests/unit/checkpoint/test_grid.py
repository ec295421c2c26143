"""Grids found from values alone: never where there is none, always where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.checkpoint import grid


def spread_values(distribution: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    draw = {
        "normal": lambda: rng.normal(size=(64, 32)),
        "uniform": lambda: rng.uniform(-1, 1, (64, 32)),
        "heavy": lambda: rng.standard_t(2, (64, 32)),
        "offset": lambda: rng.normal(5, 1, (64, 32)),
    }
    values = draw[distribution]().astype(np.float32)
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # as bfloat16 holds them


@pytest.mark.parametrize("distribution", ["normal", "uniform", "heavy", "offset"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_float_weights_lie_on_no_4_bit_grid(distribution: str, seed: int) -> None:
    values = spread_values(distribution, seed)
    rounding = grid.rounding_of("BF16")
    assert not grid.fit_symmetric(values, 4, rounding).on_grid.any()
    assert not grid.fit_affine(values, 4, rounding).on_grid.any()
    assert not grid.fit_symmetric(values, 8, grid.EXACT).on_grid.any()
    assert not grid.fit_mxfp4(values).on_grid.any()


@settings(max_examples=100, deadline=None)
@given(
    bits=st.sampled_from([2, 3, 4, 5, 8]),
    seed=st.integers(0, 2**32),
    largest=st.integers(1, 128),
    both=st.booleans(),
)
def test_every_symmetric_grid_is_found_whatever_its_largest_code(
    bits: int, seed: int, largest: int, both: bool
) -> None:
    half = 1 << (bits - 1)
    largest = min(largest, half - 1) if both else min(largest, half)
    rng = np.random.default_rng(seed)
    codes = rng.integers(-largest, largest if not both else largest + 1, (4, 32))
    codes[:, 0] = -largest
    if both:
        codes[:, 1] = largest
    steps = np.exp(rng.uniform(-9, 2, (4, 1))).astype(np.float32)
    fit = grid.fit_symmetric((codes * steps).astype(np.float32), bits, grid.EXACT)
    assert fit.on_grid.all()
    assert (fit.codes >= -half).all()
    assert (fit.codes < half).all()
    np.testing.assert_allclose(fit.codes * fit.step[:, None], codes * steps, rtol=1e-6)


@settings(max_examples=100, deadline=None)
@given(bits=st.sampled_from([2, 4, 5]), seed=st.integers(0, 2**32), largest=st.integers(1, 31), zero=st.integers(0, 31))
def test_every_affine_grid_is_found(bits: int, seed: int, largest: int, zero: int) -> None:
    top = (1 << bits) - 1
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, min(largest, top) + 1, (4, 32))
    steps = np.exp(rng.uniform(-9, 2, (4, 1))).astype(np.float32)
    values = ((codes - min(zero, top)) * steps).astype(np.float32)
    fit = grid.fit_affine(values, bits, grid.EXACT)
    assert fit.on_grid.all()
    found = fit.codes * fit.step[:, None] + fit.minimum[:, None]
    np.testing.assert_allclose(found, values, atol=float(steps.max()) * 1e-4)


def test_a_block_proves_something_with_four_codes_or_more() -> None:
    codes = np.zeros((3, 32), np.float32)
    codes[1, :2] = [1, -1]
    codes[2, :3] = [1, -1, 2]
    fit = grid.fit_symmetric(codes, 4, grid.EXACT)
    assert fit.on_grid.tolist() == [True, True, True]
    assert grid.informative(fit).tolist() == [False, False, True]


@settings(max_examples=60, deadline=None)
@given(bits=st.integers(1, 9), count=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_a_stream_of_bits_comes_back(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (3, count))
    words = -(-count * bits // 32)
    streams = [sum(int(code) << (bits * at) for at, code in enumerate(row)) for row in codes]
    packed = np.array([[(stream >> (32 * at)) & 0xFFFFFFFF for at in range(words)] for stream in streams], np.uint32)
    np.testing.assert_array_equal(grid.unpack(packed, bits, count), codes)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 40])
def test_samples_reach_from_the_first_to_the_last(count: int) -> None:
    names = [f"{number:02}" for number in range(count)]
    found = grid.spread(names, 16)
    assert (found[0], found[-1], len(found)) == (names[0], names[-1], min(count, 16))
    assert found == sorted(set(found))
