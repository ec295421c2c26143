"""Reading safetensors with the standard library and numpy: bounded headers, checked offsets, mapped data.

The format: 8 bytes little-endian header length, a JSON object {name: {dtype, shape, data_offsets}}, then the data,
which the tensors must tile without a gap or an overlap (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from edgekit.checkpoint.dtypes import BITS, INTEGERS, as_float32, require_finite
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


MAX_HEADER_BYTES = 100_000_000  # the reference implementation's limit
MAX_INDEX_BYTES = 100_000_000
_INDEX = "model.safetensors.index.json"
_REMEDY = "download or save it again"


@dataclass(frozen=True)
class _Entry:
    info: TensorInfo
    begin: int
    end: int


def safetensors_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors of a Hugging Face folder: model.safetensors, the shards its index names, or none."""
    index, single = folder / _INDEX, folder / "model.safetensors"
    if index.is_file():
        return tuple(folder / name for name in _shard_names(index))
    return (single,) if single.is_file() else ()


def safetensors_header(path: Path) -> tuple[TensorInfo, ...]:
    """The tensors stored in one file, in file order, from its header alone; BadModel if the file is not sound."""
    return tuple(entry.info for entry in _read_entries(path))


def _shard_names(index: Path) -> list[str]:
    if index.stat().st_size > MAX_INDEX_BYTES:
        _refuse(index, f"{index.stat().st_size} bytes, the limit is {MAX_INDEX_BYTES}")
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadModel(f"{index.name}: not an index with a weight_map", _REMEDY) from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            _refuse(index, f"names {name!r}, which is not a safetensors file beside it")
        if not (index.parent / name).is_file():
            _refuse(index, f"names {name}, which is missing")
    if not names:
        _refuse(index, "names no file")
    return names


def _refuse(path: Path, fault: str) -> NoReturn:
    raise BadModel(f"{path.name}: {fault}", _REMEDY)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice")
    return result


def _read_entries(path: Path) -> list[_Entry]:
    """Every stored tensor with its absolute byte range, checked against the file's size."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            if len(prefix) < 8:
                _refuse(path, f"{size} bytes, a safetensors file has at least 8")
            (length,) = struct.unpack("<Q", prefix)
            if length > MAX_HEADER_BYTES:
                _refuse(path, f"a header of {length} bytes, the limit is {MAX_HEADER_BYTES}")
            if 8 + length > size:
                _refuse(path, f"truncated: the header needs {8 + length} bytes, the file has {size}")
            raw = file.read(length)
    except OSError as error:
        raise BadModel(f"{path.name}: cannot be read ({error.strerror})") from error
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path.name}: the header is not valid JSON ({error})", _REMEDY) from error
    if not isinstance(header, dict):
        _refuse(path, "the header is not a JSON object")
    header.pop("__metadata__", None)
    entries = sorted((_entry(path, name, value) for name, value in header.items()), key=lambda entry: entry.begin)
    _check_tiling(path, entries, size - 8 - length)
    start = 8 + length
    return [_Entry(entry.info, start + entry.begin, start + entry.end) for entry in entries]


def _entry(path: Path, name: str, value: object) -> _Entry:
    if not isinstance(value, dict) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        _refuse(path, f"tensor {name!r} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        _refuse(path, f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        _refuse(path, f"tensor {name!r} has a shape or offsets that are not sizes")
    info = TensorInfo(name, dtype, tuple(shape))
    begin, end = offsets
    expected = (info.elements * BITS[dtype] + 7) // 8
    if end - begin != expected:
        _refuse(path, f"tensor {name!r} {dtype} {list(shape)} needs {expected} bytes, its offsets hold {end - begin}")
    return _Entry(info, begin, end)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(axis) is int and 0 <= axis < 2**63 for axis in value)


def _check_tiling(path: Path, entries: list[_Entry], data_bytes: int) -> None:
    position = 0
    for entry in entries:
        if entry.begin < position:
            _refuse(
                path, f"tensor {entry.info.name!r} starts at byte {entry.begin}, inside the one before ({position})"
            )
        if entry.begin > position:
            _refuse(path, f"bytes {position} to {entry.begin} belong to no tensor")
        position = entry.end
    if position > data_bytes:
        _refuse(path, f"truncated: the tensors need {position} bytes, the file has {data_bytes}")
    if position < data_bytes:
        _refuse(path, f"{data_bytes - position} bytes after the last tensor")


class _Shard:
    """One mapped file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = {entry.info.name: entry for entry in _read_entries(path)}
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def copy(self, entry: _Entry, begin: int, end: int) -> npt.NDArray[np.float32]:
        """Bytes [begin, end) of the tensor's data as float32 [n]; the pages they lay in are given back."""
        import numpy as np

        start, stop = entry.begin + begin, entry.begin + end
        values = as_float32(np.frombuffer(self._map, np.uint8, stop - start, start), entry.info.dtype)
        if hasattr(mmap, "MADV_DONTNEED"):
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, page, stop - page)
        return values

    def window(self, entry: _Entry, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """A copy of the bytes [rows, bytes of a value] of some columns of a tensor, or of a vector's rows."""
        import numpy as np

        width = BITS[entry.info.dtype] // 8
        data = np.frombuffer(self._map, np.uint8, entry.end - entry.begin, entry.begin)
        part = data.reshape(*(entry.info.shape or (1,)), width)[rows]
        copied = np.array(part[:, columns] if part.ndim > 2 else part, order="C")
        del data, part
        if hasattr(mmap, "MADV_DONTNEED"):
            page = entry.begin - entry.begin % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, page, entry.end - page)
        return copied

    def close(self) -> None:
        # A view may still live in the traceback of an error on its way up; the map is then freed with it.
        with suppress(BufferError):
            self._map.close()


