"""Writing GGUF in one pass: from mapped checkpoint rows to blocks on disk, with a few chunks in memory at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint import Checkpoint
from edgekit.errors import MissingEngine
from edgekit.progress import Progress
from edgekit.strategies.gguf.blocks import encode
from edgekit.strategies.gguf.engine import quiet
from edgekit.strategies.gguf.lattice import Tally, carry
from edgekit.strategies.gguf.presets import GgmlType, TypeChoice, tensor_bytes
from edgekit.strategies.gguf.rope import Metadata
from edgekit.strategies.gguf.targets import Target

if TYPE_CHECKING:
    from gguf import GGUFWriter

CHUNK_ELEMENTS = 1 << 20  # 4 MiB of float32: long enough to keep two threads busy, short enough to keep few in memory
THREADS = 2
_AHEAD = 2  # chunks in flight for each thread


def write_header_only(path: Path, metadata: Metadata) -> None:
    """A GGUF of metadata and no tensors: what the engine needs to load a vocabulary."""
    writer = _open(metadata)
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
    finally:
        writer.close()


def write_tensors(
    path: Path,
    metadata: Metadata,
    targets: Sequence[Target],
    choice: TypeChoice,
    checkpoint: Checkpoint,
    progress: Progress,
    threads: int = THREADS,
    tally: Tally | None = None,
) -> None:
    """The whole file, under its name only once it is complete and on disk. The bytes do not depend on `threads`.

    `progress` advances by bytes written. `tally` counts what was carried without a second rounding.
    """
    types = [choice(target) for target in targets]
    writer = _open(metadata)
    partial = path.with_name(f".{path.name}.partial")
    try:
        _add_infos(writer, targets, types)
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        file = writer.fout[0]
        writer.write_padding(file, file.tell())
        with quiet():
            for data in _in_order(_jobs(targets, types, checkpoint, tally), threads):
                if data is None:
                    writer.write_padding(file, file.tell())
                else:
                    file.write(data)
                    progress.advance(data.nbytes)
        writer.flush()
        os.fsync(file.fileno())
        writer.close()
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            writer.close()
        partial.unlink(missing_ok=True)
        raise


def _open(metadata: Metadata) -> GGUFWriter:
    try:
        import gguf
    except ImportError as error:
        raise MissingEngine(
            "the gguf strategy needs the gguf package, which is not installed", "pip install gguf llama-cpp-python"
        ) from error
    writer = gguf.GGUFWriter(None, metadata["general.architecture"])
    for key, value in metadata.items():
        if key != "general.architecture":
            _add(writer, key, value)
    return writer


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    """The GGUF type follows Python's: bool, int as uint32, float as float32, str, list."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        raise TypeError(f"{key}: {type(value).__name__} has no GGUF type here")


def _add_infos(writer: GGUFWriter, targets: Sequence[Target], types: Sequence[GgmlType]) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType

    for target, ggml_type in zip(targets, types, strict=True):
        size = tensor_bytes(target, ggml_type)
        number = GGMLQuantizationType[ggml_type]
        # The dtype given is only read where the shape is one of bytes, which ours is not.
        writer.add_tensor_info(target.name, target.shape, np.dtype(np.float32), size, number)


def _jobs(
    targets: Sequence[Target], types: Sequence[GgmlType], checkpoint: Checkpoint, tally: Tally | None
) -> Iterator[Callable[[], memoryview | None]]:
    """Every chunk of every tensor in file order; after each tensor one that gives None, for the padding."""
    for target, ggml_type in zip(targets, types, strict=True):
        rows = target.rows if len(target.shape) > 1 else target.shape[0]
        width = target.elements // max(rows, 1)
        step = max(CHUNK_ELEMENTS // max(width, 1) // target.granule, 1) * target.granule
        for first in range(0, rows, step):
            yield _Chunk(target, ggml_type, checkpoint, first, min(first + step, rows), tally)
        yield _nothing


def _nothing() -> None:
    return None


class _Chunk:
    """Rows [first, last) of one target, read, transformed and encoded when called."""

    def __init__(
        self, target: Target, ggml_type: GgmlType, checkpoint: Checkpoint, first: int, last: int, tally: Tally | None
    ) -> None:
        self._target, self._type, self._checkpoint, self._first, self._last = target, ggml_type, checkpoint, first, last
        self._tally = tally

    def __call__(self) -> memoryview:
        import numpy as np

        target = self._target
        if target.source is None:
            values = np.array(target.values, np.float32)
        else:
            rows = slice(self._first + target.first_row, self._last + target.first_row)
            values = self._checkpoint.read(target.source, rows)
        if target.transform is not None:
            values = target.transform(values)
        values = values.reshape(-1, target.columns)
        if target.source is not None and target.carried == self._type:
            stored = self._checkpoint.tensors[target.source].dtype
            return carry(values, self._type, stored, target.source, self._tally)
        return encode(values, self._type, target.source or target.name)


def _in_order(jobs: Iterable[Callable[[], memoryview | None]], threads: int) -> Iterator[memoryview | None]:
    """Results in the order of the jobs, a bounded number of them computed ahead."""
    with ThreadPoolExecutor(threads, thread_name_prefix="gguf") as pool:
        waiting: deque[Future[memoryview | None]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > threads * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
