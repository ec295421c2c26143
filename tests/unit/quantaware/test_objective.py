"""What the loss is: nothing for the model itself, and each part of it by its paper's formula."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fixtures.plans import model

from edgekit.quantaware.aims import TASKS, Aims, aims_for
from edgekit.quantaware.objective import answer_loss, state_loss, told
from edgekit.training.tasks import Answers

pytestmark = pytest.mark.engines

GENERATOR = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def test_embeddings_are_held_by_their_direction_and_where_not_normalised_by_their_length() -> None:
    one, other = drawn(4, 8), drawn(4, 8)
    cosines = torch.nn.functional.cosine_similarity(one, other)
    found, wanted = Answers(embedding=one), Answers(embedding=other)
    unit, free = (replace(model("embedding"), normalize=each) for each in (True, False))
    assert answer_loss(unit, found, wanted).item() == pytest.approx((1 - cosines).mean().item(), rel=1e-5)
    further = ((one - other) ** 2).mean() / (other**2).mean()
    assert answer_loss(free, found, wanted).item() == pytest.approx(((1 - cosines).mean() + further).item(), rel=1e-5)
    assert answer_loss(free, found, found).item() == pytest.approx(0, abs=1e-6)


def test_tokens_that_are_padding_do_not_count() -> None:
    mask = torch.tensor([[True, True, False]])
    logits, other = drawn(1, 3, 5), drawn(1, 3, 5)
    states, others = (drawn(1, 3, 8), drawn(1, 3, 8)), (drawn(1, 3, 8), drawn(1, 3, 8))
    padded = [each.clone() for each in (logits, *states)]
    for each in padded:
        each[:, 2] = 1e3
    decoder = model("causal-lm")
    wanted = Answers(logits=other, hidden=others, mask=mask)
    losses = [
        (answer_loss(decoder, found, wanted).item(), state_loss(found, wanted).item())
        for found in (
            Answers(logits=logits, hidden=states, mask=mask),
            Answers(logits=padded[0], hidden=tuple(padded[1:]), mask=mask),
        )
    ]
    assert losses[0] == losses[1]
    assert losses[0][0] > 0


def test_states_are_the_mean_over_layers_in_units_of_the_teachers_spread() -> None:
    others = tuple(drawn(2, 3, 8) * size for size in (1.0, 10.0, 100.0))
    found = Answers(hidden=tuple(each * 1.1 for each in others))
    assert state_loss(found, Answers(hidden=others)).item() == pytest.approx(0.01, rel=1e-4)


def test_labels_that_do_not_exclude_each_other_are_held_one_by_one() -> None:
    several = replace(model("text-classification"), config={"problem_type": "multi_label_classification"})
    found, wanted = Answers(logits=torch.tensor([[0.0, 9.0]])), Answers(logits=torch.tensor([[0.0, -9.0]]))
    assert answer_loss(several, found, wanted).item() == pytest.approx(9 / 2, rel=1e-2)
    assert answer_loss(model("text-classification"), found, wanted).item() == pytest.approx(9, rel=1e-2)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_aims_and_words(task: str) -> None:
    for deployment in ("onnx-int8", "gguf-Q4_0"):
        aims = aims_for(task, deployment)  # type: ignore[arg-type]
        assert isinstance(aims, Aims)
        named = told(aims, model(task))
        assert named[0].startswith("1 x ")
        assert (len(named) == 2) == bool(aims.states)
