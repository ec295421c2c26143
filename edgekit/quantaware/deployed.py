"""Which layers a deployment quantizes, and how: asked of the strategy that makes it, not guessed from names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgekit.errors import UnsupportedModel
from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.quantaware import grids
from edgekit.quantaware.layers import Kind, is_plain

if TYPE_CHECKING:
    import torch
    from torch import nn

Deployment = Literal["onnx-int8", "gguf-Q4_0"]
DEPLOYMENTS: tuple[str, ...] = get_args(Deployment)


def kinds_for(
    deployment: Deployment,
    model: SourceModel,
    module: nn.Module,
    folder: Path,
    progress: Progress,
    *,
    seven_bits: bool = False,
) -> dict[str, Kind]:
    """How each submodule's weight is deployed, by its name; those left in float are not named.

    `module` is the model's own, in float32; `folder` is scratch. UnsupportedModel where the strategy cannot make it or
    quantizes no layer of it.
    """
    if deployment == "gguf-Q4_0":
        found = dict(_q4_0_kinds(model, module))
    else:
        found = _int8_kinds(model, module, folder, progress, seven_bits)
    if not any(name for name in found):
        raise UnsupportedModel(
            f"{model.source}: {deployment} quantizes none of its layers", "there is nothing to train"
        )
    return found


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Products and tables that can be trained as deployed, each weight once (tied ones by their first name)."""
    from torch import nn

    seen: set[int] = set()
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding) and is_plain(part) and id(part.weight) not in seen:
            seen.add(id(part.weight))
            yield name, part


def _q4_0_kinds(model: SourceModel, module: nn.Module) -> Iterator[tuple[str, Kind]]:
    from edgekit.strategies.gguf.architecture import lay_out
    from edgekit.strategies.gguf.offers import choice_of
    from edgekit.strategies.gguf.presets import PRESETS

    layout = lay_out(model)
    choice = choice_of(layout, PRESETS["Q4_0"])
    wanted = {target.source for target in layout.targets if choice(target) == "Q4_0"}
    for name, _ in _layers(module):
        if _stored_name(f"{name}.weight", module, wanted) is not None:
            yield name, "q4_0"


def _stored_name(name: str, module: nn.Module, stored: set[str | None]) -> str | None:
    """A parameter's name in the checkpoint: with or without the prefix of the part that both kinds of class share."""
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    return next((each for each in (name, prefix + name, name.removeprefix(prefix)) if each in stored), None)


def _int8_kinds(
    model: SourceModel, module: nn.Module, folder: Path, progress: Progress, seven_bits: bool
) -> dict[str, Kind]:
    """The strategy's own graph is made once, and each layer looked for in it by the integers that it becomes."""
    from edgekit.strategies.onnx.float_graph import write_float_graph
    from edgekit.strategies.onnx.graph import load
    from edgekit.strategies.onnx.quantize import Int8Choice, quantize
    from edgekit.strategies.onnx.shapes import is_convolutional

    if is_convolutional(model):
        raise UnsupportedModel(
            f"{model.source}: convolution nets are quantized statically, with calibrated ranges",
            "training is for dynamic int8: transformers; give calibration inputs instead",
        )
    source = write_float_graph(model, folder / "float", progress)
    target = folder / "int8" / "model.onnx"
    quantize(source.path, target, model, Int8Choice(reduce_range=seven_bits), progress)
    stored = _integers(load(target))
    found: dict[str, Kind] = {}
    seen = set()
    for name, part in _layers(module):
        kind: Kind = _int8_kind(part, seven_bits)
        digest = _digest(_codes(part, kind))
        if digest in stored:
            found[name] = kind
            seen.add(digest)
    others = sorted(name for digest, name in stored.items() if digest not in seen)
    if others:
        raise UnsupportedModel(
            f"{model.source}: onnx-int8 also quantizes {len(others)} matrices of layers that are no plain products or "
            f"tables ({others[0]}): in training they would be float",
            "pack it as it is: --strategy onnx-int8",
        )
    return found


def _int8_kind(part: nn.Module, seven_bits: bool) -> Kind:
    from torch import nn

    if isinstance(part, nn.Embedding):
        return "uint8-table"
    return "int8-7bit" if seven_bits else "int8"


def _codes(part: nn.Module, kind: Kind) -> torch.Tensor:
    """The integers as the graph stores them: [columns, rows] of a product, [rows, columns] of a table."""
    import torch

    weight: torch.Tensor = part.weight.detach().float().cpu()  # type: ignore[operator]
    if kind == "uint8-table":
        return grids.uint8_table(weight).codes(weight).to(torch.uint8)
    largest = grids.SEVEN_BITS if kind == "int8-7bit" else grids.EIGHT_BITS
    return grids.int8_rows(weight, largest).codes.to(torch.int8).T.contiguous()


def _integers(proto: Any) -> Mapping[str, str]:
    """Names of the graph's 8-bit matrices by the digest of their values."""
    import onnx

    return {
        _digest_bytes(array.tobytes(), array.shape): tensor.name
        for tensor in proto.graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        for array in (onnx.numpy_helper.to_array(tensor),)
    }


def _digest(codes: torch.Tensor) -> str:
    return _digest_bytes(codes.numpy().tobytes(), tuple(codes.shape))


def _digest_bytes(data: bytes, shape: tuple[int, ...]) -> str:
    return hashlib.sha256(repr(shape).encode() + data).hexdigest()
