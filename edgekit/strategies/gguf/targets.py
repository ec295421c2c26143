"""What one tensor of a GGUF file is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    # float32 [rows, ...] -> the same shape; rows come in whole multiples of the target's granule.
    Transform = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class Target:
    """A tensor to be written: `name` is GGUF's, `shape` outermost axis first.

    `carried` is the GGML type whose blocks hold it without a loss, where it is quantized already.
    It comes from the checkpoint's tensor `source`, rows `first_row` on, through `transform`, which may mix rows only
    within blocks of `granule`; or, without a source, from `values`.
    """

    name: str
    shape: tuple[int, ...]
    source: str | None = None
    transform: Transform | None = None
    granule: int = 1
    first_row: int = 0
    values: tuple[float, ...] = ()
    carried: str | None = None

    @property
    def columns(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def layer(self) -> int | None:
        return _layer_of(self.name)


@lru_cache(maxsize=4096)
def _layer_of(name: str) -> int | None:
    """Planning asks for the same names once for each preset."""
    found = _LAYER.match(name)
    return int(found[1]) if found else None


def permute_rotary(head_dim: int) -> Transform:
    """Rows of each head from transformers' rotary order (all first halves, then all second) to interleaved pairs."""

    def transform(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        halves = values.reshape(-1, 2, head_dim // 2, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape)

    return transform


def plus_one(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Gemma's norms scale by 1 + weight, the engine by weight."""
    return values + values.dtype.type(1)
