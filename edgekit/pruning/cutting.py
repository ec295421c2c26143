"""What is cut out of a model: whole structures by what they matter, or single weights by their magnitude."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.pruning.amounts import removed
from edgekit.pruning.magnitude import masks, zero
from edgekit.pruning.record import Removed
from edgekit.strategies.distill.aims import aims_for
from edgekit.strategies.distill.lesson import Lesson
from edgekit.students.shape import Shape

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgekit.students.importance import Importance

_MEASURED_ROWS = 256


@dataclass(frozen=True)
class Cut:
    """The smaller module. `layers` and `heads` (of each of these layers) are the source's numbers of what stayed, or
    `masks` says by parameter which weights did. `measured_rows` is how many rows importance was measured on.
    """

    module: nn.Module
    removed: tuple[Removed, ...]
    layers: tuple[int, ...] = ()
    heads: tuple[tuple[int, ...], ...] = ()
    measured_rows: int = 0
    masks: dict[str, torch.Tensor] | None = field(default=None)


def structures(
    source: SourceModel, whole: nn.Module, target: Shape, taught: Lesson, kind: Importance, seed: int,
    progress: Progress,
) -> Cut:  # fmt: skip
    """`whole` cut to `target`: the least important layers, then the least important heads and channels of the rest."""
    from edgekit.students.cutting import cut, module_family
    from edgekit.students.depth import dearest_layers
    from edgekit.students.importance import importance
    from edgekit.students.own_loss import own_loss
    from edgekit.students.width import choice
    from edgekit.training.batches import batches

    family, shape = module_family(whole)
    rows = taught.parts.train[:_MEASURED_ROWS]
    size = aims_for(source.task).batch_size
    few = batches(taught.examples, rows, size, seed, 0, taught.pad, taught.labels, shuffled=False)
    scores = importance(whole, few, own_loss(source, seed), kind, progress)
    layers = dearest_layers(whole, target.layers, scores.layers)
    kept = choice(shape, target, family, scores, layers)
    heads = tuple(tuple(int(head) for head in kept.heads[layer]) for layer in layers)
    return Cut(cut(whole, target, kept), removed(shape, target), layers, heads, len(rows))


def weights(whole: nn.Module, share: float) -> Cut:
    """A copy of `whole` with the smallest `share` of each matrix's weights set to zero."""
    module = copy.deepcopy(whole)
    kept = masks(module, share)
    zero(module, kept)
    had = sum(mask.numel() for mask in kept.values())
    gone = sum(int((~mask).sum()) for mask in kept.values())
    return Cut(module, (Removed(what="weights", gone=gone, had=had),), masks=kept)
