"""Source models: what the user brought, read from configuration and headers. No weights are loaded here."""

from __future__ import annotations

from edgekit.checkpoint.tensor import TensorInfo
from edgekit.model.config import normalise_config, normalise_tokenizer_config
from edgekit.model.digest import source_sha256
from edgekit.model.module import from_torch
from edgekit.model.opening import open_model, opened
from edgekit.model.source import Format, ImageSetup, Kind, Pooling, Quantization, SourceModel, Task, TextSetup
from edgekit.model.training import StudentSpec, Training

__all__ = [
    "Format",
    "ImageSetup",
    "Kind",
    "Pooling",
    "Quantization",
    "SourceModel",
    "StudentSpec",
    "Task",
    "TensorInfo",
    "TextSetup",
    "Training",
    "from_torch",
    "normalise_config",
    "normalise_tokenizer_config",
    "open_model",
    "opened",
    "source_sha256",
]
