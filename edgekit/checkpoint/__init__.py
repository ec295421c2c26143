"""Checkpoints: a source model's tensors as float32, lazily, whatever stores them. One module per storage format; those
of quantized weights are in FORMATS.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from edgekit.checkpoint.formats import setup_of, unpacked
from edgekit.checkpoint.safetensors import SafetensorsCheckpoint, safetensors_files, safetensors_header
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, UnsafeModel

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from edgekit.model import SourceModel

__all__ = ["Checkpoint", "SafetensorsCheckpoint", "open_checkpoint", "pickle_files", "safetensors_header"]


class Checkpoint(Protocol):
    """Named tensors. Close it, or use it in a `with` block; safe to read from several threads."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def read(self, name: str, rows: slice | None = None) -> npt.NDArray[np.float32]:
        """A private float32 copy, of some rows of the outermost axis if asked; BadModel where a value is not finite."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_checkpoint(model: SourceModel) -> Checkpoint:
    """The model's weights, unpacked if quantized: safetensors, or pickle where the model permits it by name."""
    if model.folder is None:
        raise BadModel(f"{model.source}: a model of format {model.format!r} has no checkpoint folder")
    files = safetensors_files(model.folder)
    if files:
        store = SafetensorsCheckpoint(files)
        setup = setup_of(model.config)
        return store if setup is None or model.quantization is None else unpacked(store, setup)
    pickles = pickle_files(model.folder)
    if not pickles:
        raise BadModel(
            f"{model.folder}: no weights found", "put model.safetensors or model.safetensors.index.json there"
        )
    if not model.allow_pickle:
        raise UnsafeModel(
            f"{pickles[0].name}: the weights are a pickle, which may run code when loaded",
            "convert them to safetensors, or pass --allow-pickle to load them weights-only",
        )
    from edgekit.checkpoint.pytorch import PickleCheckpoint

    return PickleCheckpoint(pickles)


def pickle_files(folder: Path) -> tuple[Path, ...]:
    """The pickled checkpoint files of a Hugging Face folder: one, the shards, or none."""
    single = folder / "pytorch_model.bin"
    return (single,) if single.is_file() else tuple(sorted(folder.glob("pytorch_model-*-of-*.bin")))
