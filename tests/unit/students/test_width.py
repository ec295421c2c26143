"""The most important stay, in their order; heads go by whole groups where they share keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadModel
from edgekit.students.families import family_of
from edgekit.students.importance import Scores
from edgekit.students.shape import Shape
from edgekit.students.width import choice, most

SHAPE = Shape(layers=2, hidden=8, heads=4, kv_heads=2, head_size=2, inner=6)
DECODER, ENCODER, MPNET = family_of("llama"), family_of("bert"), family_of("mpnet")


def scores(shape: Shape = SHAPE, seed: int = 0) -> Scores:
    draw = np.random.default_rng(seed)
    per_head = (shape.layers, shape.heads, shape.head_size)
    return Scores(
        "taylor",
        heads=draw.random(per_head[:2]),
        value=draw.random(per_head),
        query=draw.random(per_head),
        inner=draw.random((shape.layers, shape.inner)),
        hidden=draw.random(shape.hidden),
        pooled=draw.random(shape.hidden),
        layers=draw.random(shape.layers),
    )


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.data())
def test_the_highest_are_kept_in_order(values: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(values)))
    kept = most(np.array(values, dtype=np.float64), count)
    assert list(kept) == sorted(set(kept.tolist()))
    assert sorted(np.array(values)[kept].tolist()) == sorted(values)[len(values) - count :]


def test_whole_groups_of_heads_go_with_their_keys() -> None:
    measured = replace(scores(), heads=np.array([[5.0, 0, 1, 1], [0, 0, 9, 0]]))
    kept = choice(SHAPE, replace(SHAPE, heads=2, kv_heads=1), DECODER, measured, [0, 1])
    assert kept.heads[0].tolist() == [0, 1]
    assert kept.kv_heads[0].tolist() == [0]
    assert kept.heads[1].tolist() == [2, 3]
    assert kept.kv_heads[1].tolist() == [1]


def test_as_many_heads_of_each_group_go_where_the_keys_stay() -> None:
    measured = replace(scores(), heads=np.array([[5.0, 0, 1, 2], [0, 3, 9, 0]]))
    kept = choice(SHAPE, replace(SHAPE, heads=2), DECODER, measured, [0, 1])
    assert kept.heads[0].tolist() == [0, 3]
    assert kept.heads[1].tolist() == [1, 2]
    assert kept.kv_heads[0].tolist() == [0, 1]


def test_layers_that_share_a_table_keep_the_same_heads() -> None:
    shape = replace(SHAPE, kv_heads=4)
    kept = choice(shape, replace(shape, hidden=4, heads=2, kv_heads=2), MPNET, scores(shape), [0, 1])
    assert kept.heads[0].tolist() == kept.heads[1].tolist()


def test_smaller_heads_keep_their_best_channels() -> None:
    shape = replace(SHAPE, kv_heads=4)
    measured = scores(shape)
    kept = choice(shape, replace(shape, hidden=4, head_size=1), ENCODER, measured, [0, 1])
    assert kept.heads[0].tolist() == [0, 1, 2, 3]
    assert kept.value[1][:, 0].tolist() == measured.value[1].argmax(axis=1).tolist()
    assert measured.query is not None
    assert kept.query[1][:, 0].tolist() == measured.query[1].argmax(axis=1).tolist()
    rows = kept.rows("key", 1, 2)
    assert rows is not None
    assert rows.tolist() == [2 * head + int(measured.query[1][head].argmax()) for head in range(4)]


@given(st.integers(0, 100))
def test_keeping_everything_keeps_everything(seed: int) -> None:
    kept = choice(SHAPE, SHAPE, DECODER, scores(seed=seed), [0, 1])
    for axis, size in (("hidden", 8), ("query", 8), ("out", 8), ("key", 4), ("value", 4), ("inner", 6)):
        rows = kept.rows(axis, 1, 2)  # type: ignore[arg-type]
        assert rows is not None
        assert rows.tolist() == list(range(size))
    assert kept.rows("fixed", 1, 2) is None


def test_scores_of_another_model_are_refused() -> None:
    with pytest.raises(BadModel, match="2 layers with 4 heads, the model has 3"):
        choice(replace(SHAPE, layers=3), SHAPE, DECODER, scores(), [0, 1])
