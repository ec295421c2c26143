"""Figures of fidelity against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.errors import ValidationFailed
from edgekit.fidelity import Truth, compare, cosine, kl_divergence, spearman


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_kl_of_two_coins() -> None:
    fair, biased = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert kl_divergence(fair, biased)[0] == pytest.approx(expected, rel=1e-12)


logits = arrays(np.float32, (3, 5), elements=st.floats(-50, 50, width=32))


@given(logits, logits, st.floats(-20, 20))
def test_kl_is_never_negative_zero_for_equals_and_blind_to_a_shift(a: np.ndarray, b: np.ndarray, shift: float) -> None:
    assert (kl_divergence(a, b) >= 0).all()
    assert kl_divergence(a, a).max() == 0
    np.testing.assert_allclose(
        kl_divergence(a.astype(np.float64) + shift, b.astype(np.float64)),
        kl_divergence(a.astype(np.float64), b.astype(np.float64)),
        rtol=1e-6,
        atol=1e-9,
    )


def test_cosine_of_zero_vectors() -> None:
    assert cosine(vector(0, 0), vector(0, 0)) == 1
    assert cosine(vector(0, 0), vector(0, 1)) == 0
    assert cosine(vector(1, 0), vector(1, 1)) == pytest.approx(math.sqrt(0.5))


def test_embeddings_mean_min_and_neighbours() -> None:
    source = [vector(1, 0), vector(1, 0.1), vector(0, 1), vector(0.1, 1)]
    bundle = [vector(1, 0), vector(1, 0.1), vector(0, 1), vector(1, 0.3)]  # the last one moved over to the first two
    found = compare("embedding", zip(source, bundle, strict=True), Truth())
    last = cosine(source[3], bundle[3])
    assert found.figures["mean cosine"] == pytest.approx((3 + last) / 4)
    assert found.figures["min cosine"] == pytest.approx(last)
    assert found.figures["neighbours kept"] == 0.75  # all but the last keep theirs
    assert len(found.series["cosine"]) == 4


def test_pair_scores_give_spearman_of_both_sides() -> None:
    source = [vector(1, 0), vector(1, 0.1), vector(1, 0), vector(1, 1), vector(1, 0), vector(0, 1)]
    swapped = [*source[:2], *source[4:], *source[2:4]]
    truth = Truth(pair_scores=[5.0, 3.0, 1.0])
    figures = compare("embedding", zip(source, swapped, strict=True), truth).figures
    assert figures["spearman of the source"] == pytest.approx(1.0)
    assert figures["spearman of the bundle"] == pytest.approx(0.5)
    assert figures["drop"] == pytest.approx(0.5)


def test_spearman_ties_and_constants() -> None:
    assert spearman([1, 2, 2, 3], [10, 20, 20, 30]) == pytest.approx(1.0)
    assert spearman([1, 1, 1], [1, 2, 3]) == 0.0


def test_classifier_agreement_accuracy_and_drop() -> None:
    source = [vector(2, 0), vector(0, 2), vector(2, 0), vector(0, 2)]
    bundle = [vector(2, 0), vector(0, 2), vector(0, 2), vector(0, 2)]
    targets = [[(0, 0)], [(0, 1)], [(0, 0)], [(0, 0)]]
    figures = compare("text-classification", zip(source, bundle, strict=True), Truth(targets=targets)).figures
    assert figures["agreement"] == 0.75
    assert (figures["accuracy of the source"], figures["accuracy of the bundle"]) == (0.75, 0.5)
    assert figures["drop"] == 0.25


def test_token_targets_count_only_the_rows_named() -> None:
    answer = np.array([[2, 0], [0, 2], [2, 0]], np.float32)
    figures = compare("token-classification", [(answer, answer)], Truth(targets=[[(1, 1), (2, 1)]])).figures
    assert figures["accuracy of the bundle"] == 0.5


def test_language_model_perplexity_is_that_of_the_text() -> None:
    uniform = np.zeros((3, 4), np.float32)
    sharp = uniform.copy()
    sharp[0, 2] = sharp[1, 3] = 50.0  # certain of what comes next, and right
    figures = compare("causal-lm", [(uniform, sharp)], Truth(ids=[[1, 2, 3]])).figures
    assert figures["perplexity of the source"] == pytest.approx(4.0)
    assert figures["perplexity of the bundle"] == pytest.approx(1.0)
    assert figures["perplexity ratio"] == pytest.approx(0.25)
    assert figures["top-1 agreement"] == pytest.approx(1 / 3)  # the last row ties with itself
    assert figures["p99 KL"] >= figures["mean KL"] > 0


def test_another_shape_and_nan_are_failures_not_figures() -> None:
    with pytest.raises(ValidationFailed, match="shape"):
        compare("embedding", [(vector(1, 2), vector(1, 2, 3))], Truth())
    with pytest.raises(ValidationFailed, match="NaN"):
        compare("tensors", [(vector(1, 2), vector(1, math.nan))], Truth())


def test_independent_labels_are_compared_one_by_one() -> None:
    source, bundle = [vector(3, -3, 2)], [vector(3, 3, 2)]  # one of three decisions turned
    figures = compare("text-classification", zip(source, bundle, strict=True), Truth(multi_label=True)).figures
    assert figures["agreement"] == pytest.approx(2 / 3)
    p, q = 1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))
    expected = (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) / 3
    assert figures["mean KL"] == pytest.approx(expected, rel=1e-6)


def test_a_single_logit_can_disagree() -> None:
    figures = compare("text-classification", [(vector(1), vector(-1))], Truth()).figures
    assert figures["agreement"] == 0
