"""pruning.json: what was removed from a model, by what measure, and what that lost and gained."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from edgekit.report import Compared

RECORD = "pruning.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Removed(_Strict):
    """`gone` of `had` of each layer's heads or channels, of the layers, or of all matrices' weights (`what` says of
    which).
    """

    what: Literal["layers", "heads", "key/value heads", "feed-forward channels", "weights"]
    gone: int
    had: int


class Recovery(_Strict):
    """The fine-tuning after the cut, held to the unpruned model's answers."""

    losses: tuple[str, ...]
    seconds: float
    steps: int
    best_step: int
    best_loss: float
    stopped: str
    train_rows: int


class Compressed(_Strict):
    """Bytes of the same weights in a compressed file (deflate, level 6): as float32, and rounded to int8 per row, which
    is about what onnx-int8 ships.
    """

    stored_as: Literal["float32", "int8 per row"]
    plain_bytes: int
    before_bytes: int
    after_bytes: int


class PruningRecord(_Strict):
    """How a model was pruned.

    `removed` is what went; `layers_kept` and `heads_kept` (one list a layer that stayed) are the source's numbers of
    what stayed. `importance` is the measure, taken on `measured_rows` rows. `before` and `after` recovery are compared
    with the unpruned model on `held_out_rows` rows that nothing here was trained on or chosen by.
    """

    source: str
    source_sha256: str
    pruned: str
    removed: tuple[Removed, ...]
    layers_kept: tuple[int, ...]
    heads_kept: tuple[tuple[int, ...], ...]
    importance: str
    measured_rows: int
    seed: int
    origin: str
    rows: int
    held_out_rows: int
    before: tuple[Compared, ...]
    after: tuple[Compared, ...]
    gained: tuple[Compared, ...]
    recovery: Recovery | None = None
    compressed: tuple[Compressed, ...] = ()
    remarks: tuple[str, ...] = ()
