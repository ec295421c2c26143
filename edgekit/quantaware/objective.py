"""The mean loss of a batch: the rounded model's answers and states against its own in float32, asked as needed.

A run of minutes sees few of its examples twice, so the teacher is asked for each batch: writing all its answers down
first, as distilling does, would take longer than the training, and the states of all layers more disk than there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.model import SourceModel
from edgekit.quantaware.aims import Aims
from edgekit.quantaware.layers import padded_by
from edgekit.training import losses
from edgekit.training.batches import Batch
from edgekit.training.tasks import Answers, answers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgekit.training.loop import Objective


def objective(aims: Aims, model: SourceModel, teacher: nn.Module) -> Objective:
    """`teacher` is the model in float32 and evaluation mode; it follows the student to its device."""

    def loss(module: nn.Module, batch: Batch) -> torch.Tensor:
        import torch

        with torch.no_grad():
            wanted = _asked(teacher.to(next(iter(batch.inputs.values())).device), model, batch, aims)
        with padded_by(batch.inputs.get("attention_mask")):
            found = _asked(module, model, batch, aims)
        total = answer_loss(model, found, wanted)
        return total + aims.states * state_loss(found, wanted) if aims.states else total

    return loss


def told(aims: Aims, model: SourceModel) -> tuple[str, ...]:
    """The losses in words, each with its weight and paper."""
    if model.task == "embedding":
        answer = "cosine to its float embedding (Reimers and Gurevych 2019)"
        answer += "" if model.normalize else ", and squared difference (Reimers and Gurevych 2020)"
    else:
        answer = "KL to its float answers (Hinton et al. 2015, at temperature 1)"
    states = (f"{aims.states:g} x squared difference of all layers' states (TinyBERT, Jiao et al. 2020)",)
    return (f"1 x {answer}", *(states if aims.states else ()))


def answer_loss(model: SourceModel, found: Answers, wanted: Answers) -> torch.Tensor:
    """Cosine of embeddings, and where they are not normalised their squared difference too, in units of the teacher's
    spread; else the KL divergence, over the positions that count.
    """
    if found.embedding is not None and wanted.embedding is not None:
        total = losses.cosine_loss(found.embedding, wanted.embedding)
        if not model.normalize:
            total = total + losses.embedding_mse(found.embedding, wanted.embedding) / _spread(wanted.embedding)
        return total
    assert found.logits is not None
    assert wanted.logits is not None
    logits, given = found.logits, wanted.logits
    mask = found.mask if logits.ndim == 3 else None
    many = model.config.get("problem_type") == "multi_label_classification" or logits.shape[-1] == 1
    return (losses.independent_kl if many else losses.soft_kl)(logits, given, 1.0, mask)


def state_loss(found: Answers, wanted: Answers) -> torch.Tensor:
    """Mean over the layers of the squared difference of their states, each in units of the teacher's spread."""
    pairs = list(zip(found.hidden[1:], wanted.hidden[1:], strict=True))
    total = sum((losses.hidden_mse(one, other, found.mask) / _spread(other) for one, other in pairs), start=0.0)
    summed: torch.Tensor = total / max(1, len(pairs))  # type: ignore[assignment]
    return summed


def _asked(module: nn.Module, model: SourceModel, batch: Batch, aims: Aims) -> Answers:
    return answers(
        module,
        model.task,
        batch.inputs,
        pooling=model.pooling,
        normalize=model.normalize,
        hidden=aims.states > 0,
    )


def _spread(values: torch.Tensor) -> torch.Tensor:
    return values.float().square().mean().clamp(min=1e-12)
