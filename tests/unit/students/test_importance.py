"""Scores are derivatives of the loss, or energies; measuring them is refused where there is nothing to measure."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.students import Teacher, batches_for, teacher_of

from edgekit.errors import BadModel, NoData, UsageError
from edgekit.students.importance import importance
from edgekit.students.own_loss import own_loss
from edgekit.training.batches import Batch

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return teacher_of("bert classifier", tmp_path_factory.mktemp("teacher") / "model")


def fixed_loss(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Of the first class, for each example."""
    logits = module(**batch.inputs).logits
    return -logits.log_softmax(-1)[:, 0].mean()


def scaled(module: torch.nn.Module, name: str, columns: slice, factor: float, batch: Batch) -> float:
    """The loss where what some columns of a matrix read is scaled."""
    weight = module.get_parameter(name)
    with torch.no_grad():
        before = weight[:, columns].clone()
        weight[:, columns] *= factor
        value = float(fixed_loss(module, batch))
        weight[:, columns] = before
    return value


def one_example(batch: Batch) -> Batch:
    length = int(batch.inputs["attention_mask"][0].sum())
    return Batch({name: each[:1, :length] for name, each in batch.inputs.items()}, batch.indices[:1])


@pytest.mark.parametrize(
    ("score", "name", "columns"),
    [
        (lambda found: found.heads[1, 2], "bert.encoder.layer.1.attention.output.dense.weight", slice(32, 48)),
        (lambda found: found.value[0, 1, 3], "bert.encoder.layer.0.attention.output.dense.weight", slice(19, 20)),
        (lambda found: found.inner[0, 5], "bert.encoder.layer.0.output.dense.weight", slice(5, 6)),
    ],
)
def test_taylor_scores_are_squared_derivatives(classifier: Teacher, score: object, name: str, columns: slice) -> None:
    """Against central differences of the loss, of one example, in float64."""
    batch = one_example(classifier.batches[0])
    found = importance(classifier.module, [batch], fixed_loss)
    step, exact = 1e-2, copy.deepcopy(classifier.module).double()
    above, below = (scaled(exact, name, columns, 1 + each, batch) for each in (step, -step))
    slope = (above - below) / (2 * step)
    assert score(found) == pytest.approx(slope**2, rel=0.05, abs=1e-9)  # type: ignore[operator]


def test_examples_do_not_cancel_each_other(classifier: Teacher) -> None:
    """A batch scores as its examples do one by one: squares are taken before the sum."""
    batch = classifier.batches[0]
    rows = [
        Batch({name: each[row : row + 1] for name, each in batch.inputs.items()}, batch.indices[row : row + 1])
        for row in range(4)
    ]
    at_once, alone = importance(classifier.module, [batch], fixed_loss), importance(classifier.module, rows, fixed_loss)
    np.testing.assert_allclose(at_once.heads, alone.heads, rtol=1e-3)
    np.testing.assert_allclose(at_once.hidden, alone.hidden, rtol=1e-3)


def test_padding_has_no_energy(classifier: Teacher) -> None:
    batch = classifier.batches[0]
    padded = {name: torch.nn.functional.pad(each, (0, 7)) for name, each in batch.inputs.items()}
    found = [
        importance(classifier.module, [each], fixed_loss, "activation")
        for each in (batch, Batch(padded, batch.indices))
    ]
    np.testing.assert_allclose(found[0].inner, found[1].inner, rtol=1e-3)
    np.testing.assert_allclose(found[0].layers, found[1].layers, rtol=1e-3)


def test_a_model_matters_to_itself(classifier: Teacher) -> None:
    """The divergence from one's own answers has no slope; a class drawn from them has."""
    loss = own_loss(classifier.model)
    assert importance(classifier.module, classifier.batches, loss).heads.min() > 0.0


def test_labels_are_used_where_there_are_any(classifier: Teacher) -> None:
    labelled = batches_for(classifier.model, labels=[0] * 8)
    drawn = importance(classifier.module, classifier.batches, own_loss(classifier.model))
    given = importance(classifier.module, labelled, own_loss(classifier.model))
    again = importance(classifier.module, labelled, own_loss(classifier.model, seed=9))
    assert not np.allclose(drawn.heads, given.heads)
    np.testing.assert_array_equal(given.heads, again.heads)
    np.testing.assert_allclose(given.heads, importance(classifier.module, labelled, fixed_loss).heads, rtol=1e-3)


def test_the_seed_decides_what_is_drawn(classifier: Teacher) -> None:
    found = [
        importance(classifier.module, classifier.batches, own_loss(classifier.model, seed)).inner for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_regression_and_independent_labels_are_measured_too(tmp_path: Path) -> None:
    from dataclasses import replace

    teacher = teacher_of("bert classifier", tmp_path / "model")
    config = {**teacher.model.config, "problem_type": "multi_label_classification"}
    loss = own_loss(replace(teacher.model, config=config))
    assert importance(teacher.module, teacher.batches, loss).inner.min() > 0.0


def test_nothing_to_measure_on_is_refused(classifier: Teacher) -> None:
    with pytest.raises(NoData):
        importance(classifier.module, [], fixed_loss)
    with pytest.raises(UsageError, match="there is no importance 'luck'"):
        importance(classifier.module, classifier.batches, fixed_loss, "luck")  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_is_refused_and_leaves_no_hook(classifier: Teacher) -> None:
    def broken(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return fixed_loss(module, batch) * float("nan")

    before = classifier.outputs()
    with pytest.raises(BadModel, match="no number"):
        importance(classifier.module, classifier.batches, broken)
    assert torch.equal(classifier.outputs(), before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in classifier.module.modules())
