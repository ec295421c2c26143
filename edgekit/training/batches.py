"""Examples into padded batches of like lengths, in an order that the seed alone decides; and the three-way split."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadEvalData, TooLittleData
from edgekit.training.losses import IGNORED

if TYPE_CHECKING:
    import torch

Example = Mapping[str, NDArray[Any]]
"""One input by name, without a batch axis: input_ids and attention_mask [tokens], pixel_values [3, height, width]."""

Indices = NDArray[np.int64]

HELD_OUT_AT_LEAST, VALIDATION_AT_LEAST, TRAIN_AT_LEAST = 64, 32, 64
VALIDATION_AT_MOST = 1024
"""It is answered many times; more examples would not tell better when to stop."""

_BATCHES_PER_POOL = 32


@dataclass(frozen=True)
class Batch:
    """`inputs` [batch, ...] as the module takes them, `indices` of the examples in them; `labels` [batch] or
    [batch, tokens], IGNORED where there is none.
    """

    inputs: dict[str, torch.Tensor]
    indices: Indices
    labels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> Batch:
        labels = None if self.labels is None else self.labels.to(device)
        return Batch({name: each.to(device) for name, each in self.inputs.items()}, self.indices, labels)


@dataclass(frozen=True)
class Split:
    """Indices of the examples: `held_out` is never trained on and never used for stopping."""

    train: Indices
    validation: Indices
    held_out: Indices


def rows(batch: Batch) -> float:
    """The weight of a batch whose loss is a mean over its examples."""
    return float(len(batch))


def tokens(batch: Batch) -> float:
    """The weight of a batch whose loss is a mean over its tokens, padding left out."""
    return float(batch.inputs["attention_mask"].sum())


def predicted_tokens(batch: Batch) -> float:
    """The weight of a batch whose loss is a mean over next tokens: all but the first of each text."""
    return float(batch.inputs["attention_mask"][:, 1:].sum())


@dataclass(frozen=True)
class Data:
    """What a training run reads. `pad` is the id that fills input_ids; `labels` has one array an example.

    `weight` says what a batch counts for in a mean over batches: as many as its loss is a mean over (`rows`, `tokens`,
    `predicted_tokens`), so that a loss that is such a mean does not depend on how examples are shared out among batches
    or processes. Losses that compare examples with one another see each process's own.
    """

    examples: Sequence[Example]
    train: Indices
    validation: Indices
    pad: int = 0
    labels: Sequence[NDArray[np.int64]] | None = None
    weight: Callable[[Batch], float] = rows


def split(count: int, seed: int, groups: Sequence[Hashable] | None = None) -> Split:
    """A tenth held out (at least 64), a twentieth to stop by (32 to 1024), the rest to train on (at least 64).

    Examples of one group (say, equal texts) fall on the same side; `groups` has one entry an example, None makes each
    its own. TooLittleData, with how many are needed, where there are not enough groups for the three.
    """
    names = list(range(count)) if groups is None else list(groups)
    distinct = list(dict.fromkeys(names))
    held_out = max(HELD_OUT_AT_LEAST, len(distinct) // 10)
    validation = min(VALIDATION_AT_MOST, max(VALIDATION_AT_LEAST, len(distinct) // 20))
    if len(distinct) < held_out + validation + TRAIN_AT_LEAST:
        needed = HELD_OUT_AT_LEAST + VALIDATION_AT_LEAST + TRAIN_AT_LEAST
        repeated = "" if len(distinct) == count else f" of {count}, the others repeat them"
        raise TooLittleData(
            f"{len(distinct)} different examples{repeated}; at least {needed} are needed: {HELD_OUT_AT_LEAST} held "
            f"out, {VALIDATION_AT_LEAST} to stop by, {TRAIN_AT_LEAST} to train on",
            "give more rows; they need no labels",
        )
    order = np.random.default_rng([seed, 0]).permutation(len(distinct))
    side = np.full(len(distinct), 2)
    side[order[:held_out]], side[order[held_out : held_out + validation]] = 0, 1
    place = {name: index for index, name in enumerate(distinct)}
    sides = side[[place[name] for name in names]]
    parts = [np.flatnonzero(sides == each).astype(np.int64) for each in (2, 1, 0)]
    return Split(*parts)


def batches(
    examples: Sequence[Example],
    indices: Indices,
    size: int,
    seed: int,
    epoch: int,
    pad: int = 0,
    labels: Sequence[NDArray[np.int64]] | None = None,
    *,
    shuffled: bool = True,
) -> Iterator[Batch]:
    """Each of `indices` once, `size` to a batch (the last may be smaller), padded on the right to its longest.

    The order depends on `indices`, `size`, `seed` and `epoch` alone; lengths are alike within a batch. Not shuffled,
    they come by length. BadEvalData where examples of one batch differ in shape beyond their first axis.
    """
    for chosen in plan(lengths(examples, indices), indices, size, seed, epoch, shuffled=shuffled):
        yield collated(examples, chosen, pad, labels)


def lengths(examples: Sequence[Example], indices: Indices) -> NDArray[np.int64]:
    """Tokens of each text; 0 for inputs that all have one shape."""
    ids = (examples[index].get("input_ids") for index in indices)
    return np.array([0 if each is None else len(each) for each in ids], dtype=np.int64)


def plan(
    token_counts: NDArray[np.int64], indices: Indices, size: int, seed: int, epoch: int, *, shuffled: bool = True
) -> list[Indices]:
    """Which examples make up each batch. Shuffled first, then sorted by length within pools of a few batches."""
    if size < 1:
        raise ValueError(f"a batch of {size} examples")
    if not shuffled:
        order = np.argsort(token_counts, kind="stable")
        return [indices[order[start : start + size]] for start in range(0, len(order), size)]
    draw = np.random.default_rng([seed, 1, epoch])
    order = draw.permutation(len(indices))
    made: list[Indices] = []
    for start in range(0, len(order), size * _BATCHES_PER_POOL):
        pool = order[start : start + size * _BATCHES_PER_POOL]
        pool = pool[np.argsort(token_counts[pool], kind="stable")]
        made += [indices[pool[at : at + size]] for at in range(0, len(pool), size)]
    return [made[position] for position in draw.permutation(len(made))]


def collated(
    examples: Sequence[Example],
    indices: Indices,
    pad: int = 0,
    labels: Sequence[NDArray[np.int64]] | None = None,
) -> Batch:
    """The examples of `indices` as one batch: whole numbers as int64, floats as float32."""
    import torch

    chosen = [examples[index] for index in indices]
    fill = {"input_ids": pad}
    stacked = {name: _stacked([each[name] for each in chosen], fill.get(name, 0), name) for name in chosen[0]}
    truth = None if labels is None else _stacked([np.asarray(labels[index]) for index in indices], IGNORED, "labels")
    return Batch(
        {name: torch.from_numpy(each) for name, each in stacked.items()},
        np.asarray(indices, np.int64),
        None if truth is None else torch.from_numpy(truth),
    )


def _stacked(parts: Sequence[NDArray[Any]], fill: int, name: str) -> NDArray[Any]:
    dtype: type[np.generic] = np.float32 if np.issubdtype(parts[0].dtype, np.floating) else np.int64
    if parts[0].dtype == np.bool_:
        dtype = np.bool_
    if len({part.shape[1:] for part in parts}) > 1 or len({part.ndim for part in parts}) > 1:
        shapes = sorted({str(list(part.shape)) for part in parts})
        raise BadEvalData(f"input {name} has the shapes {', '.join(shapes)}", "give all inputs one shape")
    if parts[0].ndim == 0:
        return np.array(parts, dtype)
    made = np.full((len(parts), max(len(part) for part in parts), *parts[0].shape[1:]), fill, dtype)
    for row, part in zip(made, parts, strict=True):
        row[: len(part)] = part
    return made
