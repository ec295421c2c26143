"""torch -> ONNX, float32: through optimum where it covers the architecture, else through torch.onnx alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.model import SourceModel, Task
from edgekit.strategies.onnx import parity
from edgekit.strategies.onnx.engine import explained, require, silenced
from edgekit.strategies.onnx.graph import load, save
from edgekit.strategies.onnx.inputs import other_batch, probe_inputs, trace_inputs
from edgekit.strategies.onnx.pool import TOKENS, append_pooling

if TYPE_CHECKING:
    import torch

OPSET = 18
"""The first with every operator used here, and optimum's default; ONNX Runtime has it since 1.14."""

_OPTIMUM_TASKS: Mapping[Task, str] = {
    "embedding": "feature-extraction",
    "text-classification": "text-classification",
    "token-classification": "token-classification",
    "image-classification": "image-classification",
}
_FREE_AXES: Mapping[str, Mapping[int, str]] = {
    "pixel_values": {0: "batch_size"},
    "input_ids": {0: "batch_size", 1: "sequence_length"},
    "attention_mask": {0: "batch_size", 1: "sequence_length"},
    "token_type_ids": {0: "batch_size", 1: "sequence_length"},
}


def export_checkpoint(model: SourceModel, path: Path) -> tuple[str, ...]:
    """Export a Hugging Face-layout model to `path`; pooling becomes part of an embedding model's graph.

    The graph is run against torch on another batch and length than were traced: a constant frozen by the tracer is
    found here. Returns notes. UnsupportedModel if the exporter cannot; BadModel if the model answers with NaN.
    """
    from edgekit.torch_model import load_torch

    module = load_torch(model)
    config = _optimum_config(module, model.task)
    with _explained(model):
        names = _export_plain(module, model, path) if config is None else _export_optimum(module, config, model, path)
    inputs = probe_inputs(model, names)
    expected = parity.answers_by_name(module, inputs)
    del module  # a second copy of the weights
    proto = load(path)
    if model.image is not None:
        _fix_picture_shape(proto, model.image.height, model.image.width)
    if model.task == "embedding":
        append_pooling(proto, model.pooling or "mean", model.normalize)
    save(proto, path)
    del proto
    parity.check(path, inputs, expected, model.name)
    return _pooling_notes(model)


def export_module(model: SourceModel, path: Path) -> tuple[str, ...]:
    """Export a plain torch module with its example inputs; axis 0 of every input is a free batch axis.

    Outputs are named `logits` for a classifier, else by the module's own keys, or `output`, `output_1`, ...
    """
    import torch

    from edgekit.torch_model import load_torch

    module = load_torch(model)
    inputs = {name: tensor.detach().cpu() for name, tensor in model.example_inputs.items()}
    with _explained(model), torch.no_grad():
        names = list(parity.named_outputs(module(*inputs.values()), model.task))
        axes = {name: {0: "batch"} for name in (*inputs, *names)}
        _trace(module, tuple(inputs.values()), path, list(inputs), names, axes)
    proto = load(path)
    save(proto, path)
    probe = other_batch(inputs)
    parity.check(path, probe, parity.answers_by_position(module, probe, model), model.name)
    return ()


def _optimum_config(module: torch.nn.Module, task: Task) -> Any:
    """Optimum's OnnxConfig for this architecture and task, or None where it has none."""
    require("onnx")
    require("optimum.exporters.onnx.model_configs")  # registers the configurations
    tasks = require("optimum.exporters.tasks").TasksManager
    config: Any = module.config
    try:
        constructor = tasks.get_exporter_config_constructor(
            "onnx", model_type=config.model_type, task=_OPTIMUM_TASKS[task], library_name="transformers"
        )
    except (KeyError, ValueError):
        return None
    return constructor(config)


def _export_optimum(module: torch.nn.Module, config: Any, model: SourceModel, path: Path) -> list[str]:
    convert = require("optimum.exporters.onnx.convert")
    shapes: dict[str, int] = {}
    if model.image is not None:
        shapes = {"height": model.image.height, "width": model.image.width}
    path.parent.mkdir(parents=True, exist_ok=True)
    with silenced():
        names, _ = convert.export_pytorch(
            module, config, max(OPSET, config.DEFAULT_ONNX_OPSET), path, input_shapes=shapes
        )
    return list(names)


def _export_plain(module: torch.nn.Module, model: SourceModel, path: Path) -> list[str]:
    """Without an OnnxConfig: the inputs that the module's forward names, the task's output."""
    inputs = trace_inputs(model, module)
    output = TOKENS if model.task == "embedding" else "logits"
    axes = {name: dict(_FREE_AXES[name]) for name in inputs}
    per_token = model.task in ("embedding", "token-classification")
    axes[output] = {0: "batch_size", 1: "sequence_length"} if per_token else {0: "batch_size"}
    _trace(_by_position(module, list(inputs), output), tuple(inputs.values()), path, list(inputs), [output], axes)
    return list(inputs)


def _by_position(module: torch.nn.Module, inputs: list[str], output: str) -> torch.nn.Module:
    """The transformers model as the tracer wants it: positional inputs, one tensor out."""
    import torch

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *values: torch.Tensor) -> Any:
            return self.module(**dict(zip(inputs, values, strict=True)), return_dict=True)[output]

    return Positional().eval()


def _trace(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    import torch

    require("onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    with silenced(), torch.no_grad():
        torch.onnx.export(
            module,
            args,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _fix_picture_shape(proto: Any, height: int, width: int) -> None:
    """The pictures' size is part of the model: only the batch axis stays free."""
    for value in proto.graph.input:
        if value.name == "pixel_values":
            for dim, size in zip(value.type.tensor_type.shape.dim[1:], (3, height, width), strict=True):
                dim.dim_value = size


def _pooling_notes(model: SourceModel) -> tuple[str, ...]:
    if model.task != "embedding" or model.pooling is not None:
        return ()
    return ("the source names no pooling: the mean over the tokens is used",)


def _explained(model: SourceModel) -> AbstractContextManager[None]:
    return explained(
        f"{model.architecture} cannot be exported to ONNX for {model.task}",
        "see the exporter's supported architectures, or bring an ONNX file",
    )
