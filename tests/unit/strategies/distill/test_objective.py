"""The loss of a batch is the weighted sum that is told of it, checked by hand on a module whose answers are given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fixtures.shaped_models import bert

from edgekit.model import SourceModel
from edgekit.strategies.distill.aims import AIMS, Aims
from edgekit.strategies.distill.objective import fitted, objective, similarity_mse, told, where_tokens_match

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.engines

LABELS = ("a", "b", "c")
CLASSIFIER = bert(task="text-classification", kind="classifier", labels=LABELS)
ENCODER = bert(normalize=True, pooling="mean")
DECODER = bert(task="causal-lm", kind="base")
NOTHING = Aims()


class Saying:
    """A stand-in for a transformers module: its outputs are given, whatever it is asked."""

    config = object()

    def __init__(self, **outputs: Any) -> None:
        self._outputs = outputs

    def __call__(self, **_: Any) -> Any:
        return type("Output", (), self._outputs)()


class Remembering:
    """A stand-in for the cache: the teacher's answers, whichever examples are asked for."""

    def __init__(self, **answers: Any) -> None:
        from edgekit.training.tasks import Answers

        self._answers = Answers(**answers)

    def read(self, _: Any) -> Any:
        return self._answers


def batch(lengths: tuple[int, ...] = (3, 2), labels: Any = None) -> Any:
    import torch

    from edgekit.training.batches import Batch

    longest = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    ids = torch.arange(len(lengths) * longest).reshape(len(lengths), longest) % 3
    truth = None if labels is None else torch.tensor(labels)
    return Batch({"input_ids": ids * mask, "attention_mask": mask}, np.arange(len(lengths)), truth)


def loss(aims: Aims, model: SourceModel, module: Saying, cache: Remembering, asked: Any) -> float:
    return float(objective(aims, model, cache)(module, asked))  # type: ignore[arg-type]


def softened(logits: torch.Tensor, temperature: float) -> np.ndarray:
    scaled = logits.double().numpy() / temperature
    weights = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def kl(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> np.ndarray:
    p, q = softened(teacher, temperature), softened(student, temperature)
    return np.asarray((p * np.log(p / q)).sum(-1)) * temperature**2


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_classifier_is_held_to_its_teacher_and_to_its_labels() -> None:
    ours, theirs = drawn(2, 3), drawn(2, 3, seed=1)
    aims = replace(NOTHING, soft=0.7, label=0.5, temperature=3.0)
    cache = Remembering(logits=theirs)
    entropy = -np.log(softened(ours, 1.0)[[0, 1], [2, 1]]).mean()
    expected = 0.7 * kl(theirs, ours, 3.0).mean()
    assert loss(aims, CLASSIFIER, Saying(logits=ours), cache, batch()) == pytest.approx(expected, rel=1e-5)
    labelled = batch(labels=[2, 1])
    assert loss(aims, CLASSIFIER, Saying(logits=ours), cache, labelled) == pytest.approx(
        expected + 0.5 * entropy, rel=1e-5
    )


def test_of_a_tagger_only_the_tokens_that_are_there_count() -> None:
    tagger = replace(CLASSIFIER, task="token-classification")
    ours, theirs = drawn(2, 3, 3), drawn(2, 3, 3, seed=1)
    found = loss(replace(NOTHING, soft=1.0), tagger, Saying(logits=ours), Remembering(logits=theirs), batch())
    each = kl(theirs, ours, 2.0)
    assert found == pytest.approx(np.mean([*each[0], *each[1, :2]]), rel=1e-5)


def test_independent_labels_are_each_a_yes_or_no() -> None:
    model = replace(CLASSIFIER, config={**CLASSIFIER.config, "problem_type": "multi_label_classification"})
    ours, theirs = drawn(2, 3), drawn(2, 3, seed=1)
    found = loss(replace(NOTHING, soft=1.0), model, Saying(logits=ours), Remembering(logits=theirs), batch())
    pairs = [np.stack([side.numpy(), np.zeros((2, 3))], axis=-1) for side in (theirs, ours)]
    import torch

    expected = kl(torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1]), 2.0).mean()
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_language_model_is_held_to_what_follows_where_that_is_known() -> None:
    ours, theirs = drawn(2, 3, 5), drawn(2, 3, 5, seed=1)
    asked = batch()
    aims = replace(NOTHING, soft=0.5, label=0.25)
    found = loss(aims, DECODER, Saying(logits=ours), Remembering(logits=theirs), asked)
    each = kl(theirs, ours, 2.0)
    kept = [each[0, 0], each[0, 1], each[1, 0]]
    ids = asked.inputs["input_ids"].numpy()
    chances = softened(ours, 1.0)
    nll = [-np.log(chances[row, at, ids[row, at + 1]]) for row, at in ((0, 0), (0, 1), (1, 0))]
    assert found == pytest.approx(0.5 * np.mean(kept) + 0.25 * np.mean(nll), rel=1e-5)


