"""Writing the merged weights as safetensors, sharded as the base: a block of rows in memory at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgekit.adapters.pieces import Layout, Piece
from edgekit.adapters.products import row_blocks
from edgekit.checkpoint import safetensors_header
from edgekit.checkpoint.dtypes import BITS
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadAdapter
from edgekit.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_CHUNK_BYTES = 16 * 2**20


def stored_bytes(info: TensorInfo) -> int:
    return (info.elements * BITS[info.dtype] + 7) // 8


def total_bytes(layout: Layout) -> int:
    return sum(stored_bytes(piece.info) for _, pieces in layout.shards for piece in pieces)


def write_weights(layout: Layout, folder: Path, progress: Progress) -> None:
    """Every shard of the layout, and their index. BadAdapter where merging gives a value that is not finite."""
    progress.step("merge the adapter into its base", total_bytes(layout))
    for file, pieces in layout.shards:
        offsets: dict[Path, dict[str, int]] = {}
        with (folder / file).open("wb") as out:
            out.write(_header([piece.info for piece in pieces]))
            for piece in pieces:
                if piece.file is not None and piece.file not in offsets:
                    offsets[piece.file] = _offsets(piece.file)
                written = 0
                for block in _content(piece, offsets):
                    out.write(block)
                    written += len(block)
                    progress.advance(len(block))
                assert written == stored_bytes(piece.info), piece.info
    _write_index(layout, folder)


def sparse_weights(layout: Layout, folder: Path) -> None:
    """The same files with their headers alone, all zeros behind them, which take no room: to plan by, not to run."""
    for file, pieces in layout.shards:
        with (folder / file).open("wb") as out:
            header = _header([piece.info for piece in pieces])
            out.write(header)
            out.truncate(len(header) + sum(stored_bytes(piece.info) for piece in pieces))
    _write_index(layout, folder)


def _header(infos: Sequence[TensorInfo]) -> bytes:
    """The format's length and JSON, padded so that the data begin at a multiple of 8 bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for info in infos:
        end = position + stored_bytes(info)
        entries[info.name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _write_index(layout: Layout, folder: Path) -> None:
    if [file for file, _ in layout.shards] == [_SINGLE]:
        return
    where = {piece.info.name: file for file, pieces in layout.shards for piece in pieces}
    index = {"metadata": {"total_size": total_bytes(layout)}, "weight_map": where}
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _offsets(path: Path) -> dict[str, int]:
    """Where each tensor's bytes begin: they tile the file behind its header."""
    infos = safetensors_header(path)
    position = path.stat().st_size - sum(stored_bytes(info) for info in infos)
    found = {}
    for info in infos:
        found[info.name] = position
        position += stored_bytes(info)
    return found


def _content(piece: Piece, offsets: dict[Path, dict[str, int]]) -> Iterator[bytes]:
    if piece.file is not None:
        with piece.file.open("rb") as file:
            file.seek(offsets[piece.file][piece.key])
            yield from _copied(file, stored_bytes(piece.info))
        return
    for values in merged(piece):
        yield encoded(values, piece.info)


def _copied(file: BinaryIO, left: int) -> Iterator[bytes]:
    while left:
        block = file.read(min(left, _CHUNK_BYTES))
        if not block:
            raise BadAdapter(f"{file.name} has become shorter while it was read", "leave the base alone meanwhile")
        left -= len(block)
        yield block


def merged(piece: Piece) -> Iterator[npt.NDArray[np.float32]]:
    """The values of the tensor, a block of rows at a time."""

    def read(rows: slice) -> npt.NDArray[np.float32]:
        return piece.origin.read(piece.key, rows if piece.info.shape else None)

    steps = [change(read) for change in piece.changes]
    for rows in row_blocks(piece.info.shape):
        values = read(rows)
        for step in steps:
            values = step(values, rows)
        yield values


def encoded(values: npt.NDArray[np.float32], info: TensorInfo) -> bytes:
    """The values as the dtype's bytes, little-endian, rounded to nearest even; BadAdapter where one is not finite."""
    import numpy as np

    with np.errstate(over="ignore"):
        if info.dtype == "BF16":
            bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
            halves = ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype(
                "<u2"
            )
            stored: npt.NDArray[np.generic] = halves
            finite = np.isfinite(values).all() and bool(((halves & 0x7F80) != 0x7F80).all())
        else:
            stored = np.ascontiguousarray(values.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[info.dtype]))
            finite = bool(np.isfinite(stored).all())
    if not finite:
        raise BadAdapter(
            f"merged, {info.name} holds values that are not finite as {info.dtype}",
            "the adapter is damaged, or was trained in a wider type than its base is stored in",
        )
    return stored.tobytes()
