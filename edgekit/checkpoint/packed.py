"""Checkpoints whose matrices are stored quantized: read under their float names, a few rows at a time.

Each storage format is a module that finds its matrices among the stored tensors, and a row in FORMATS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self

from edgekit.checkpoint.dtypes import require_finite
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint

REMEDY = "download it again, or use the unquantized checkpoint"


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix that several stored tensors make up.

    `info` is what it would be unpacked: its float name and shape [rows, columns]; `info.dtype` names the storage
    ("INT4", "NF4", ...). `group_size` is the number of weights in a row that share a scale, None for the whole row;
    `act_order` says that neighbouring columns do not share one. `read(first, last)` gives float32 rows [first, last).
    """

    info: TensorInfo
    parts: tuple[str, ...]
    bits: float
    read: Callable[[int, int], npt.NDArray[np.float32]]
    group_size: int | None = None
    symmetric: bool = True
    act_order: bool = False


class Format(Protocol):
    """What a module of FORMATS offers."""

    def find(self, store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> Iterable[PackedMatrix]:
        """Every packed matrix in `store`; `setup` is config.json's quantization_config.

        BadModel where tensors that belong together do not fit, UnsupportedModel for a variant that is not read.
        """
        ...


class PackedCheckpoint:
    """A safetensors checkpoint with its packed matrices under their float names; the rest as it is stored."""

    def __init__(self, store: SafetensorsCheckpoint, matrices: Iterable[PackedMatrix]) -> None:
        self._store = store
        self.matrices: dict[str, PackedMatrix] = {}
        consumed: set[str] = set()
        for matrix in matrices:
            consumed.update(matrix.parts)
            self.matrices[matrix.info.name] = matrix
        rest = {name: info for name, info in store.tensors.items() if name not in consumed}
        both = sorted(set(rest) & set(self.matrices))
        if both:
            raise BadModel(f"tensor {both[0]!r} is stored twice, packed and as it is", REMEDY)
        self._tensors = rest | {name: matrix.info for name, matrix in self.matrices.items()}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, rows: slice | None = None) -> npt.NDArray[np.float32]:
        """See `Checkpoint.read`."""
        matrix = self.matrices.get(name)
        if matrix is None:
            return self._store.read(name, rows)
        first, last, _ = (rows or slice(None)).indices(matrix.info.shape[0])
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused below, by name
            values = matrix.read(first, last)
        require_finite(values, f"tensor {name!r}, unpacked,")
        return values

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def matrix_info(store: SafetensorsCheckpoint, name: str, *dtypes: str) -> TensorInfo:
    """The stored tensor `name` of two axes and one of `dtypes`; BadModel where it is missing or otherwise."""
    info = store.tensors.get(name)
    if info is None:
        raise BadModel(f"tensor {name!r} is missing beside its packed weights", REMEDY)
    if info.dtype not in dtypes or len(info.shape) != 2 or 0 in info.shape:
        refuse(info, f"a matrix of {' or '.join(dtypes)}")
    return info


def refuse(info: TensorInfo, expected: str) -> NoReturn:
    """BadModel: what is stored against what it should be."""
    raise BadModel(f"tensor {info.name!r} is {info.dtype} {list(info.shape)}, {expected} is expected", REMEDY)


def check_shape(info: TensorInfo, *shape: int) -> None:
    if info.shape != shape:
        refuse(info, f"a shape of {list(shape)}")


def scaled(
    codes: npt.NDArray[np.int16],
    scales: npt.NDArray[np.float32],
    zeros: npt.NDArray[np.int16] | int,
    group: npt.NDArray[np.intp],
) -> npt.NDArray[np.float32]:
    """(codes - zero) * scale: codes [rows, columns], scales and zeros [rows, groups], `group` [columns] of each."""
    import numpy as np

    offsets = zeros if isinstance(zeros, int) else zeros[:, group]
    values: npt.NDArray[np.float32] = (codes - offsets).astype(np.float32) * scales.astype(np.float32)[:, group]
    return values


def even_groups(columns: int, groups: int, sizes: Iterable[int], name: str) -> npt.NDArray[np.intp]:
    """[columns]: the group of each column, in order. The last group may be short, if one of the stated `sizes` says so.

    BadModel, naming the matrix, where nothing says how its columns are grouped.
    """
    import numpy as np

    whole = [columns // groups] if columns % groups == 0 else []
    fitting = [size for size in (*whole, *sizes) if size > 0 and -(-columns // size) == groups]
    if not fitting:
        raise BadModel(
            f"tensor {name!r} has {columns} columns and {groups} scales a row, which share them unevenly", REMEDY
        )
    return np.arange(columns) // fitting[0]


def stored_groups(store: SafetensorsCheckpoint, info: TensorInfo, columns: int, groups: int) -> npt.NDArray[np.intp]:
    """[columns]: the group of each column, by a tensor of indices; BadModel where it names one that is not there."""
    import numpy as np

    if info.dtype not in ("I32", "I64"):
        refuse(info, "I32")
    check_shape(info, columns)
    index = store.part(info.name).astype(np.intp)
    if index.min() < 0 or index.max() >= groups:
        raise BadModel(f"tensor {info.name!r} names group {index.max()}, there are {groups}", REMEDY)
    return index


def size_and_order(group: npt.NDArray[np.intp]) -> tuple[int | None, bool]:
    """(columns in a group, None where all are in one; whether groups are neighbours in order)."""
    import numpy as np

    size = int((group == group[0]).sum())
    in_order = bool((group == np.arange(len(group)) // size).all())
    return (None if size == len(group) else size), in_order
