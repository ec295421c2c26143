"""What a student is taught from: the examples as tensors, and which of them are kept from it."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import NoData
from edgekit.model import SourceModel, Training
from edgekit.training.batches import Example, Indices, Split, split
from edgekit.training.tasks import encoded, pad_id


@dataclass(frozen=True)
class Lesson:
    """`examples` in the order of the training's rows, with `labels` by class where there are any, and their `parts`."""

    examples: Sequence[Example]
    labels: Sequence[NDArray[np.int64]] | None
    parts: Split
    pad: int


def parted(training: Training) -> Split:
    """Which rows are trained on, which decide when to stop, and which are held out from both: by the rows and the seed
    alone. Equal inputs fall on the same side. TooLittleData where there are not enough.
    """
    if not len(training):
        raise NoData(f"{training.origin}: there is nothing to train on", "give --data a file with rows")
    return split(len(training), training.seed, told_apart(training))


def told_apart(training: Training) -> Sequence[Hashable]:
    """Of each example something that is equal where the input is; texts are where they differ in case and blanks alone,
    which many tokenizers do not see.
    """
    if training.arrays:
        return [_digest(each) for each in training.arrays]
    return [" ".join(each.split()).casefold() for each in training.texts or map(" ".join, training.words)]


def lesson(teacher: SourceModel, training: Training, most_tokens: int) -> Lesson:
    """The training's rows for `teacher`; the errors of `parted` and of `edgekit.training.tasks.encoded`."""
    parts = parted(training)  # before anything is tokenized
    examples, labels = encoded(teacher, training, most_tokens)
    return Lesson(examples, labels, parts, pad_id(teacher))


def evenly(indices: Indices, most: int) -> Indices:
    """At most so many of them, at even steps: rows of a file often come sorted."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def _digest(example: Example) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(example):
        array = np.ascontiguousarray(example[name])
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode() + array.tobytes())
    return digest.digest()
