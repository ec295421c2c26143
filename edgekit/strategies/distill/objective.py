"""The mean loss of a batch: the student's answers against its teacher's, which are read from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgekit.model import SourceModel
from edgekit.strategies.distill.aims import Aims
from edgekit.training import losses
from edgekit.training.batches import Batch, Example, Indices
from edgekit.training.tasks import Answers, answers

if TYPE_CHECKING:
    import torch
    from torch import nn

Objective = Callable[["nn.Module", Batch], "torch.Tensor"]
_MOST_RELATION_HEADS = 12


class Remembered(Protocol):
    """A teacher's answers by the examples' indices, as TeacherCache reads them."""

    def read(self, indices: Indices) -> Answers: ...


def fitted(aims: Aims, teacher: SourceModel, student_width: int, teacher_width: int, *, labelled: bool) -> Aims:
    """The aims that these two can be held to: no label loss without labels, no cosine across widths, no relations
    where no number of heads divides both widths.
    """
    if teacher.task != "causal-lm" and not labelled:
        aims = replace(aims, label=0.0)
    if teacher.config.get("problem_type") == "multi_label_classification":
        aims = replace(aims, label=0.0)
    if student_width == teacher_width:
        return replace(aims, similarity=0.0)
    aims = replace(aims, embedding=0.0)
    if _relation_heads(student_width, teacher_width) < 2:
        aims = replace(aims, hidden=0.0)
    return aims


def where_tokens_match(
    aims: Aims, teacher: SourceModel, sides: tuple[nn.Module, nn.Module], examples: Sequence[Example]
) -> Aims:
    """Without the last states where those of the two `sides` are not of the same tokens, as the first example shows:
    a convolution has channels of a picture instead, and patches of another size are other tokens.
    """
    import torch

    from edgekit.training.batches import collated

    if not aims.hidden:
        return aims
    inputs = collated(examples, np.zeros(1, np.int64)).inputs
    with torch.no_grad():
        ours, theirs = (answers(side, teacher.task, inputs, hidden=True).hidden[-1].shape for side in sides)
    return aims if len(ours) == len(theirs) == 3 and ours[1] == theirs[1] else replace(aims, hidden=0.0)


def told(aims: Aims, teacher: SourceModel, *, same_width: bool) -> tuple[str, ...]:
    """The losses in words, each with its weight and paper."""
    language = teacher.task == "causal-lm"
    state = "squared difference of the last states (TinyBERT, Jiao et al. 2020)"
    relation = "relations of the last states (MiniLMv2, Wang et al. 2021)"
    embedding = "cosine to the teacher's embedding (Reimers and Gurevych 2019)"
    if not teacher.normalize:
        embedding += ", and squared difference (Reimers and Gurevych 2020)"
    named = (
        (aims.embedding, embedding),
        (aims.similarity, "similarities within a batch (Tung and Mori 2019)"),
        (aims.soft, f"KL to the teacher's answers at temperature {aims.temperature:g} (Hinton et al. 2015)"),
        (aims.label, "cross-entropy of the next token" if language else "cross-entropy of the labels"),
        (aims.hidden, state if same_width else relation),
    )
    return tuple(f"{weight:g} x {name}" for weight, name in named if weight)


def objective(aims: Aims, teacher: SourceModel, cache: Remembered) -> Objective:
    """The weighted sum of the losses in `aims`; `cache` holds the last layer's states where `aims.hidden` is not 0."""
    multi_label = teacher.config.get("problem_type") == "multi_label_classification"

    def loss(module: nn.Module, batch: Batch) -> torch.Tensor:
        found = answers(
            module,
            teacher.task,
            batch.inputs,
            pooling=teacher.pooling,
            normalize=teacher.normalize,
            hidden=aims.hidden > 0,
        )
        device = next(iter(batch.inputs.values())).device
        wanted = _on(cache.read(batch.indices), device)
        if found.embedding is not None and wanted.embedding is not None:
            total = _embedding_loss(aims, found.embedding, wanted.embedding, normalized=teacher.normalize)
        elif teacher.task == "causal-lm":
            total = _language_loss(aims, found, wanted, batch)
        else:
            total = _class_loss(aims, found, wanted, batch, multi_label=multi_label)
        if aims.hidden:
            total = total + aims.hidden * _state_loss(found.hidden[-1], wanted.hidden[-1], found.mask)
        return total

    return loss


