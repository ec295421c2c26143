"""Recovery: what is left of a model, fine-tuned for a short while to answer as the whole one did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.pruning.magnitude import zero
from edgekit.pruning.record import Recovery
from edgekit.strategies.distill.aims import aims_for
from edgekit.strategies.distill.lesson import Lesson
from edgekit.strategies.distill.objective import Objective, fitted, objective, told, weight_of
from edgekit.strategies.distill.teaching import width_of, within_disk

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgekit.training.batches import Batch


def recovered(
    source: SourceModel,
    whole: nn.Module,
    pruned: nn.Module,
    taught: Lesson,
    scratch: Path,
    *,
    budget_s: float,
    seed: int,
    learning_rate: float | None,
    progress: Progress,
    kept: Mapping[str, torch.Tensor] | None = None,
) -> tuple[Recovery, tuple[str, ...]]:
    """Train `pruned` in place on the answers of `whole`, by the task's losses of distillation, and at its rate unless
    one is given; (how, remarks).

    `kept` are masks of weights, by parameter, outside of which zeros stay zeros. `scratch` takes the whole model's
    answers while it lasts. Raises Diverged and NoSpace.
    """
    from edgekit.training.batches import Data
    from edgekit.training.cache import Kept, TeacherCache
    from edgekit.training.loop import Recipe, train

    aims = fitted(aims_for(source.task), source, 1, 1, labelled=taught.labels is not None)
    aims = within_disk(aims, source, taught, width_of(whole))
    losses = told(aims, source, same_width=True)
    hidden = (-1,) if aims.hidden else ()
    cache = TeacherCache.build(
        scratch / "whole", whole, taught.examples,
        Kept(source.task, source.pooling, source.normalize, hidden=hidden, temperature=aims.temperature),
        batch_size=aims.batch_size, pad=taught.pad, progress=progress,
    )  # fmt: skip
    recipe = Recipe(
        learning_rate=learning_rate or aims.learning_rate,
        batch_size=aims.batch_size,
        epochs=aims.epochs,
        budget_s=budget_s,
        seed=seed,
        weight_decay=aims.weight_decay,
        objective="; ".join(losses),
    )
    parts = taught.parts
    data = Data(taught.examples, parts.train, parts.validation, taught.pad, taught.labels, weight_of(source.task))
    loss = objective(aims, source, cache)
    try:
        trained = train(pruned, loss if kept is None else _masked(loss, kept), data, recipe, progress=progress)
    finally:
        cache.close()
    if kept is not None:
        zero(pruned, kept)
    found = Recovery(
        losses=losses,
        seconds=trained.seconds,
        steps=trained.steps,
        best_step=trained.best_step,
        best_loss=trained.best_loss,
        stopped=trained.stopped,
        train_rows=len(parts.train),
    )
    return found, (*trained.remarks, *([cache.note] if cache.note else []))


def _masked(loss: Objective, kept: Mapping[str, torch.Tensor]) -> Objective:
    """The loss of the model with its zeros put back, which the last step has moved."""

    def masked(module: nn.Module, batch: Batch) -> torch.Tensor:
        zero(module, kept)
        return loss(module, batch)

    return masked
