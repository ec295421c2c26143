from __future__ import annotations

import numpy as np
import pytest
from edgekit_runtime import RunFailed, _labels
from hypothesis import given
from hypothesis import strategies as st

_LOGITS = st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=8)


@given(_LOGITS)
def test_softmax_is_a_distribution_in_the_order_of_the_logits(logits: list[float]) -> None:
    array = np.array(logits, np.float32)
    scores = _labels.probabilities(array, None)
    assert scores.sum() == pytest.approx(1, abs=1e-5)
    assert scores[array.argmax()] == scores.max()


@given(_LOGITS)
def test_independent_labels_are_scored_one_by_one(logits: list[float]) -> None:
    array = np.array(logits, np.float32)
    scores = _labels.probabilities(array, "multi_label_classification")
    expected = 1 / (1 + np.exp(-array.astype(np.float64).clip(-700, 700)))
    assert scores == pytest.approx(expected, abs=1e-6)


def test_a_single_logit_is_not_softmaxed_to_one() -> None:
    assert _labels.probabilities(np.zeros((1, 1), np.float32), None) == pytest.approx(0.5)


def test_ranking_is_best_first_and_names_what_has_no_name() -> None:
    scores = np.array([0.2, 0.5, 0.3], np.float32)
    assert [one["label"] for one in _labels.ranked(scores, ["a", "b", "c"])] == ["b", "c", "a"]
    assert [one["label"] for one in _labels.ranked(scores, [])] == ["LABEL_1", "LABEL_2", "LABEL_0"]


def test_labels_that_do_not_match_the_model_are_refused() -> None:
    with pytest.raises(RunFailed, match="3 labels, the manifest names 2"):
        _labels.ranked(np.zeros(3, np.float32), ["a", "b"])
