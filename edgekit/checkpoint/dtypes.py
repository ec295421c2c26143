"""Stored numbers to float32. Every conversion here is exact but F64's."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from edgekit.errors import BadModel, UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip

INTEGERS = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U16": "<u2", "U32": "<u4", "U64": "<u8"}
"""numpy's names of the integers; U8 is bytes."""


def as_float32(data: npt.NDArray[np.uint8], dtype: str) -> npt.NDArray[np.float32]:
    """The bytes of `dtype` values, little-endian, as a new float32 array [n]; UnsupportedModel for other dtypes."""
    import numpy as np

    if dtype == "BF16":
        return (data.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype == "F8_E4M3":
        return _e4m3_values()[data]
    stored = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}.get(dtype)
    if stored is None:
        raise UnsupportedModel(
            f"weights stored as {dtype} cannot be read as float32", "F64, F32, F16, BF16 and F8_E4M3 can"
        )
    with np.errstate(over="ignore"):  # an F64 beyond float32 becomes inf, which require_finite refuses by name
        return data.view(stored).astype(np.float32)


@cache
def _e4m3_values() -> npt.NDArray[np.float32]:
    """float32 [256]: sign, 4 exponent bits (bias 7), 3 mantissa bits; no infinity, 0x7f and 0xff are NaN (OCP FP8)."""
    import numpy as np

    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal) * np.where(code < 128, 1, -1)
    value[(code & 127) == 127] = np.nan
    return value.astype(np.float32)


def require_finite(values: npt.NDArray[np.float32], what: str) -> None:
    """BadModel, naming `what`, if a value is NaN or infinite."""
    import numpy as np

    # min and max carry NaN and infinity along and need no temporary array.
    if values.size == 0 or (np.isfinite(values.min()) and np.isfinite(values.max())):
        return
    count = int(values.size - np.isfinite(values).sum())
    raise BadModel(f"{what} holds {count} NaN or infinite values of {values.size}", "use a sound checkpoint")