class SafetensorsCheckpoint:
    """Tensors of one or several safetensors files, mapped; a read leaves nothing resident but its result."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._shards = [_Shard(path) for path in files]
        self._where: dict[str, _Shard] = {}
        for shard in self._shards:
            for name in shard.entries:
                if name in self._where:
                    _refuse(shard.path, f"tensor {name!r} is in {self._where[name].path.name} too")
                self._where[name] = shard
        self._tensors = {name: shard.entries[name].info for name, shard in self._where.items()}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, rows: slice | None = None) -> npt.NDArray[np.float32]:
        """See `Checkpoint.read`."""
        shard = self._where[name]
        entry = shard.entries[name]
        shape, dtype = entry.info.shape, entry.info.dtype
        for suffix in ("_scale", "_scale_inv"):
            if f"{name}{suffix}" in self._where:
                raise UnsupportedModel(
                    f"{shard.path.name}: tensor {name!r} is quantized ({dtype} with {name}{suffix})",
                    "use the unquantized checkpoint",
                )
        row_bytes = (entry.end - entry.begin) // shape[0] if shape and shape[0] else entry.end - entry.begin
        if rows is None or not shape:
            values = shard.copy(entry, 0, entry.end - entry.begin).reshape(shape)
        else:
            first, last, _ = rows.indices(shape[0])
            values = shard.copy(entry, first * row_bytes, last * row_bytes).reshape(-1, *shape[1:])
        require_finite(values, f"{shard.path.name}: tensor {name!r}")
        return values

    def part(
        self, name: str, rows: slice = slice(None), columns: slice = slice(None), *, raw: bool = False
    ) -> npt.NDArray[Any]:
        """A private copy of some rows (and, from the second axis on, columns) of a stored tensor.

        Integers and bytes come in their own type, floats as float32; `raw` gives the bytes [..., 1] of 8-bit floats.
        A scalar has one row. BadModel where a float is not finite.
        """
        shard = self._where[name]
        entry = shard.entries[name]
        dtype = entry.info.dtype
        if BITS[dtype] % 8:
            raise UnsupportedModel(f"{shard.path.name}: tensor {name!r} is stored as {dtype}, which is not read")
        data = shard.window(entry, rows, columns)
        if raw or dtype == "U8":
            return data[..., 0]
        if dtype in INTEGERS:
            return data.view(INTEGERS[dtype])[..., 0]
        values = as_float32(data.reshape(-1), dtype).reshape(data.shape[:-1])
        require_finite(values, f"{shard.path.name}: tensor {name!r}")
        return values

    def close(self) -> None:
        for shard in self._shards:
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
