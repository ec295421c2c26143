"""AWQ ("gemm"): codes, zero points and scales lie input by output, eight 4-bit codes interleaved in each word.

int32 qweight [inputs, outputs / 8], int32 qzeros [groups, outputs / 8], float scales [groups, outputs] (AutoAWQ).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint.grid import unpack
from edgekit.checkpoint.packed import PackedMatrix, check_shape, even_groups, matrix_info, scaled
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint

_BITS = 4
_PER_WORD = 8
_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # where in a word each of eight outputs lies, in nibbles from the lowest


def find(store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> Iterator[PackedMatrix]:
    """See `Format.find`."""
    version = str(setup.get("version") or "gemm").lower()
    bits = setup.get("bits", setup.get("w_bit", _BITS))
    if version != "gemm" or bits != _BITS:
        raise UnsupportedModel(f"AWQ weights of {bits} bits in the layout {version!r} are not read", "4-bit gemm is")
    for name in sorted(store.tensors):
        if name.endswith(".qweight"):
            yield _matrix(store, name.removesuffix(".qweight"))


def _matrix(store: SafetensorsCheckpoint, stem: str) -> PackedMatrix:
    weight = matrix_info(store, f"{stem}.qweight", "I32")
    zeros = matrix_info(store, f"{stem}.qzeros", "I32")
    scales = matrix_info(store, f"{stem}.scales", "F16", "BF16", "F32")
    (columns, words), groups = weight.shape, scales.shape[0]
    rows = words * _PER_WORD
    check_shape(scales, groups, rows)
    check_shape(zeros, groups, words)
    group = even_groups(columns, groups, (), f"{stem}.weight")

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        codes, points = (_codes(store, each.name, first, last) for each in (weight, zeros))
        factors = store.part(scales.name, columns=slice(first, last)).T
        return scaled(codes, factors, points, group)

    return PackedMatrix(
        info=TensorInfo(f"{stem}.weight", f"INT{_BITS}", (rows, columns)),
        parts=(weight.name, zeros.name, scales.name),
        bits=_BITS,
        read=read,
        group_size=None if groups == 1 else columns // groups,
        symmetric=bool((_codes(store, zeros.name, 0, min(rows, 32)) == 1 << (_BITS - 1)).all()),
    )


def _codes(store: SafetensorsCheckpoint, name: str, first: int, last: int) -> npt.NDArray[np.int16]:
    """Codes [last - first, stored rows] of the outputs [first, last)."""
    begin, end = first // _PER_WORD, -(-last // _PER_WORD)
    words = store.part(name, columns=slice(begin, end)).view("<u4")
    nibbles = unpack(words[..., None], _BITS, _PER_WORD)[..., list(_ORDER)]
    outputs = nibbles.reshape(len(words), -1).T
    return outputs[first - begin * _PER_WORD : last - begin * _PER_WORD]