def test_top_logits_stand_in_for_all_of_them() -> None:
    import torch

    from edgekit.training.losses import TopLogits

    ours, theirs = drawn(2, 3, 5), drawn(2, 3, 5, seed=1)
    values, ids = theirs.topk(5, dim=-1)
    top = TopLogits(values, ids, torch.full((2, 3), float("-inf")), 2.0)
    aims = replace(NOTHING, soft=1.0)
    whole = loss(aims, DECODER, Saying(logits=ours), Remembering(logits=theirs), batch())
    assert loss(aims, DECODER, Saying(logits=ours), Remembering(top=top), batch()) == pytest.approx(whole, rel=1e-4)


def test_an_embedding_is_held_to_its_teachers_direction() -> None:
    import torch

    states = drawn(2, 3, 4)
    mask = batch().inputs["attention_mask"].unsqueeze(-1)
    pooled = (states * mask).sum(1) / mask.sum(1)
    unit = torch.nn.functional.normalize(pooled, dim=-1)
    aims = replace(NOTHING, embedding=1.0)
    module = Saying(last_hidden_state=states)
    assert loss(aims, ENCODER, module, Remembering(embedding=unit), batch()) == pytest.approx(0, abs=1e-6)
    assert loss(aims, ENCODER, module, Remembering(embedding=-unit), batch()) == pytest.approx(2)
    bare = replace(ENCODER, normalize=False)  # its length counts too, in units of the teacher's own
    assert loss(aims, bare, module, Remembering(embedding=2 * pooled), batch()) == pytest.approx(0.25, rel=1e-5)


def test_similarities_do_not_ask_for_one_width_and_are_blind_to_turning() -> None:
    import torch

    student, wider = drawn(6, 4), drawn(6, 9, seed=1)
    turned = student @ torch.linalg.qr(drawn(4, 4, seed=2))[0]
    assert float(similarity_mse(student, turned)) == pytest.approx(0, abs=1e-10)
    ours, theirs = (side / side.norm(dim=1, keepdim=True) for side in (student, wider))
    off = (ours @ ours.T - theirs @ theirs.T).square().numpy()
    assert float(similarity_mse(student, wider)) == pytest.approx(off[~np.eye(6, dtype=bool)].mean(), rel=1e-5)
    assert float(similarity_mse(student[:1], wider[:1])) == 0


@pytest.mark.parametrize("width", [4, 8])
def test_last_states_are_compared_of_one_width_or_of_two(width: int) -> None:
    states, theirs = drawn(2, 3, 4), drawn(2, 3, width, seed=1)
    module = Saying(logits=drawn(2, 3), hidden_states=(drawn(2, 3, 4, seed=5), states))
    aims = replace(NOTHING, hidden=1.0)
    found = loss(aims, CLASSIFIER, module, Remembering(logits=drawn(2, 3), hidden=(theirs,)), batch())
    assert found > 0
    same = Remembering(logits=drawn(2, 3), hidden=(states,))
    assert loss(aims, CLASSIFIER, module, same, batch()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("student", "teacher", "kept"),
    [
        ((1, 3, 4), (1, 3, 8), True),
        ((1, 5, 4), (1, 3, 4), False),
        ((1, 4, 3, 3), (1, 4, 3, 3), False),
        ((1, 4, 3, 3), (1, 4, 3), False),
    ],
)
def test_last_states_are_left_out_where_they_are_not_of_the_same_tokens(
    student: tuple[int, ...], teacher: tuple[int, ...], kept: bool
) -> None:
    first = drawn(1, 3, 4)
    sides: Any = tuple(Saying(logits=drawn(1, 3), hidden_states=(first, drawn(*last))) for last in (student, teacher))
    examples = [{"pixel_values": np.zeros((3, 2, 2), np.float32)}]
    aims = AIMS["image-classification"]
    found = where_tokens_match(aims, CLASSIFIER, sides, examples)
    assert found == (aims if kept else replace(aims, hidden=0.0))


def test_aims_are_fitted_to_what_can_be_compared() -> None:
    aims = AIMS["embedding"]
    assert fitted(aims, ENCODER, 64, 64, labelled=False) == replace(aims, similarity=0.0)
    assert fitted(aims, ENCODER, 32, 64, labelled=False) == replace(aims, embedding=0.0)
    assert fitted(aims, ENCODER, 7, 64, labelled=False).hidden == 0
    classes = AIMS["text-classification"]
    assert fitted(classes, CLASSIFIER, 64, 64, labelled=False).label == 0
    assert fitted(classes, CLASSIFIER, 64, 64, labelled=True).label == classes.label
    assert fitted(AIMS["causal-lm"], DECODER, 64, 64, labelled=False).label == AIMS["causal-lm"].label


def test_each_loss_is_told_with_its_weight_and_paper() -> None:
    lines = told(replace(AIMS["text-classification"], temperature=3.0), CLASSIFIER, same_width=False)
    assert "1 x KL to the teacher's answers at temperature 3 (Hinton et al. 2015)" in lines
    assert any("MiniLMv2" in line for line in lines)
    assert told(NOTHING, CLASSIFIER, same_width=True) == ()
