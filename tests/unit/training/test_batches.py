from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import BadEvalData, TooLittleData
from edgekit.training.batches import plan, split


def texts(lengths: list[int]) -> list[dict[str, np.ndarray]]:
    """Ids that tell which example they are of."""
    return [
        {"input_ids": np.full(length, 7 + at, np.int32), "attention_mask": np.ones(length, np.int32)}
        for at, length in enumerate(lengths)
    ]


@settings(deadline=None)
@given(count=st.integers(160, 3000), seed=st.integers(0, 2**40))
def test_the_three_parts_are_all_and_share_nothing(count: int, seed: int) -> None:
    parts = split(count, seed)
    together = np.concatenate([parts.train, parts.validation, parts.held_out])
    assert sorted(together) == list(range(count))
    assert len(parts.held_out) == max(64, count // 10)
    assert len(parts.validation) >= 32
    assert len(parts.train) >= 64
    again = split(count, seed)
    assert all(
        np.array_equal(getattr(parts, each), getattr(again, each)) for each in ("train", "validation", "held_out")
    )


def test_another_seed_holds_out_other_examples() -> None:
    assert not np.array_equal(split(1000, 0).held_out, split(1000, 1).held_out)


def test_too_little_data_says_how_much_is_needed() -> None:
    with pytest.raises(TooLittleData, match="159 different examples; at least 160 are needed: 64 held out, 32 to stop"):
        split(159, 0)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 400), min_size=600, max_size=900), st.integers(0, 99))
def test_equal_examples_fall_on_one_side(groups: list[int], seed: int) -> None:
    if len(set(groups)) < 160:
        with pytest.raises(TooLittleData, match="the others repeat them"):
            split(len(groups), seed, groups)
        return
    parts = split(len(groups), seed, groups)
    sides = [{groups[index] for index in each} for each in (parts.train, parts.validation, parts.held_out)]
    assert sides[0] | sides[1] | sides[2] == set(groups)
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=300),
    st.integers(1, 9),
    st.integers(0, 2**33),
    st.integers(0, 50),
    st.booleans(),
)
def test_an_epoch_is_every_example_once(lengths: list[int], size: int, seed: int, epoch: int, shuffled: bool) -> None:
    counts, indices = np.array(lengths), np.arange(len(lengths)) + 1000
    made = plan(counts, indices, size, seed, epoch, shuffled=shuffled)
    assert Counter(np.concatenate(made).tolist()) == Counter(indices.tolist())
    assert all(1 <= len(each) <= size for each in made)
    assert sum(len(each) < size for each in made) <= 1
    again = plan(counts, indices, size, seed, epoch, shuffled=shuffled)
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))


def test_epochs_and_seeds_differ_in_order() -> None:
    counts, indices = np.ones(100, np.int64), np.arange(100)
    orders = [np.concatenate(plan(counts, indices, 8, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(orders[a], orders[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_batches_are_of_like_lengths() -> None:
    """Of 4000 texts between 1 and 100 tokens, a batch of 8 is padded by a few per cent only."""
    counts = np.random.default_rng(0).integers(1, 101, 4000)
    made = plan(counts, np.arange(4000), 8, 0, 0)
    cells = sum(len(each) * counts[each].max() for each in made)
    assert cells < 1.05 * counts.sum()
    assert np.mean([counts[each].mean() for each in made[:100]]) == pytest.approx(counts.mean(), abs=8)


@pytest.mark.engines
def test_texts_are_padded_on_the_right_and_masked() -> None:
    import torch

    from edgekit.training.batches import batches

    labels = [np.array([1, 2], np.int64), np.array([3], np.int64), np.array([4, 5, 6], np.int64)]
    (batch,) = batches(texts([2, 1, 3]), np.arange(3), 4, 0, 0, 99, labels, shuffled=False)
    assert batch.indices.tolist() == [1, 0, 2]
    assert batch.inputs["input_ids"].tolist() == [[8, 99, 99], [7, 7, 99], [9, 9, 9]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert batch.inputs["input_ids"].dtype == torch.int64
    assert batch.labels is not None
    assert batch.labels.tolist() == [[3, -100, -100], [1, 2, -100], [4, 5, 6]]


@pytest.mark.engines
def test_pictures_and_their_classes_are_stacked() -> None:
    import torch

    from edgekit.training.batches import collated

    pictures = [{"pixel_values": np.full((3, 4, 4), at, np.float64)} for at in range(3)]
    batch = collated(pictures, np.array([2, 0]), labels=[np.array(at, np.int64) for at in (5, 6, 7)])
    assert batch.inputs["pixel_values"].shape == (2, 3, 4, 4)
    assert batch.inputs["pixel_values"].dtype == torch.float32
    assert batch.inputs["pixel_values"][0, 0, 0, 0] == 2
    assert batch.labels is not None
    assert batch.labels.tolist() == [7, 5]


@pytest.mark.engines
def test_pictures_of_two_sizes_are_refused() -> None:
    from edgekit.training.batches import collated

    pictures = [{"pixel_values": np.zeros((3, size, size), np.float32)} for size in (4, 8)]
    with pytest.raises(BadEvalData, match=r"pixel_values has the shapes \[3, 4, 4\], \[3, 8, 8\]"):
        collated(pictures, np.array([0, 1]))


@pytest.mark.engines
def test_weights_count_what_a_loss_is_a_mean_over() -> None:
    from edgekit.training.batches import collated, predicted_tokens, rows, tokens

    batch = collated(texts([2, 1, 3]), np.arange(3))
    assert (rows(batch), tokens(batch), predicted_tokens(batch)) == (3, 6, 3)
