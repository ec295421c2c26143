"""A torch module that is already in memory as a source model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, MissingEngine, UnsupportedModel
from edgekit.model.config import kind_of
from edgekit.model.source import ImageSetup, SourceModel, Task

if TYPE_CHECKING:
    import torch

_TASKS: tuple[Task, ...] = ("tensors", "image-classification")


def from_torch(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor],
    *,
    name: str,
    task: Task = "tensors",
    labels: tuple[str, ...] = (),
    image: ImageSetup | None = None,
) -> SourceModel:
    """`module` with one example of each input of its forward(); axis 0 of every input is a batch of any size.

    Image classification takes one input [batch, 3, height, width] and needs `labels` and `image`. The module is not
    changed. BadModel for NaN or infinite weights and for inputs that forward() does not take.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingEngine("a torch module needs torch", "pip install torch transformers") from error
    if not isinstance(module, torch.nn.Module):
        raise UnsupportedModel(f"{type(module).__name__} is not a torch.nn.Module")
    if task not in _TASKS:
        remedy = "supported: tensors, image-classification; for text tasks save a folder with its tokenizer"
        raise UnsupportedModel(f"a torch module cannot be packed for {task}", remedy)
    if task == "image-classification" and (image is None or not labels):
        raise BadModel("a module for image-classification needs labels=(...) and image=ImageSetup(...)")
    inputs = _named_inputs(module, example_inputs)
    state = module.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadModel(f"tensor {key} holds NaN or infinite values", "train or convert the model again")
    return SourceModel(
        name=re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "module",
        source=f"torch module {type(module).__qualname__}",
        format="torch",
        task=task,
        kind=kind_of(task, None),
        architecture=type(module).__name__,
        folder=None,
        tensors=tuple(TensorInfo(key, _dtype_name(value), tuple(value.shape)) for key, value in state.items()),
        labels=labels,
        image=image,
        evidence=(f"task {task}: as given", "licence: not stated"),
        module=module,
        example_inputs=inputs,
    )


def _named_inputs(module: torch.nn.Module, given: Any) -> dict[str, torch.Tensor]:
    """Inputs by the names of forward()'s parameters, checked to be tensors of one batch size."""
    import torch

    parameters = list(inspect.signature(module.forward).parameters.values())
    names = [parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    if isinstance(given, torch.Tensor):
        given = (given,)
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(names))
        if unknown and len(names) == len(parameters):
            raise BadModel(f"forward() takes {', '.join(names)}; the example inputs name {unknown[0]!r}")
        # In forward()'s order: exporters and the reference pass them by position.
        inputs = dict(sorted(given.items(), key=lambda each: names.index(each[0]) if each[0] in names else len(names)))
    else:
        if len(given) > len(names):
            raise BadModel(f"forward() takes {len(names)} inputs, {len(given)} examples were given")
        inputs = dict(zip(names, given, strict=False))
    if not inputs:
        raise BadModel("no example inputs", "give one tensor for each input of forward()")
    for name, value in inputs.items():
        if not isinstance(value, torch.Tensor) or value.dim() == 0:
            raise BadModel(f"example input {name} is no tensor with a batch axis")
    batches = {name: value.shape[0] for name, value in inputs.items()}
    if len(set(batches.values())) != 1:
        raise BadModel(f"example inputs have batch sizes {batches}; axis 0 of all is one batch")
    return inputs


def _dtype_name(tensor: torch.Tensor) -> str:
    """The safetensors name: torch.float32 -> F32, torch.bfloat16 -> BF16, torch.int64 -> I64."""
    text = str(tensor.dtype).removeprefix("torch.")
    for old, new in (("bfloat", "BF"), ("float", "F"), ("uint", "U"), ("int", "I"), ("bool", "BOOL")):
        if text.startswith(old):
            return new + text.removeprefix(old).upper()
    return text.upper()
