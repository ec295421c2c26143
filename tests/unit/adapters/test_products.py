"""The formulas, held against the plainest way to write them, whole matrices at a time in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.adapters.products import (
    LowRank,
    adding,
    adding_vector,
    combined,
    replacing_rows,
    row_blocks,
    with_magnitudes,
)

SIZES = st.integers(1, 9)


def low_rank(seed: int, inputs: int, outputs: int, rank: int, transposed: bool = False) -> LowRank:
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((rank, inputs)), random.standard_normal((outputs, rank))
    return LowRank(a.astype(np.float32), b.astype(np.float32), float(random.uniform(0.1, 3)), transposed)


def whole(product: LowRank) -> np.ndarray:
    found = product.scaling * product.b.astype(np.float64) @ product.a.astype(np.float64)
    return found.T if product.transposed else found


@given(st.integers(0, 99), SIZES, SIZES, SIZES, st.booleans(), st.data())
def test_any_rows_are_those_of_the_whole_product(
    seed: int, inputs: int, outputs: int, rank: int, transposed: bool, data: st.DataObject
) -> None:
    product = low_rank(seed, inputs, outputs, rank, transposed)
    count = inputs if transposed else outputs
    first = data.draw(st.integers(0, count - 1))
    rows = slice(first, data.draw(st.integers(first + 1, count)))
    np.testing.assert_allclose(product.rows(rows), whole(product)[rows], rtol=1e-4, atol=1e-4)


@given(st.integers(0, 99), SIZES, SIZES, SIZES, st.booleans())
def test_magnitudes_are_the_norms_of_what_comes_out(
    seed: int, inputs: int, outputs: int, rank: int, transposed: bool
) -> None:
    """DoRA: each output's weights have the length that its magnitude says, and the direction of W + dW."""
    product = low_rank(seed, inputs, outputs, rank, transposed)
    random = np.random.default_rng(seed + 1)
    shape = (inputs, outputs) if transposed else (outputs, inputs)
    weight = random.standard_normal(shape).astype(np.float32)
    magnitudes = random.uniform(0.5, 2, outputs).astype(np.float32)
    step = with_magnitudes(product, magnitudes, lambda rows: weight[rows], shape)
    found = np.concatenate(
        [step(weight[rows].copy(), rows) for rows in (slice(0, 1), slice(1, len(weight))) if rows.stop > rows.start]
    )
    axis = 0 if transposed else 1
    np.testing.assert_allclose(np.linalg.norm(found, axis=axis), magnitudes, rtol=1e-4)
    wanted = weight + whole(product)
    scale = magnitudes / np.linalg.norm(wanted, axis=axis)
    np.testing.assert_allclose(found, wanted * (scale if transposed else scale[:, None]), rtol=1e-3, atol=1e-4)


def test_products_add_up_on_a_convolution_too() -> None:
    products = [low_rank(seed, 18, 4, 2) for seed in (1, 2)]
    weight = np.ones((4, 2, 3, 3), np.float32)
    found = adding(products)(weight, slice(0, 4))
    wanted = weight + sum(whole(each) for each in products).reshape(weight.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_linear_combination_adds_the_factors() -> None:
    """As PEFT 0.21, add_weighted_adapter(combination_type="linear"): sqrt(w s) on either side, the sign on A's."""
    one, two = low_rank(1, 5, 4, 2), low_rank(2, 5, 4, 2)
    found = combined([one, two], [0.7, -0.3])
    f, g = 0.7 * one.scaling, 0.3 * two.scaling
    a = np.sqrt(f) * one.a - np.sqrt(g) * two.a
    b = np.sqrt(f) * one.b + np.sqrt(g) * two.b
    np.testing.assert_allclose(whole(found), b @ a, rtol=1e-4, atol=1e-5)
    alone = combined([one], [2.0])
    np.testing.assert_allclose(whole(alone), 2 * whole(one), rtol=1e-4, atol=1e-5)


def test_vectors_and_rows() -> None:
    values = np.zeros((3, 2), np.float32)
    step = replacing_rows((4, 1, 3), np.array([[4, 4], [1, 1], [3, 3]], np.float32))
    assert step(values, slice(3, 6)).tolist() == [[3, 3], [4, 4], [0, 0]]
    assert adding_vector(np.arange(5, dtype=np.float32))(np.ones(2, np.float32), slice(3, 5)).tolist() == [4, 5]


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5), (5 * 2**20, 2), (3, 3 * 2**21)])
def test_blocks_cover_every_row_once(shape: tuple[int, ...]) -> None:
    blocks = list(row_blocks(shape))
    rows = [row for block in blocks for row in range(block.start, block.stop)]
    assert rows == list(range(shape[0] if shape else 1))
    if len(shape) > 1:
        assert max(block.stop - block.start for block in blocks) * shape[1] <= max(4 * 2**20, shape[1])
