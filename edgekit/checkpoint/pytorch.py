"""Pickled PyTorch checkpoints, loaded weights-only and mapped; only for models that permit pickle by name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgekit.checkpoint.dtypes import require_finite
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, MissingEngine, UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "float8_e4m3fn": "F8_E4M3"}


class PickleCheckpoint:
    """Tensors of one or several pickled state dicts."""

    def __init__(self, files: tuple[Path, ...]) -> None:

        self._state: dict[str, tuple[str, torch.Tensor]] = {}
        for path in files:
            for name, tensor in _load(path).items():
                if name in self._state:
                    raise BadModel(f"{path.name}: tensor {name!r} is in {self._state[name][0]} too")
                self._state[name] = (path.name, tensor)
        self._tensors: dict[str, TensorInfo] = {}
        for name, (_, tensor) in self._state.items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            self._tensors[name] = TensorInfo(name, _DTYPES.get(dtype, dtype), tuple(tensor.shape))

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, rows: slice | None = None) -> npt.NDArray[np.float32]:
        """See `Checkpoint.read`."""
        import torch

        file, tensor = self._state[name]
        if not tensor.dtype.is_floating_point:
            raise UnsupportedModel(f"{file}: tensor {name!r} is {tensor.dtype}, not a floating-point weight")
        part = tensor if rows is None or tensor.ndim == 0 else tensor[rows]
        values: npt.NDArray[np.float32] = part.to(torch.float32, copy=True).contiguous().numpy()
        require_finite(values, f"{file}: tensor {name!r}")
        return values

    def close(self) -> None:
        self._state.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        import torch
    except ImportError as error:
        raise MissingEngine("pickled weights need torch, which is not installed", "pip install torch") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise BadModel(f"{path.name}: not a weights-only pickle ({reason})", "convert it to safetensors") from error
    if not isinstance(state, dict):
        raise BadModel(f"{path.name}: holds a {type(state).__name__}, not a dict of tensors")
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise BadModel(f"{path.name}: holds no tensor")
    return tensors
