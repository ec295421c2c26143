"""Students by width: whole heads, feed-forward channels and channels of the residual stream, the least important gone.

Which ones go is told by `edgekit.students.importance`; every layer loses as many, so that what is left is a model that
config.json can describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadModel
from edgekit.model import StudentSpec
from edgekit.students.cutting import Indices, Kept, cut, everything, module_family
from edgekit.students.families import Family
from edgekit.students.importance import Scores
from edgekit.students.shape import Shape, resolved

if TYPE_CHECKING:
    from torch import nn


def narrower(
    module: nn.Module, scores: Scores, *, heads: int | None = None, intermediate: int | None = None,
    hidden: int | None = None,
) -> nn.Module:  # fmt: skip
    """A copy of `module` of these sizes, None for what stays or follows from the rest; see `shape.resolved`.

    UsageError for sizes that are larger than the module's, or do not divide.
    """
    family, source = module_family(module)
    target = resolved(source, family, StudentSpec(hidden=hidden, heads=heads, intermediate=intermediate))
    return cut(module, target, choice(source, target, family, scores, range(source.layers)))


def choice(source: Shape, target: Shape, family: Family, scores: Scores, layers: Sequence[int]) -> Kept:
    """The most important of everything, in the source's order; `layers` are those of the source that stay."""
    _check(scores, source)
    heads, kv_heads = {}, {}
    query: dict[int, Indices] = {}
    value: dict[int, Indices] = {}
    for layer in layers:
        worth = scores.heads[list(layers)].sum(axis=0) if family.shares_heads else scores.heads[layer]
        heads[layer], kv_heads[layer] = _heads(worth, source, target)
        if target.head_size != source.head_size and scores.query is not None:
            query[layer] = _channels(scores.query[layer][heads[layer]], target.head_size)
            value[layer] = _channels(scores.value[layer][heads[layer]], target.head_size)
    return replace(
        everything(source),
        layers=tuple(layers),
        hidden=most(scores.hidden, target.hidden),
        pooled=most(scores.hidden if scores.pooled is None else scores.pooled, target.hidden),
        heads=heads,
        kv_heads=kv_heads,
        inner={layer: most(scores.inner[layer], target.inner) for layer in layers},
        query=query,
        value=value,
    )


def most(scores: NDArray[np.float64], count: int) -> Indices:
    """Indices of the `count` highest scores, rising; of equal ones the first."""
    kept: Indices = np.sort(np.argsort(-scores, kind="stable")[:count])
    return kept


def _heads(worth: NDArray[np.float64], source: Shape, target: Shape) -> tuple[Indices, Indices]:
    """(query heads, key/value heads): whole groups, or, where as many groups stay, as many heads of each."""
    groups = worth.reshape(source.kv_heads, -1)
    size = target.heads // target.kv_heads
    kv_heads = most(groups.sum(axis=1), target.kv_heads)
    within = _channels(groups[kv_heads], size)
    return (kv_heads[:, None] * groups.shape[1] + within).ravel(), kv_heads


def _channels(scores: NDArray[np.float64], count: int) -> Indices:
    """Of each row [rows, channels] the `count` highest, rising: [rows, count]."""
    return np.stack([most(row, count) for row in scores])


def _check(scores: Scores, shape: Shape) -> None:
    if scores.heads.shape != (shape.layers, shape.heads) or scores.inner.shape != (shape.layers, shape.inner):
        raise BadModel(
            f"the scores are of {scores.heads.shape[0]} layers with {scores.heads.shape[1]} heads, the model has"
            f" {shape.layers} with {shape.heads}",
            "measure the importance of this very model",
        )
