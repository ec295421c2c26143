"""Where static quantization takes its activation ranges from: the user's inputs, or pictures drawn for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadEvalData, UnsupportedModel
from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.strategies import TensorSignature
from edgekit.strategies.onnx.inputs import pictures

PICTURES = 32
"""How many are drawn where the user gives none."""

Batch = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Calibration:
    """`batches` are run one at a time and not kept; `origin` says in words where they come from."""

    count: int
    batches: Iterator[Batch]
    origin: str


def calibration(model: SourceModel, inputs: Sequence[TensorSignature]) -> Calibration:
    """The best calibration inputs there are for a graph with these `inputs`.

    BadEvalData if the user's do not fit the graph; UnsupportedModel if there are none and none can be drawn.
    """
    if model.calibration:
        given = tuple(_checked(batch, index, inputs) for index, batch in enumerate(model.calibration))
        return Calibration(len(given), iter(given), f"{len(given)} calibration inputs of the user")
    picture = _picture_input(inputs)
    if picture is not None and (model.image is not None or not model.example_inputs):
        batch, height, width = picture
        drawn = ({inputs[0].name: pictures(batch, height, width, seed)} for seed in range(PICTURES))
        return Calibration(PICTURES, drawn, f"{PICTURES} drawn pictures, none given: real inputs calibrate better")
    if model.example_inputs:
        example = {name: tensor.detach().cpu().numpy() for name, tensor in model.example_inputs.items()}
        return Calibration(1, iter([example]), "the example inputs, no others given: real inputs calibrate better")
    shapes = ", ".join(f"{each.name} {list(each.shape)}" for each in inputs)
    raise UnsupportedModel(
        f"{model.name} is a convolution net whose int8 needs calibration inputs, and none can be drawn for {shapes}",
        "give calibration inputs, or use --strategy onnx-fp32",
    )


def _picture_input(inputs: Sequence[TensorSignature]) -> tuple[int, int, int] | None:
    """(batch, height, width) if the graph takes exactly one float32 picture of a known size."""
    if len(inputs) != 1 or inputs[0].dtype != "float32" or len(inputs[0].shape) != 4:
        return None
    batch, channels, height, width = inputs[0].shape
    if channels != 3 or not isinstance(height, int) or not isinstance(width, int):
        return None
    return (batch if isinstance(batch, int) else 1), height, width


def _checked(batch: Batch, index: int, inputs: Sequence[TensorSignature]) -> Batch:
    for each in inputs:
        if each.name not in batch:
            raise BadEvalData(
                f"calibration input {index} lacks {each.name!r}", f"the graph takes {', '.join(i.name for i in inputs)}"
            )
        array = batch[each.name]
        fixed = [axis for axis in each.shape if isinstance(axis, int)]
        fits = array.ndim == len(each.shape) and all(
            wanted == size for wanted, size in zip(each.shape, array.shape, strict=True) if isinstance(wanted, int)
        )
        if str(array.dtype) != each.dtype or (fixed and not fits):
            raise BadEvalData(
                f"calibration input {index}: {each.name} is {array.dtype} {list(array.shape)}",
                f"the graph takes {each.dtype} {list(each.shape)}",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadEvalData(f"calibration input {index}: {each.name} holds NaN or infinity", "remove that input")
    return {each.name: batch[each.name] for each in inputs}


class Reader:
    """onnxruntime's CalibrationDataReader: one batch at a time, then None."""

    def __init__(self, source: Calibration, progress: Progress) -> None:
        self._batches = source.batches
        self._progress = progress

    def get_next(self) -> Batch | None:
        self._progress.advance(1)
        return next(self._batches, None)
