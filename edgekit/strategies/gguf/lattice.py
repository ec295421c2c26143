"""Weights that are on a quantizer's grid already, to blocks that hold them: no second rounding.

ggml's own quantizers take the step from each block's largest value, which on another quantizer's grid is the wrong one
whenever the largest code is not in the block. Here the step is found from the values (`edgekit.checkpoint.grid`), so
what is left is the rounding of steps and minima to float16.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edgekit.checkpoint import grid
from edgekit.strategies.gguf.blocks import check_blocks, encode
from edgekit.strategies.gguf.presets import BLOCKS, GgmlType

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BLOCK = 32
_HALF = 16
_E8M0_BIAS = 127


class Tally:
    """What carrying cost, over all matrices. Safe to add to from several threads."""

    def __init__(self) -> None:
        self.blocks = self.off_grid = 0
        self._changed = self._kept = 0.0
        self._lock = threading.Lock()

    def add(self, values: npt.NDArray[np.float32], written: npt.NDArray[np.float32], off_grid: int) -> None:
        import numpy as np

        changed = float(np.square(written - values, dtype=np.float64).sum())
        kept = float(np.square(values, dtype=np.float64).sum())
        with self._lock:
            self.blocks += len(values)
            self.off_grid += off_grid
            self._changed += changed
            self._kept += kept

    @property
    def relative_rmse(self) -> float:
        """Of what was written against what was read: 0 where nothing was lost."""
        return (self._changed / self._kept) ** 0.5 if self._kept else 0.0

    def told(self) -> str:
        rounded = f"; {self.off_grid} were off it and were rounded" if self.off_grid else ""
        return f"{self.blocks} blocks carried on their own grid, relative RMSE {self.relative_rmse:.1e}{rounded}"


def carry(
    values: npt.NDArray[np.float32], ggml_type: GgmlType, dtype: str, name: str, tally: Tally | None = None
) -> memoryview:
    """The data of float32 [rows, columns] that lie on the grid of `ggml_type` (Q4_0, Q4_1, Q8_0 or MXFP4).

    `dtype` is what they were stored as. Blocks that are off the grid are rounded by ggml. BadModel as `blocks.encode`.
    """
    import numpy as np

    blocks = np.ascontiguousarray(values).reshape(-1, _BLOCK)
    fit = _fit(blocks, ggml_type, grid.rounding_of(dtype))
    data = _PACKERS[ggml_type](fit)
    off = np.flatnonzero(~fit.on_grid)
    if len(off):
        rounded = np.frombuffer(encode(blocks[off], ggml_type, name), np.uint8)
        data[off] = rounded.reshape(len(off), -1)
    check_blocks(data, ggml_type, name)
    if tally is not None:
        tally.add(blocks, unpack_blocks(data, ggml_type), len(off))
    return data.reshape(-1).data


def _fit(blocks: npt.NDArray[np.float32], ggml_type: GgmlType, rounding: float) -> grid.Fit:
    if ggml_type == "MXFP4":
        return grid.fit_mxfp4(blocks)
    if ggml_type == "Q4_1":
        return grid.fit_affine(blocks, 4, rounding)
    return grid.fit_symmetric(blocks, 8 if ggml_type == "Q8_0" else 4, rounding)


def _halves(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """[blocks] -> float16 bytes [blocks, 2]."""
    import numpy as np

    with np.errstate(over="ignore"):  # what becomes infinite is refused by check_blocks, by name
        return values.astype("<f2").view(np.uint8).reshape(-1, 2)


def _nibbles(codes: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Codes [blocks, 32] of 0 to 15 -> [blocks, 16]: the first half in the low nibbles, the second in the high ones."""
    import numpy as np

    return (codes[:, :_HALF] | codes[:, _HALF:] << 4).astype(np.uint8)


def _pack_q4_0(fit: grid.Fit) -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.concatenate([_halves(fit.step), _nibbles(fit.codes + 8)], axis=1)


def _pack_q4_1(fit: grid.Fit) -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.concatenate([_halves(fit.step), _halves(fit.minimum), _nibbles(fit.codes)], axis=1)


def _pack_q8_0(fit: grid.Fit) -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.concatenate([_halves(fit.step), fit.codes.astype(np.int8).view(np.uint8)], axis=1)


def _pack_mxfp4(fit: grid.Fit) -> npt.NDArray[np.uint8]:
    import numpy as np

    exponents = np.clip(np.frexp(fit.step)[1] - 1 + _E8M0_BIAS, 0, 254).astype(np.uint8)
    return np.concatenate([exponents[:, None], _nibbles(fit.codes)], axis=1)


_PACKERS = {"Q4_0": _pack_q4_0, "Q4_1": _pack_q4_1, "Q8_0": _pack_q8_0, "MXFP4": _pack_mxfp4}
CARRIERS = tuple(_PACKERS)


def unpack_blocks(data: npt.NDArray[np.uint8], ggml_type: GgmlType) -> npt.NDArray[np.float32]:
    """The values float32 [blocks, 32] that blocks [blocks, bytes] of a carrying type stand for."""
    import numpy as np

    if ggml_type == "MXFP4":
        table = np.array([*grid.E2M1, *(-each for each in grid.E2M1)], np.float32)
        return table[_codes(data[:, 1:])] * np.ldexp(np.float32(1), data[:, :1].astype(np.int32) - _E8M0_BIAS)
    step = np.ascontiguousarray(data[:, :2]).view("<f2").astype(np.float32)
    if ggml_type == "Q8_0":
        return np.ascontiguousarray(data[:, 2:]).view(np.int8) * step
    if ggml_type == "Q4_0":
        return (_codes(data[:, 2:]).astype(np.int16) - 8) * step
    minimum = np.ascontiguousarray(data[:, 2:4]).view("<f2").astype(np.float32)
    values: npt.NDArray[np.float32] = _codes(data[:, BLOCKS["Q4_1"][1] - _HALF :]) * step + minimum
    return values


def _codes(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.concatenate([packed & 15, packed >> 4], axis=1)
