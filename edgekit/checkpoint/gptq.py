"""GPTQ: qweight packs codes along the inputs, qzeros along the outputs; g_idx gives each input its group.

int32 qweight [inputs * bits / 32, outputs], int32 qzeros [groups, outputs * bits / 32], float scales [groups, outputs],
int32 g_idx [inputs] (AutoGPTQ, GPTQModel). Version 1 stores the zero points minus one, version 2 as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint.grid import unpack
from edgekit.checkpoint.packed import (
    PackedMatrix,
    check_shape,
    even_groups,
    matrix_info,
    refuse,
    scaled,
    size_and_order,
    stored_groups,
)
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint

_BITS = (2, 3, 4, 8)
_FLOATS = ("F16", "BF16", "F32")
_ALIGNED = 32  # so many codes begin at a whole word, whatever their bits


def find(store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> Iterator[PackedMatrix]:
    """See `Format.find`."""
    version = str(setup.get("checkpoint_format") or "gptq")
    if version not in ("gptq", "gptq_v2"):
        raise UnsupportedModel(f"GPTQ weights in the format {version!r} are not read", "gptq and gptq_v2 are")
    for name in sorted(store.tensors):
        if name.endswith(".qweight"):
            yield _matrix(store, name.removesuffix(".qweight"), 1 if version == "gptq" else 0, setup)


def _matrix(store: SafetensorsCheckpoint, stem: str, minus: int, setup: Mapping[str, Any]) -> PackedMatrix:
    weight = matrix_info(store, f"{stem}.qweight", "I32")
    zeros = matrix_info(store, f"{stem}.qzeros", "I32")
    scales = matrix_info(store, f"{stem}.scales", *_FLOATS)
    groups, rows = scales.shape
    bits = zeros.shape[1] * 32 // rows
    columns = weight.shape[0] * 32 // max(bits, 1)
    if bits not in _BITS or bits * rows != zeros.shape[1] * 32 or bits * columns != weight.shape[0] * 32:
        refuse(zeros, f"{' or '.join(map(str, _BITS))} bits for each of {rows} outputs")
    check_shape(weight, columns * bits // 32, rows)
    check_shape(zeros, groups, rows * bits // 32)
    group = _groups(store, stem, columns, groups, setup)
    group_size, in_order = size_and_order(group)

    def zero_points(first: int, last: int) -> npt.NDArray[np.int16]:
        begin = first // _ALIGNED * _ALIGNED
        end = min(-(-last // _ALIGNED) * _ALIGNED, rows)
        words = store.part(zeros.name, columns=slice(begin * bits // 32, end * bits // 32)).view("<u4")
        found = (unpack(words, bits, end - begin) + minus) & ((1 << bits) - 1)
        return found[:, first - begin : last - begin].T

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        words = store.part(weight.name, columns=slice(first, last)).view("<u4").T
        factors = store.part(scales.name, columns=slice(first, last)).T
        return scaled(unpack(words, bits, columns), factors, zero_points(first, last), group)

    return PackedMatrix(
        info=TensorInfo(f"{stem}.weight", f"INT{bits}", (rows, columns)),
        parts=(weight.name, zeros.name, scales.name, *_indices(store, stem)),
        bits=bits,
        read=read,
        group_size=group_size,
        symmetric=bool((zero_points(0, min(rows, _ALIGNED)) == 1 << (bits - 1)).all()),
        act_order=not in_order,
    )


def _indices(store: SafetensorsCheckpoint, stem: str) -> tuple[str, ...]:
    return (f"{stem}.g_idx",) if f"{stem}.g_idx" in store.tensors else ()


def _groups(
    store: SafetensorsCheckpoint, stem: str, columns: int, groups: int, setup: Mapping[str, Any]
) -> npt.NDArray[np.intp]:
    """[columns]: the group of each input."""
    for name in _indices(store, stem):
        return stored_groups(store, store.tensors[name], columns, groups)
    size = setup.get("group_size")
    return even_groups(columns, groups, (size,) if isinstance(size, int) else (), f"{stem}.weight")
