"""What a header says of a stored tensor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: `dtype` by its safetensors name (F32, BF16, ...), `shape` outermost axis first."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        count = 1
        for axis in self.shape:
            count *= axis
        return count
