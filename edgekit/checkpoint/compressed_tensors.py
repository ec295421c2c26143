"""compressed-tensors (llm-compressor, vLLM): integers and FP8 by channel, group or tensor.

pack-quantized: int32 weight_packed [rows, columns * bits / 32], codes plus 2^(bits-1); weight_scale [rows, groups];
where asymmetric int32 weight_zero_point [rows * bits / 32, groups], packed along the rows likewise; weight_g_idx where
the columns were reordered. int-quantized and float-quantized: int8 or F8_E4M3 weight [rows, columns] and weight_scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint import fp8, mxfp4
from edgekit.checkpoint.grid import unpack
from edgekit.checkpoint.packed import (
    REMEDY,
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
from edgekit.errors import BadModel, UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint

_FLOATS = ("F16", "BF16", "F32")
_READ = "pack-quantized (4 and 8 bits), int-quantized, float-quantized and mxfp4-pack-quantized are"


def find(store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> Iterator[PackedMatrix]:
    """See `Format.find`."""
    refuse_transforms(setup)
    stated = _read_setup(setup)
    for name in sorted(store.tensors):
        stem, _, last = name.rpartition(".")
        if last == "weight_packed":
            stored = store.tensors[name]
            if stored.dtype == "U8" and f"{stem}.weight_global_scale" not in store.tensors:
                yield mxfp4.matrix(store, f"{stem}.weight", name, f"{stem}.weight_scale")
            else:
                yield _packed(store, stem, stated)
        elif last == "weight" and f"{stem}.weight_scale" in store.tensors:
            kind = store.tensors[name].dtype
            yield _integers(store, stem, stated) if kind == "I8" else fp8.matrix(store, stem, "weight_scale")


def refuse_transforms(setup: Mapping[str, Any]) -> None:
    if setup.get("transform_config"):
        raise UnsupportedModel("compressed-tensors weights under a transform are not read", _READ)


@dataclass(frozen=True)
class _Stated:
    """What config.json says of its groups of layers: the bits of their weights and how many share a scale."""

    bits: tuple[int, ...]
    group_sizes: tuple[int, ...]


def _read_setup(setup: Mapping[str, Any]) -> _Stated:
    groups = setup.get("config_groups")
    layers = [each for each in groups.values() if isinstance(each, Mapping)] if isinstance(groups, Mapping) else []
    weights = [each["weights"] for each in layers if isinstance(each.get("weights"), Mapping)]

    def numbers(key: str) -> tuple[int, ...]:
        return tuple(sorted({each[key] for each in weights if type(each.get(key)) is int}))

    return _Stated(numbers("num_bits"), numbers("group_size"))


def _packed(store: SafetensorsCheckpoint, stem: str, stated: _Stated) -> PackedMatrix:
    weight = matrix_info(store, f"{stem}.weight_packed", "I32")
    scales = matrix_info(store, f"{stem}.weight_scale", *_FLOATS)
    rows, columns = _stated_shape(store, stem)
    bits = weight.shape[1] * 32 // max(columns, 1)
    if bits not in stated.bits:
        raise BadModel(f"tensor {weight.name!r} packs {bits} bits, config.json says {list(stated.bits)}", REMEDY)
    if bits not in (4, 8):
        raise UnsupportedModel(f"tensor {weight.name!r} packs {bits} bits", _READ)
    check_shape(weight, rows, -(-columns * bits // 32))
    check_shape(scales, rows, scales.shape[1])
    groups, offset = scales.shape[1], 1 << (bits - 1)
    group = _groups(store, stem, columns, groups, stated)
    group_size, in_order = size_and_order(group)
    zeros = _zeros(store, stem, rows, groups, bits)

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        words = store.part(weight.name, slice(first, last)).view("<u4")
        points = offset if zeros is None else _zero_points(store, zeros, bits, first, last)
        return scaled(unpack(words, bits, columns), store.part(scales.name, slice(first, last)), points, group)

    extra = ("weight_shape", "weight_g_idx", "weight_zero_point")
    return PackedMatrix(
        info=TensorInfo(f"{stem}.weight", f"INT{bits}", (rows, columns)),
        parts=(weight.name, scales.name, *(f"{stem}.{each}" for each in extra if f"{stem}.{each}" in store.tensors)),
        bits=bits,
        read=read,
        group_size=group_size,
        symmetric=zeros is None,
        act_order=not in_order,
    )


def _stated_shape(store: SafetensorsCheckpoint, stem: str) -> tuple[int, int]:
    info = store.tensors.get(f"{stem}.weight_shape")
    if info is None or info.shape != (2,) or info.dtype not in ("I64", "I32"):
        raise BadModel(f"tensor '{stem}.weight_shape' does not say the two axes of its packed weights", REMEDY)
    rows, columns = (int(axis) for axis in store.part(info.name))
    stored = store.tensors[f"{stem}.weight_packed"].shape
    if rows != stored[0] or not stored[1] <= columns <= stored[1] * 32:
        raise BadModel(f"tensor {info.name!r} says [{rows}, {columns}], packed are {list(stored)} words", REMEDY)
    return rows, columns


def _groups(
    store: SafetensorsCheckpoint, stem: str, columns: int, groups: int, stated: _Stated
) -> npt.NDArray[np.intp]:
    """[columns]: the group of each input."""
    info = store.tensors.get(f"{stem}.weight_g_idx")
    # The library initialises the indices to -1: "not reordered".
    if info is None or (info.elements and store.part(info.name).max() == -1):
        return even_groups(columns, groups, stated.group_sizes, f"{stem}.weight")
    return stored_groups(store, info, columns, groups)


def _zeros(store: SafetensorsCheckpoint, stem: str, rows: int, groups: int, bits: int) -> TensorInfo | None:
    info = store.tensors.get(f"{stem}.weight_zero_point")
    if info is None:
        return None
    if info.dtype != "I32":
        refuse(info, "packed zero points of I32")
    check_shape(info, -(-rows * bits // 32), groups)
    return info


def _zero_points(
    store: SafetensorsCheckpoint, info: TensorInfo, bits: int, first: int, last: int
) -> npt.NDArray[np.int16]:
    """[last - first, groups]."""
    per_word = 32 // bits
    begin, end = first // per_word, -(-last // per_word)
    words = store.part(info.name, slice(begin, end)).view("<u4").T
    return unpack(words, bits, (end - begin) * per_word).T[first - begin * per_word : last - begin * per_word]


def _integers(store: SafetensorsCheckpoint, stem: str, stated: _Stated) -> PackedMatrix:
    weight = matrix_info(store, f"{stem}.weight", "I8")
    rows, columns = weight.shape
    scale = store.tensors[f"{stem}.weight_scale"]
    if scale.dtype not in _FLOATS or len(scale.shape) > 2 or scale.elements not in (1, *_multiples(rows, columns)):
        refuse(scale, f"scales for {rows} rows in groups")
    groups = 1 if scale.elements == 1 else scale.elements // rows
    zero = store.tensors.get(f"{stem}.weight_zero_point")
    if zero is not None and (zero.dtype != "I8" or zero.elements != scale.elements):
        refuse(zero, f"I8 {list(scale.shape)}")
    group = even_groups(columns, groups, stated.group_sizes, weight.name)
    points = None if zero is None else store.part(zero.name).reshape(-1, groups)
    symmetric = points is None or not points.any()

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        import numpy as np

        codes = store.part(weight.name, slice(first, last)).astype(np.int16)
        each = slice(None) if scale.elements == 1 else slice(first, last)
        factors = np.broadcast_to(store.part(scale.name).reshape(-1, groups)[each], (last - first, groups))
        if points is None or symmetric:
            return scaled(codes, factors, 0, group)
        offsets = np.broadcast_to(points[each].astype(np.int16), (last - first, groups))
        return scaled(codes, factors, offsets, group)

    return PackedMatrix(
        info=TensorInfo(f"{stem}.weight", "INT8", (rows, columns)),
        parts=(weight.name, scale.name, *([zero.name] if zero is not None else [])),
        bits=8,
        read=read,
        group_size=None if groups == 1 else columns // groups,
        symmetric=symmetric,
    )


def _multiples(rows: int, columns: int) -> Iterator[int]:
    """Numbers of scales that give every row as many groups of columns."""
    return (rows * groups for groups in range(1, columns + 1) if columns % groups == 0)
