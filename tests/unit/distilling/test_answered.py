"""What a student lost is counted over whole rows, and is nothing where it answers as its teacher does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fixtures.shaped_models import bert

from edgekit.model import SourceModel
from edgekit.progress import Silent
from edgekit.report import Compared

pytestmark = pytest.mark.engines

CLASSIFIER = bert(task="text-classification", kind="classifier", labels=("a", "b"))
TAGGER = bert(task="token-classification", kind="classifier", labels=("a", "b"))
DECODER = bert(task="causal-lm", kind="base", vocabulary=7)
ENCODER = bert()


class Table:
    """A stand-in for a module: the answer to a token is a row of a table, moved by `shift` on tokens above 2."""

    config = object()

    def __init__(self, task: str, width: int, shift: float = 0.0) -> None:
        import torch

        self._task, self._shift = task, shift
        self._table = torch.randn(7, width, generator=torch.Generator().manual_seed(0))

    def __call__(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
        import torch

        rows = (
            self._table[input_ids]
            + self._shift
            * (input_ids > 2).unsqueeze(-1)
            * torch.tensor([1.0, -1.0]).repeat(self._table.shape[1] // 2 + 1)[: self._table.shape[1]]
        )
        if self._task == "text-classification":
            mask = attention_mask.unsqueeze(-1)
            rows = (rows * mask).sum(1) / mask.sum(1)
        return type("Output", (), {"logits": rows, "last_hidden_state": rows})()


def compared(model: SourceModel, width: int, shift: float, student_width: int | None = None) -> dict[str, Compared]:
    from edgekit.distilling.answered import Pair, losses_of
    from edgekit.strategies.distill.lesson import Lesson
    from edgekit.training.batches import split

    draw = np.random.default_rng(0)
    sizes = draw.integers(2, 6, 200)
    examples = [{"input_ids": draw.integers(0, 7, size), "attention_mask": np.ones(size, np.int64)} for size in sizes]
    labels: Any = None
    if model.task == "text-classification":
        labels = [np.int64(each % 2) for each in sizes]
    elif model.task == "token-classification":
        labels = [np.where(np.arange(size) > 0, -100, size % 2) for size in sizes]
    sides: Any = (Table(model.task, width), Table(model.task, student_width or width, shift))
    found = losses_of(Pair(model, *sides), Lesson(examples, labels, split(200, 0), 0), Silent())
    return {each.name: each for each in found}


@pytest.mark.parametrize("model", [CLASSIFIER, TAGGER], ids=lambda model: model.task)
def test_a_classifier_that_answers_alike_lost_nothing(model: SourceModel) -> None:
    found = compared(model, 2, 0.0)
    assert (found["agreement"].value, found["mean KL"].value) == (1, 0)
    assert found["accuracy"].value == 0
    assert found["accuracy"].teacher == found["accuracy"].student
    worse = compared(model, 2, 3.0)
    agreement, accuracy = worse["agreement"], worse["accuracy"]
    assert agreement.value is not None
    assert agreement.low is not None
    assert agreement.high is not None
    assert agreement.low < agreement.value < agreement.high < 1
    assert accuracy.teacher is not None
    assert accuracy.student is not None
    assert accuracy.value == pytest.approx(accuracy.teacher - accuracy.student)
    assert worse["agreement"].how.endswith("64 rows")


def test_one_label_alone_names_no_right_class() -> None:
    found = compared(CLASSIFIER, 1, 0.0)
    assert found["agreement"].value == 1
    assert "accuracy" not in found


def test_a_language_model_is_compared_token_by_token() -> None:
    found = compared(DECODER, 7, 0.0)
    assert found["perplexity"].value == 1
    assert (found["top-1 agreement"].value, found["mean KL"].value) == (1, 0)
    worse = compared(DECODER, 7, 2.0)
    perplexity = worse["perplexity"]
    assert perplexity.teacher is not None
    assert perplexity.student is not None
    assert perplexity.value == pytest.approx(perplexity.student / perplexity.teacher)
    assert worse["mean KL"].value is not None
    assert worse["mean KL"].value > 0


def test_embeddings_of_one_width_have_a_cosine_and_of_two_widths_similarities_alone() -> None:
    same = compared(ENCODER, 4, 0.0)
    assert same["mean cosine"].value == pytest.approx(1)
    assert same["similarities kept"].value == pytest.approx(1)
    assert same["neighbours kept"].value == 1
    narrower = compared(ENCODER, 8, 0.0, student_width=4)
    assert "mean cosine" not in narrower
    assert narrower["similarities kept"].value is not None
    assert narrower["similarities kept"].value < 1
