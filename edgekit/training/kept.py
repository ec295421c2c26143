"""What is kept of a teacher's answers, and how it lies in files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgekit.model import Pooling, Task


@dataclass(frozen=True)
class Kept:
    """What is kept of the teacher's answers. `hidden` are indices into the states of its layers (-1 the last).

    `top` logits of a position are kept where a causal LM has more than cache.FULL_VOCABULARY; the others' mass is
    summed at `temperature`, which the loss must then use.
    """

    task: Task
    pooling: Pooling | None = None
    normalize: bool = False
    hidden: tuple[int, ...] = ()
    temperature: float = 1.0
    top: int = 64


@dataclass(frozen=True)
class Field:
    """One file: rows of `shape` and `dtype`, one for each example, or one a token."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    per_token: bool

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def size_bytes(self, token_counts: NDArray[np.int64]) -> int:
        return self.row_bytes * int(token_counts.sum() if self.per_token else len(token_counts))


def fields_of(found: Mapping[str, NDArray[Any]], *, is_text: bool) -> list[Field]:
    """By the answers to one example [1, ...]: which are one a token is told by what they are."""
    per_token = {"top_values", "top_ids", "top_rest"} | {name for name in found if name.startswith("hidden_")}
    if is_text and "logits" in found and found["logits"].ndim == 3:
        per_token.add("logits")
    made = []
    for name, each in found.items():
        by_token = is_text and name in per_token
        made.append(Field(name, tuple(each.shape[2 if by_token else 1 :]), str(each.dtype), by_token))
    return made