def similarity_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the cosines between all pairs of a batch, [batch, width] each; widths may differ.

    Tung and Mori 2019, Similarity-Preserving Knowledge Distillation, on cosines as sentence embeddings are compared by.
    0 for a batch of one.
    """
    import torch

    count = len(student)
    if count < 2:
        return student.sum() * 0.0
    ours, theirs = (
        torch.nn.functional.normalize(each.float(), dim=-1, eps=1e-12) for each in (student, teacher.detach())
    )
    difference = ours @ ours.T - theirs @ theirs.T
    return difference.square().sum() / (count * (count - 1))


def _embedding_loss(aims: Aims, student: torch.Tensor, teacher: torch.Tensor, *, normalized: bool) -> torch.Tensor:
    total = student.sum() * 0.0
    if aims.embedding:
        total = total + aims.embedding * losses.cosine_loss(student, teacher)
        if not normalized:  # in units of the teacher's own spread, so that it weighs as much as the cosine
            spread = teacher.float().square().mean().clamp(min=1e-12)
            total = total + aims.embedding * losses.embedding_mse(student, teacher) / spread
    if aims.similarity:
        total = total + aims.similarity * similarity_mse(student, teacher)
    return total


def _class_loss(aims: Aims, found: Answers, wanted: Answers, batch: Batch, *, multi_label: bool) -> torch.Tensor:
    assert found.logits is not None
    assert wanted.logits is not None
    mask = found.mask if found.logits.ndim == 3 else None
    kl = losses.independent_kl if multi_label or found.logits.shape[-1] == 1 else losses.soft_kl
    total = aims.soft * kl(found.logits, wanted.logits, aims.temperature, mask)
    if aims.label and batch.labels is not None:
        total = total + aims.label * losses.label_loss(found.logits, batch.labels)
    return total


def _language_loss(aims: Aims, found: Answers, wanted: Answers, batch: Batch) -> torch.Tensor:
    """Over the positions whose next token is known."""
    assert found.logits is not None
    assert found.mask is not None
    mask = found.mask[:, 1:]
    logits = found.logits[:, :-1]
    if wanted.top is not None:
        cut = replace(
            wanted.top,
            values=wanted.top.values[:, :-1],
            ids=wanted.top.ids[:, :-1],
            rest=wanted.top.rest[:, :-1],
        )
        total = aims.soft * losses.top_kl(logits, cut, mask)
    else:
        assert wanted.logits is not None
        total = aims.soft * losses.soft_kl(logits, wanted.logits[:, :-1], aims.temperature, mask)
    if aims.label:
        total = total + aims.label * losses.next_token_loss(found.logits, batch.inputs["input_ids"], found.mask)
    return total


def _state_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if student.shape[-1] == teacher.shape[-1]:
        spread = teacher.float().square().mean().clamp(min=1e-12)
        return losses.hidden_mse(student, teacher, mask) / spread
    heads = _relation_heads(student.shape[-1], teacher.shape[-1])
    return losses.relation_kl(student, teacher, heads, mask)


def _relation_heads(one: int, other: int) -> int:
    """The most heads, up to twelve, that divide both widths."""
    return next(heads for heads in range(_MOST_RELATION_HEADS, 0, -1) if one % heads == 0 and other % heads == 0)


def _on(wanted: Answers, device: torch.device) -> Answers:
    def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.to(device)

    top = wanted.top
    if top is not None:
        top = replace(top, values=top.values.to(device), ids=top.ids.to(device), rest=top.rest.to(device))
    return replace(
        wanted,
        logits=moved(wanted.logits),
        embedding=moved(wanted.embedding),
        hidden=tuple(each.to(device) for each in wanted.hidden),
        mask=moved(wanted.mask),
        top=top,
    )


def weight_of(task: str) -> Callable[[Batch], float]:
    """What a batch counts for in a mean over batches: as many as its loss is a mean over."""
    from edgekit.training import batches

    known = {"causal-lm": batches.predicted_tokens, "token-classification": batches.tokens}
    return known.get(task, batches.rows)
