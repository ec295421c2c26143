"""FP8: F8_E4M3 weights with a scale for the tensor, each row, or each square of 128 by 128.

weight [rows, columns] and weight_scale_inv [rows / 128, columns / 128] (DeepSeek, Qwen), or weight_scale [], [rows] or
[rows, 1] (compressed-tensors, FBGEMM); despite its name the first is multiplied by as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint.packed import PackedMatrix, matrix_info, refuse
from edgekit.checkpoint.tensor import TensorInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint


def find(store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> Iterator[PackedMatrix]:
    """See `Format.find`."""
    stated = setup.get("weight_block_size")
    for name in sorted(store.tensors):
        stem, _, last = name.rpartition(".")
        if last in ("weight_scale", "weight_scale_inv"):
            yield matrix(store, stem, last, stated)


def matrix(store: SafetensorsCheckpoint, stem: str, scale_name: str, stated: object = None) -> PackedMatrix:
    """The matrix `stem`.weight with its scales; `stated` is the size of a square where the config says one."""
    weight = matrix_info(store, f"{stem}.weight", "F8_E4M3")
    rows, columns = weight.shape
    scale = store.tensors[f"{stem}.{scale_name}"]
    blocks = scale.shape if len(scale.shape) == 2 else (scale.elements, 1)
    if scale.dtype not in ("F32", "F16", "BF16") or blocks[0] not in range(1, rows + 1) or not 0 < blocks[1] <= columns:
        refuse(scale, f"scales for a matrix of {list(weight.shape)}")
    size = (-(-rows // blocks[0]), -(-columns // blocks[1]))
    if isinstance(stated, list) and len(stated) == 2 and all(type(edge) is int and edge > 0 for edge in stated):
        height, width = stated
        if blocks == (-(-rows // height), -(-columns // width)):
            size = (height, width)

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        import numpy as np

        factors = store.part(scale.name).reshape(blocks)
        factors = factors[np.arange(first, last) // size[0]][:, np.arange(columns) // size[1]]
        values: npt.NDArray[np.float32] = store.part(weight.name, slice(first, last)) * factors
        return values

    parts = [weight.name, scale.name]
    parts += [f"{stem}.{each}" for each in ("input_scale", "activation_scale") if f"{stem}.{each}" in store.tensors]
    return PackedMatrix(TensorInfo(weight.name, "FP8", weight.shape), tuple(parts), 8, read, symmetric=True)
