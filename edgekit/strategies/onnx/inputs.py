"""Input tensors to trace a model with and to check its export by: deterministic, and awkward on purpose."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UnsupportedModel
from edgekit.model import SourceModel

if TYPE_CHECKING:
    import torch

_TRACED_BATCH, _TRACED_TOKENS = 2, 16
_PROBE_BATCH, _PROBE_TOKENS = 3, 23


def trace_inputs(model: SourceModel, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What `module.forward` takes of the usual inputs, for a tracer."""
    accepted = inspect.signature(module.forward).parameters
    usual = ("pixel_values",) if model.image is not None else ("input_ids", "attention_mask", "token_type_ids")
    names = [name for name in usual if name in accepted]
    if not names:
        raise UnsupportedModel(f"{model.architecture} takes none of {', '.join(usual)}", "bring an ONNX file")
    return _inputs(model, names, _TRACED_BATCH, _TRACED_TOKENS)


def probe_inputs(model: SourceModel, names: Collection[str]) -> dict[str, torch.Tensor]:
    """Another batch and another length than any exporter traces with, and padding on the right of one row."""
    longest = model.text.max_tokens if model.text is not None else _PROBE_TOKENS
    inputs = _inputs(model, names, _PROBE_BATCH, min(_PROBE_TOKENS, longest))
    if "attention_mask" in inputs:
        inputs["attention_mask"][1, -3:] = 0
    return inputs


def _inputs(model: SourceModel, names: Collection[str], batch: int, tokens: int) -> dict[str, torch.Tensor]:
    import torch

    random = np.random.default_rng(0)
    shape = (batch, tokens)
    inputs: dict[str, torch.Tensor] = {}
    for name in names:
        if name == "input_ids":
            # 5 and up: the first ids are padding and other special tokens in every vocabulary in use.
            high = max(6, int(model.config.get("vocab_size", 100)))
            inputs[name] = torch.from_numpy(random.integers(5, high, shape, dtype=np.int64))
        elif name == "attention_mask":
            inputs[name] = torch.ones(shape, dtype=torch.int64)
        elif name == "token_type_ids":
            inputs[name] = torch.zeros(shape, dtype=torch.int64)
        elif name == "pixel_values" and model.image is not None:
            inputs[name] = torch.from_numpy(pictures(batch, model.image.height, model.image.width))
        else:
            raise UnsupportedModel(
                f"{model.architecture} wants an input {name!r}, which no runtime here makes", "bring an ONNX file"
            )
    return inputs


def pictures(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth normalised pictures [count, 3, height, width]: waves of a few scales, an edge and a little noise.

    Each has mean about 0 and values within about 3, as pictures have after the usual normalisation.
    """
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    batch = np.empty((count, 3, height, width), np.float32)
    for picture in batch:
        brightness = random.uniform(-1, 1)
        for channel in picture:
            waves = brightness + random.normal(0, 0.05, (height, width))
            for scale in (1, 3, 9, 27):
                turn, phase = random.uniform(0, 2 * np.pi, 2)
                wave = np.sin(2 * np.pi * scale * (x * np.cos(turn) + y * np.sin(turn)) + phase)
                waves = waves + wave * random.uniform(0.2, 0.8) / np.sqrt(scale)
            channel[:] = waves
        top, left = random.integers(0, height), random.integers(0, width)
        picture[:, top:, left:] += random.uniform(-1.5, 1.5, (3, 1, 1))
    return batch


def other_batch(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The example inputs at a batch of three more, rows in another order; floats are scaled so that no row repeats."""
    import torch

    batches = {tensor.shape[0] if tensor.ndim else 0 for tensor in inputs.values()}
    if len(batches) != 1 or 0 in batches:
        shapes = {name: list(tensor.shape) for name, tensor in inputs.items()}
        raise UnsupportedModel(
            f"example inputs {shapes} do not share a batch axis", "give every input the same axis 0, at least 1 long"
        )
    rows = batches.pop() + 3
    probes: dict[str, Any] = {}
    for name, tensor in inputs.items():
        order = torch.arange(rows).flip(0) % tensor.shape[0]
        probe = tensor[order].clone()
        if probe.is_floating_point():
            scale = torch.linspace(0.7, 1.3, rows, dtype=probe.dtype)
            probe *= scale.reshape(-1, *[1] * (probe.ndim - 1))
        probes[name] = probe
    return probes
