"""Transforms of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.strategies.gguf.targets import Target, permute_rotary, plus_one


@given(heads=st.integers(1, 5), pairs=st.integers(1, 8), columns=st.integers(1, 4))
def test_rotary_order_pairs_each_row_with_its_other_half(heads: int, pairs: int, columns: int) -> None:
    head_dim = 2 * pairs
    rows = np.arange(heads * head_dim * columns, dtype=np.float32).reshape(-1, columns)
    found = permute_rotary(head_dim)(rows)
    for head in range(heads):
        for pair in range(pairs):
            base = head * head_dim
            np.testing.assert_array_equal(found[base + 2 * pair], rows[base + pair])
            np.testing.assert_array_equal(found[base + 2 * pair + 1], rows[base + pair + pairs])


@given(heads=st.integers(2, 6), split=st.integers(1, 5), pairs=st.integers(1, 4))
def test_whole_heads_may_be_permuted_apart(heads: int, split: int, pairs: int) -> None:
    """What lets the writer stream: blocks of the granule do not depend on one another."""
    rows = np.arange(heads * 2 * pairs, dtype=np.float32)
    permute, at = permute_rotary(2 * pairs), min(split, heads - 1) * 2 * pairs
    np.testing.assert_array_equal(permute(rows), np.concatenate([permute(rows[:at]), permute(rows[at:])]))


def test_norms_get_their_one_in_float32() -> None:
    found = plus_one(np.array([-1.0, 0.25], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0.0, 1.25])


def test_a_target_knows_its_layer_and_its_rows() -> None:
    target = Target("blk.12.attn_q.weight", (8, 4))
    assert (target.layer, target.rows, target.columns, target.elements) == (12, 8, 4, 32)
    assert Target("output.weight", (8, 4)).layer is None
    assert (Target("output_norm.weight", (8,)).rows, Target("output_norm.weight", (8,)).columns) == (1, 8)
