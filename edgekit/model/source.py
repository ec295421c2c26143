"""Source models: what the user brought, read from configuration and headers. No weights are loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.checkpoint.tensor import TensorInfo
from edgekit.model.training import Training

if TYPE_CHECKING:
    import numpy as np
    import torch

Format = Literal["hf", "onnx", "gguf", "torch"]
Task = Literal[
    "embedding", "text-classification", "token-classification", "causal-lm", "image-classification", "tensors"
]
Kind = Literal["base", "chat", "embedding", "classifier", "module"]
Pooling = Literal["mean", "cls", "max", "last"]


@dataclass(frozen=True)
class TextSetup:
    """How text becomes ids: the files that do it and the longest input in tokens."""

    max_tokens: int
    tokenizer_json: Path | None
    chat_template: str | None = None


@dataclass(frozen=True)
class ImageSetup:
    """How a picture becomes `pixel_values` [batch, 3, height, width], float32: resize, then (x * rescale - mean) / std.

    `crop` is the edge of a centre crop after a resize of the shorter side to `shortest_edge`; without one the picture
    is resized to height x width directly. `resample` is Pillow's number (2 bilinear, 3 bicubic).
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float = 1 / 255
    resample: int = 2
    shortest_edge: int | None = None


@dataclass(frozen=True)
class Quantization:
    """How a checkpoint's weights are stored, or what they were trained for.

    `method` is the field's name ("gptq", "awq", "compressed-tensors", "mxfp4", "bitsandbytes", "qat", ...);
    `group_size` is the number of weights in a row that share a scale, None for one scale a row. `lossless` is the GGML
    type, or the strategy ("onnx-int8"), that holds these weights without another loss, "" where none does; `types` has
    the type of each matrix (by name) that has one. `evidence` says what that was read from.
    """

    method: str
    bits: float
    group_size: int | None = None
    symmetric: bool = True
    act_order: bool = False
    lossless: str = ""
    evidence: str = ""
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AdapterPart:
    """An adapter that was merged: `source` as it was named, `files` relative to `folder`, `weight` beside others."""

    source: str
    folder: Path
    files: tuple[Path, ...]
    revision: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Merged:
    """What a model in a temporary folder was merged from. `keeps` holds that folder in being."""

    base: SourceModel
    adapters: tuple[AdapterPart, ...]
    combination: str = "cat"
    keeps: object = None


@dataclass(frozen=True)
class SourceModel:
    """What the user brought.

    `config` is config.json normalised to the transformers 4 spelling (see `normalise_config`); empty for formats
    without one. `tensors` are the stored tensors, from headers. `files` are all that defines the model, relative to
    `folder`; `source_sha256` is the digest over their names and contents. `text.tokenizer_json` lies outside `folder`
    when it had to be converted. `calibration` holds inputs that activation ranges are taken from, if the user gave any,
    and `training` what a smaller model may be trained on.
    `quantized` names the method in a word or two; `quantization` says what is known of it, also of weights stored as
    floats that lie on a quantizer's grid. `evidence` says in words what the task and the rest were read from. `merged`
    says which adapters and base the files in `folder` were made of, if they were.
    """

    name: str
    source: str
    format: Format
    task: Task
    kind: Kind
    architecture: str
    folder: Path | None
    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: tuple[TensorInfo, ...] = ()
    files: tuple[Path, ...] = ()
    file: Path | None = None
    revision: str | None = None
    licence: str | None = None
    quantized: str | None = None
    quantization: Quantization | None = None
    labels: tuple[str, ...] = ()
    text: TextSetup | None = None
    image: ImageSetup | None = None
    pooling: Pooling | None = None
    normalize: bool = False
    evidence: tuple[str, ...] = ()
    allow_pickle: bool = False
    trust_remote_code: bool = False
    module: torch.nn.Module | None = None
    example_inputs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    calibration: tuple[Mapping[str, np.ndarray], ...] = ()
    training: Training | None = None
    merged: Merged | None = None

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))
