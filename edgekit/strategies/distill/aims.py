"""What a student is held to, by task, and how it is trained unless somebody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.model import Task

DEFAULT_BUDGET_S = 20 * 60.0


@dataclass(frozen=True)
class Aims:
    """Weights of the losses, 0 for those that are left out, and the recipe's own numbers.

    `embedding`: cosine, and where embeddings are not normalised the squared difference too. `similarity`: how a batch's
    embeddings resemble one another, which does not ask for one width. `soft`: KL at `temperature`. `label`: the true
    class, or the next token. `hidden`: the last layer's states, or, across widths, how its tokens relate to one
    another; they are kept on disk, and left out where that would take more than `most_hidden_bytes`.
    """

    embedding: float = 0.0
    similarity: float = 0.0
    soft: float = 0.0
    label: float = 0.0
    hidden: float = 0.0
    temperature: float = 2.0
    most_tokens: int = 256
    learning_rate: float = 2e-4
    batch_size: int = 32
    epochs: int = 10
    weight_decay: float = 0.01
    most_hidden_bytes: int = 2 * 2**30


_CLASSIFIER = Aims(soft=1.0, label=0.5, hidden=0.1, learning_rate=1e-4)
AIMS: Mapping[Task, Aims] = {
    "embedding": Aims(embedding=1.0, similarity=1.0, hidden=0.1, learning_rate=6e-4),
    "text-classification": _CLASSIFIER,
    "token-classification": _CLASSIFIER,
    "image-classification": _CLASSIFIER,
    "causal-lm": Aims(soft=0.5, label=0.5, learning_rate=5e-4, batch_size=16),
}
"""One row a task that a student can be trained for."""


def aims_for(task: Task) -> Aims:
    """KeyError for a task without a row."""
    return AIMS[task]
