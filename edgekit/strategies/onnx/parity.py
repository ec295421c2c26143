"""The exported graph against torch, on inputs of another shape than were traced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import SourceModel, Task
from edgekit.strategies.onnx.engine import first_line, session

if TYPE_CHECKING:
    import torch

Answers = Mapping[str, NDArray[Any]]

TOLERANCE = 1e-3
"""Largest difference allowed, relative to the largest value of that output."""


def named_outputs(output: Any, task: Task) -> dict[str, torch.Tensor]:
    """A module's answer as named tensors. UnsupportedModel if it holds anything but tensors."""
    import torch

    if isinstance(output, Mapping):
        named = dict(output)
    elif isinstance(output, (tuple, list)):
        named = {f"output_{index}" if index else "output": each for index, each in enumerate(output)}
    else:
        named = {"logits" if task == "image-classification" else "output": output}
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModel(
                f"the module's {name} is a {type(value).__name__}, not a tensor",
                "return a tensor, a tuple of tensors or a dict of tensors",
            )
    return named


def answers_by_name(module: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> Answers:
    """What a transformers model answers, by the names of its output fields."""
    import torch

    with torch.inference_mode():
        output = module(**inputs, return_dict=True)
    return {name: value.numpy() for name, value in output.items() if isinstance(value, torch.Tensor)}


def answers_by_position(module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], model: SourceModel) -> Answers:
    """What a plain module answers; UnsupportedModel if it cannot take this batch."""
    import torch

    try:
        with torch.inference_mode():
            output = module(*inputs.values())
    except Exception as error:
        batch = next(iter(inputs.values())).shape[0]
        raise UnsupportedModel(
            f"{model.architecture} fails at batch {batch}: {first_line(error)}", "keep axis 0 of every input free"
        ) from error
    return {name: value.detach().numpy() for name, value in named_outputs(output, model.task).items()}


def check(path: Path, inputs: Mapping[str, torch.Tensor], expected: Answers, name: str) -> None:
    """Run the graph on `inputs` and compare every output that torch also has.

    BadModel if torch answers with NaN or infinity; UnsupportedModel if an answer has another shape or differs by more
    than `TOLERANCE`: then the tracer froze a value that depends on the input.
    """
    with_shape = f"inputs of shape {[list(tensor.shape) for tensor in inputs.values()]}"
    running = session(path, threads=1)
    outputs = [output.name for output in running.get_outputs() if output.name in expected]
    taken = {each.name for each in running.get_inputs()}
    try:
        actual = running.run(outputs, {key: tensor.numpy() for key, tensor in inputs.items() if key in taken})
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise _frozen(name, f"fails on {with_shape}: {first_line(error)}") from error
    for output, value in zip(outputs, actual, strict=True):
        wanted = expected[output]
        if not np.isfinite(wanted).all():
            raise BadModel(f"{name} answers with NaN or infinite values in {output}", "check its weights")
        if value.shape != wanted.shape:
            raise _frozen(name, f"answers {output} {list(value.shape)}, torch {list(wanted.shape)}, on {with_shape}")
        difference = _relative_difference(value, wanted)
        if not difference <= TOLERANCE:
            raise _frozen(
                name, f"differs from torch in {output} by {difference:.2g} (limit {TOLERANCE}) on {with_shape}"
            )
    if not outputs:
        raise _frozen(name, f"has none of the outputs {', '.join(expected)}")


def _relative_difference(value: NDArray[Any], wanted: NDArray[Any]) -> float:
    if not wanted.size:
        return 0.0
    if wanted.dtype.kind in "biu":
        return float(np.mean(value != wanted))
    largest = max(float(np.abs(wanted).max()), 1e-6)
    return float(np.abs(value.astype(np.float64) - wanted).max()) / largest


def _frozen(name: str, what: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"the ONNX graph of {name} {what}",
        "the exporter froze a value that depends on the input: rewrite the model without it, or bring an ONNX file",
    )
