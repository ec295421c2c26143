"""Finding the grid that quantized values lie on, from the values alone: exact, whoever stored them and however.

Blocks are float32 [blocks, values]. A block lies on a grid if one step (and for affine grids one minimum) reproduces
every value within the rounding it was stored with. For a handful of bits that cannot happen by chance: of values drawn
at random, one in ten or fewer is near a multiple of a step, of a block of 32 none is all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The magnitudes of MXFP4's values by their three low bits."""
EXACT = 2.0**-20
"""Relative rounding of products that were computed in float32."""
_BFLOAT16 = 2.0**-8
_FLOATS = ("F64", "F32", "F16", "BF16")
_SLACK = 2.2  # the step is taken from a value that is rounded itself
_WHOLE = 1e-3  # how far a ratio of up to 127, of float32 values, may be from a whole number
_FEWEST_CODES = 4
_PROBES = 8  # values of a block that a step is tried on before all are


@dataclass(frozen=True)
class Fit:
    """Blocks as `codes` * step + minimum. `on_grid` [blocks] says where that holds; elsewhere they mean nothing."""

    codes: npt.NDArray[np.int16]
    step: npt.NDArray[np.float32]
    minimum: npt.NDArray[np.float32]
    on_grid: npt.NDArray[np.bool_]


def rounding_of(dtype: str) -> float:
    """How far, in parts of itself, a value stored as `dtype` may be from its grid.

    Checkpoints of trained grids are float of any width that went through bfloat16; packed ones are computed here.
    """
    return _BFLOAT16 if dtype in _FLOATS else EXACT


