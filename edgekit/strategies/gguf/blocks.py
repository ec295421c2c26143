"""float32 rows to the bytes of one GGML type, by numpy where that is exact and by ggml's own kernels for blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import BadModel
from edgekit.strategies.gguf.engine import is_valid, quantize_rows
from edgekit.strategies.gguf.presets import BLOCKS, GgmlType

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def encode(values: npt.NDArray[np.float32], ggml_type: GgmlType, name: str) -> memoryview:
    """The data of float32 [rows, columns]; BadModel, naming the tensor, for values that the type cannot hold."""
    import numpy as np

    values = np.ascontiguousarray(values)
    if ggml_type == "F32":
        return values.data
    if ggml_type == "F16":
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.isfinite(halves.max(initial=0)) or not np.isfinite(halves.min(initial=0)):
            raise BadModel(f"{name}: a value beyond 65504 cannot be stored as F16", "choose Q8_0 or a smaller preset")
        return halves.data
    if ggml_type == "BF16":
        return _bfloat16(values).data
    return _quantize(values, ggml_type, name)


def _bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round to nearest, ties to even; the values are finite."""
    import numpy as np

    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _quantize(values: npt.NDArray[np.float32], ggml_type: GgmlType, name: str) -> memoryview:
    import numpy as np
    from gguf import GGMLQuantizationType

    rows, columns = values.shape
    block_values, block_bytes = BLOCKS[ggml_type]
    if columns % block_values:  # ggml would abort the process
        raise ValueError(f"{name}: rows of {columns} values do not divide into {ggml_type} blocks of {block_values}")
    data = np.empty(rows * columns // block_values * block_bytes, np.uint8)
    number = int(GGMLQuantizationType[ggml_type])
    written = quantize_rows(number, values.ctypes.data, data.ctypes.data, rows, columns)
    if written != data.nbytes:
        raise BadModel(f"{name}: ggml wrote {written} bytes of {ggml_type}, expected {data.nbytes}")
    check_blocks(data, ggml_type, name)
    return data.data


def check_blocks(data: npt.NDArray[np.uint8], ggml_type: GgmlType, name: str) -> None:
    """BadModel, naming the tensor, where a scale of the blocks is not finite. `data` is contiguous."""
    from gguf import GGMLQuantizationType

    if not is_valid(int(GGMLQuantizationType[ggml_type]), data.ctypes.data, data.nbytes):
        raise BadModel(f"{name}: a value is too large for the scales of {ggml_type}", "choose F16 or use another model")
