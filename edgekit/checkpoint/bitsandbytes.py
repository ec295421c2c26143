"""bitsandbytes: NF4 and FP4 in blocks of a flattened matrix, and LLM.int8() with one scale a row.

4-bit: uint8 weight [elements / 2, 1], the first value in the high half; weight.quant_map float32 [16]; weight.absmax,
float32, or uint8 with weight.nested_absmax and weight.nested_quant_map; a JSON text in weight.quant_state.*.
8-bit: int8 weight [rows, columns] and float32 SCB [rows], the largest magnitude of the row, which is code 127.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint.packed import REMEDY, PackedMatrix, check_shape, matrix_info, refuse
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint

_STATE = ".quant_state.bitsandbytes__"
_MAX_STATE_BYTES = 1 << 16


def find(store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> Iterator[PackedMatrix]:  # noqa: ARG001
    """See `Format.find`."""
    for name in sorted(store.tensors):
        if _STATE in name:
            weight, _, kind = name.partition(_STATE)
            yield _four_bit(store, weight, kind, name)
        elif name.endswith(".SCB"):
            yield _eight_bit(store, name.removesuffix(".SCB"))


def _eight_bit(store: SafetensorsCheckpoint, stem: str) -> PackedMatrix:
    weight = matrix_info(store, f"{stem}.weight", "I8")
    peaks = store.tensors[f"{stem}.SCB"]
    if peaks.dtype != "F32":
        refuse(peaks, "F32")
    check_shape(peaks, weight.shape[0])

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        import numpy as np

        rows = slice(first, last)
        steps = np.divide(store.part(peaks.name, rows), 127, dtype=np.float32)
        values: npt.NDArray[np.float32] = store.part(weight.name, rows) * steps[:, None]
        return values

    parts = [weight.name, peaks.name]
    parts += [f"{stem}.{each}" for each in ("weight_format",) if f"{stem}.{each}" in store.tensors]
    return PackedMatrix(TensorInfo(weight.name, "INT8", weight.shape), tuple(parts), 8, read)


def _four_bit(store: SafetensorsCheckpoint, name: str, kind: str, state_name: str) -> PackedMatrix:
    import numpy as np

    state = _state(store, state_name)
    shape, block = state.get("shape"), state.get("blocksize")
    packed, table = store.tensors.get(name), store.tensors.get(f"{name}.quant_map")
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(axis) is int and axis > 0 for axis in shape)):
        raise BadModel(f"tensor {state_name!r} says the shape {shape!r}, two axes are expected", REMEDY)
    if type(block) is not int or block < 2 or block & (block - 1):
        raise BadModel(f"tensor {state_name!r} says the block size {block!r}, a power of two is expected", REMEDY)
    if packed is None or table is None or table.dtype != "F32":
        raise BadModel(f"tensors {name!r} and '{name}.quant_map' do not belong to {state_name!r}", REMEDY)
    check_shape(table, 16)
    rows, columns = shape
    half = rows * columns // 2
    if packed.dtype != "U8" or packed.shape not in ((half,), (half, 1)) or columns % 2:
        refuse(packed, f"{half} bytes for {shape}")
    peaks = _Peaks(store, name, state, -(-rows * columns // block))
    values_of = store.part(table.name)

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        begin, end = first * columns, last * columns
        codes = store.part(name, slice(begin // 2, end // 2)).reshape(-1)
        values = np.stack([values_of[codes >> 4], values_of[codes & 15]], axis=-1).reshape(-1)
        factors = peaks.read(begin // block, -(-end // block))
        result: npt.NDArray[np.float32] = values * factors[np.arange(begin, end) // block - begin // block]
        return result.reshape(last - first, columns)

    info = TensorInfo(name, kind.upper(), (rows, columns))
    return PackedMatrix(info, (name, state_name, table.name, *peaks.parts), 4.5, read, block)


def _state(store: SafetensorsCheckpoint, name: str) -> dict[str, Any]:
    info = store.tensors[name]
    if info.dtype != "U8" or info.elements > _MAX_STATE_BYTES:
        refuse(info, f"at most {_MAX_STATE_BYTES} bytes of JSON")
    try:
        state = json.loads(store.part(name).tobytes())
    except (ValueError, RecursionError) as error:
        raise BadModel(f"tensor {name!r} is not JSON ({error})", REMEDY) from error
    if not isinstance(state, dict):
        raise BadModel(f"tensor {name!r} is not a JSON object", REMEDY)
    return state


class _Peaks:
    """The largest magnitude of each block of a 4-bit matrix, itself in 8 bits if it was quantized twice."""

    def __init__(self, store: SafetensorsCheckpoint, name: str, state: Mapping[str, Any], count: int) -> None:
        self._store, self._name = store, f"{name}.absmax"
        info = store.tensors.get(self._name)
        if info is None or info.shape != (count,) or info.dtype not in ("U8", "F32"):
            raise BadModel(f"tensor {self._name!r} does not hold {count} peaks of U8 or F32", REMEDY)
        self.parts: tuple[str, ...] = (self._name,)
        self._table: npt.NDArray[np.float32] | None = None
        if info.dtype == "F32":
            return
        table, outer = (store.tensors.get(f"{name}.nested_{each}") for each in ("quant_map", "absmax"))
        block, offset = state.get("nested_blocksize"), state.get("nested_offset")
        sound = isinstance(block, int) and block > 0 and isinstance(offset, int | float)
        if table is None or outer is None or not sound:
            raise BadModel(f"tensor {self._name!r} is quantized without all that says how", REMEDY)
        check_shape(table, 256)
        self._block, self._offset = int(block), float(offset)  # type: ignore[arg-type]
        check_shape(outer, -(-count // self._block))
        self.parts += (table.name, outer.name)
        self._table, self._outer = store.part(table.name), store.part(outer.name)

    def read(self, first: int, last: int) -> npt.NDArray[np.float32]:
        import numpy as np

        stored = self._store.part(self._name, slice(first, last))
        if self._table is None:
            return stored.astype(np.float32)
        outer = self._outer[np.arange(first, last) // self._block]
        peaks: npt.NDArray[np.float32] = (self._table[stored] * outer + np.float32(self._offset)).astype(np.float32)
        return peaks