def fit_symmetric(values: npt.NDArray[np.float32], bits: int, rounding: float) -> Fit:
    """Codes from -2^(bits-1) to 2^(bits-1) - 1 times a step of either sign."""
    import numpy as np

    half = 1 << (bits - 1)
    rows = np.arange(len(values))
    extreme = values[rows, np.abs(values).argmax(axis=1)].astype(np.float64)
    codes, step = np.zeros(values.shape, np.int16), np.zeros(len(values), np.float64)
    on_grid = extreme == 0
    # The largest code is n, or a multiple of it is: half to 2 * half covers every n, and half/2 both of its signs.
    for largest in [half, *range(half - 1, half // 2 - 1, -1)]:
        left = np.flatnonzero(~on_grid)
        if not len(left):
            break
        steps = extreme[left] / (-largest if largest == half else largest)
        for columns in (slice(None, None, max(values.shape[1] // _PROBES, 1)), slice(None)):
            ratio = values[left][:, columns] / steps[:, None]
            near = np.rint(ratio)
            fits = np.abs(ratio - near) <= _SLACK * rounding * np.abs(near) + 1e-6
            kept = (fits & (near >= -half) & (near < half)).all(axis=1)
            left, steps = left[kept], steps[kept]
        on_grid[left] = True
        codes[left] = _reduced(near[kept])
        step[left] = _slope(codes[left], values[left])
    return Fit(codes, step.astype(np.float32), np.zeros(len(values), np.float32), on_grid)


def fit_affine(values: npt.NDArray[np.float32], bits: int, rounding: float) -> Fit:
    """Codes from 0 to 2^bits - 1 times a positive step, plus a minimum."""
    import numpy as np

    top = (1 << bits) - 1
    low, high = values.min(axis=1).astype(np.float64), values.max(axis=1).astype(np.float64)
    codes, step, minimum = np.zeros(values.shape, np.int16), np.zeros(len(values), np.float64), low.copy()
    on_grid = high == low
    for largest in range(top, top // 2, -1):
        left = np.flatnonzero(~on_grid)
        if not len(left):
            break
        steps = (high[left] - low[left]) / largest
        slack = _SLACK * rounding * np.maximum(np.abs(low[left]), np.abs(high[left])) / steps + 1e-6
        for columns in (slice(None, None, max(values.shape[1] // _PROBES, 1)), slice(None)):
            ratio = (values[left][:, columns] - low[left, None]) / steps[:, None]
            near = np.rint(ratio)
            kept = (np.abs(ratio - near) <= np.minimum(slack, 0.25)[:, None]).all(axis=1)
            left, steps, slack, near = left[kept], steps[kept], slack[kept], near[kept]
        same = _one_value_a_code(near, values[left])
        left, near = left[same], near[same]
        on_grid[left] = True
        codes[left] = _reduced(near)
        centred = codes[left] - codes[left].mean(axis=1, keepdims=True)
        step[left] = _slope(centred, values[left])
        minimum[left] = values[left].mean(axis=1, dtype=np.float64) - step[left] * codes[left].mean(axis=1)
    return Fit(codes, step.astype(np.float32), minimum.astype(np.float32), on_grid)


def fit_mxfp4(values: npt.NDArray[np.float32]) -> Fit:
    """E2M1 codes (the sign in the fourth bit) times a power of two; exact or not on the grid."""
    import numpy as np

    peak = np.abs(values).max(axis=1)
    # 6 is the largest magnitude: the peak's exponent less two gives a scale that holds every value of the block.
    exponent = np.clip(np.frexp(peak)[1] - 3, -127, 127).astype(np.int32)
    step = np.ldexp(np.float32(1), exponent)
    step[peak == 0] = 1
    scaled = np.abs(values) / step[:, None]
    table = np.array(E2M1, np.float32)
    codes = np.abs(scaled[..., None] - table).argmin(axis=-1)
    on_grid = (table[codes] == scaled).all(axis=1)
    codes += 8 * np.signbit(values)
    return Fit(codes.astype(np.int16), step.astype(np.float32), np.zeros(len(values), np.float32), on_grid)


def lies_on_rows(rows: npt.NDArray[np.float32], bits: int) -> bool:
    """Whether every row is whole numbers of `bits`, the largest of them 2^(bits-1) - 1 (127) or, of 7 bits, 64, times a
    step: as symmetric quantizers of ONNX Runtime make them. Rows of fewer than four values or codes prove nothing.
    """
    import numpy as np

    largest = 64 if bits == 7 else (1 << (bits - 1)) - 1
    peaks = np.abs(rows).max(axis=1, keepdims=True).astype(np.float64)
    ratio = rows * (largest / np.where(peaks == 0, 1, peaks))
    near = np.rint(ratio)
    if not bool((np.abs(ratio - near) <= _WHOLE).all()):
        return False
    codes = [len(np.unique(each)) for each, peak in zip(near, peaks, strict=True) if peak]
    return bool(codes) and min(codes) >= _FEWEST_CODES


def informative(fit: Fit) -> npt.NDArray[np.bool_]:
    """[blocks]: those on the grid that use four codes or more; a block of zeros proves nothing."""
    import numpy as np

    ordered = np.sort(fit.codes, axis=1)
    distinct: npt.NDArray[np.bool_] = (np.diff(ordered, axis=1) != 0).sum(axis=1) >= 3
    return distinct & fit.on_grid


def unpack(words: npt.NDArray[np.uint32], bits: int, count: int) -> npt.NDArray[np.int16]:
    """Codes [..., count] of `bits` each from little-endian streams of 32-bit words [..., words]."""
    import numpy as np

    first = np.arange(count) * bits
    word, shift = first // 32, (first % 32).astype(np.uint32)
    codes = words[..., word] >> shift
    straddles = shift + bits > 32
    if straddles.any():
        codes[..., straddles] |= words[..., word[straddles] + 1] << (32 - shift[straddles])
    return (codes & np.uint32((1 << bits) - 1)).astype(np.int16)


def spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of `names`, evenly from the first to the last."""
    if len(names) <= count:
        return list(names)
    return [names[index * (len(names) - 1) // (count - 1)] for index in range(count)]


def _one_value_a_code(codes: npt.NDArray[np.generic], values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """[blocks]: where equal codes stand for equal values, however large the values beside them are."""
    import numpy as np

    order = np.argsort(codes, axis=1)
    equal = np.diff(np.take_along_axis(codes, order, axis=1), axis=1) == 0
    differ = np.diff(np.take_along_axis(values, order, axis=1), axis=1) != 0
    one_value: npt.NDArray[np.bool_] = ~(equal & differ).any(axis=1)
    return one_value


def _reduced(codes: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
    """Without a factor that all codes of a block share: the step is then the source's own, not a fraction of it."""
    import numpy as np

    whole = codes.astype(np.int16)
    reduced: npt.NDArray[np.int16] = whole // np.gcd.reduce(whole, axis=1, keepdims=True)
    return reduced


def _slope(codes: npt.NDArray[np.generic], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The step that fits the codes of each block with the least squares."""
    import numpy as np

    numbers = codes.astype(np.float64)
    slope: npt.NDArray[np.float64] = (numbers * values).sum(axis=1) / np.maximum((numbers**2).sum(axis=1), 1e-30)
    return slope
