"""The values that a merge is made of: the base, its adapters, and each tensor with where its values come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.adapters.naming import Naming
from edgekit.adapters.stored import Adapter
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadAdapter

if TYPE_CHECKING:
    from edgekit.adapters.products import Read, Step
    from edgekit.checkpoint import Checkpoint

    Change = Callable[[Read], Step]

Combination = Literal["cat", "linear"]
FLOATS = ("F32", "F16", "BF16", "F64")
OUTPUT = "lm_head"
"""The module that a tied language model has no weights for."""


@dataclass(frozen=True)
class Base:
    """The full-precision model. `shards` are its weight files' names with their tensors, `path` what people call it.

    `keeps` tells by its merged name whether a tensor stays, where the adapter has another head than the base.
    `decodes`: it is a language model, whose output may be tied to its input embedding.
    """

    path: str
    folder: Path
    store: Checkpoint
    shards: Sequence[tuple[str, Sequence[TensorInfo]]]
    config: Mapping[str, Any]
    decodes: bool
    keeps: Callable[[str], bool] = lambda _: True


@dataclass(frozen=True)
class Weighted:
    adapter: Adapter
    weight: float = 1.0


@dataclass(frozen=True)
class Piece:
    """A tensor of the merged model: `key` of `origin`, changed in turn. `file` is the base's file it may be copied
    from as it is, None where there is none.
    """

    info: TensorInfo
    origin: Checkpoint
    key: str
    changes: tuple[Change, ...] = ()
    file: Path | None = None


@dataclass(frozen=True)
class Layout:
    """`shards` by file name. `unties`: the output was tied to the input embedding and is so no more. `vocabulary` is
    the number of rows of the input embedding where it differs from the base's. `changed` counts tensors.
    """

    shards: tuple[tuple[str, tuple[Piece, ...]], ...]
    unties: bool = False
    vocabulary: int | None = None
    changed: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class Merging:
    """What is gathered while a layout is made. `pieces` are by name in the merged model, `files` give their shard."""

    base: Base
    given: Sequence[Weighted]
    combination: Combination
    names: Naming
    pieces: dict[str, Piece] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def add(merge: Merging, piece: Piece, file: str) -> None:
    merge.pieces[piece.info.name] = piece
    merge.files[piece.info.name] = file


def renamed(piece: Piece, name: str) -> Piece:
    info = TensorInfo(name, piece.info.dtype, piece.info.shape)
    return Piece(info, piece.origin, piece.key, piece.changes, piece.file)


def other_shape(where: str, name: str, has: Sequence[int], base: str, wanted: Sequence[int]) -> BadAdapter:
    return BadAdapter(
        f"{where} was made for another architecture: its {name} is {list(has)}, that of {base} is {list(wanted)}",
        "give the base that it was trained on with --base",
    )
