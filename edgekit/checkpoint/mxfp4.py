"""MXFP4 (OCP microscaling): 32 values of 4 bits (E2M1) share one power of two (E8M0).

uint8 blocks [..., rows, groups, 16], the even value in the low half of a byte; uint8 scales [..., rows, groups], the
exponent plus 127 (gpt-oss: X_blocks and X_scales; compressed-tensors: X.weight_packed [rows, columns / 2]).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint.grid import E2M1
from edgekit.checkpoint.packed import REMEDY, PackedMatrix, refuse
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint

GROUP = 32
_NAN_SCALE = 255


def find(store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> Iterator[PackedMatrix]:  # noqa: ARG001
    """See `Format.find`."""
    for name in sorted(store.tensors):
        if name.endswith("_blocks"):
            stem = name.removesuffix("_blocks")
            yield matrix(store, stem, name, f"{stem}_scales")


def matrix(store: SafetensorsCheckpoint, name: str, blocks_name: str, scales_name: str) -> PackedMatrix:
    """The matrix (or stack of them) `name`, made of two stored tensors."""
    blocks, scales = store.tensors[blocks_name], store.tensors.get(scales_name)
    if scales is None:
        raise BadModel(f"tensor {scales_name!r} is missing beside its packed weights", REMEDY)
    if blocks.dtype != "U8" or scales.dtype not in ("U8", "F8_E8M0") or len(scales.shape) < 2 or 0 in scales.shape:
        refuse(scales, f"U8 scales for {list(blocks.shape)} of U8")
    if math.prod(blocks.shape[1:]) != math.prod(scales.shape[1:]) * GROUP // 2 or blocks.shape[0] != scales.shape[0]:
        refuse(blocks, f"16 bytes for each of the scales {list(scales.shape)}")
    shape = (*scales.shape[:-1], scales.shape[-1] * GROUP)

    def read(first: int, last: int) -> npt.NDArray[np.float32]:
        import numpy as np

        rows = slice(first, last)
        exponents = store.part(scales.name, rows, raw=True).reshape(-1)
        if (exponents == _NAN_SCALE).any():
            raise BadModel(f"tensor {scales.name!r} holds a scale that is not a number", REMEDY)
        packed = store.part(blocks.name, rows).reshape(-1, GROUP // 2)
        table = np.array([*E2M1, *(-each for each in E2M1)], np.float32)
        values = np.stack([table[packed & 15], table[packed >> 4]], axis=-1).reshape(-1, GROUP)
        factors = np.ldexp(np.float32(1), exponents.astype(np.int32) - 127)
        result: npt.NDArray[np.float32] = (values * factors[:, None]).reshape(last - first, *shape[1:])
        return result

    info = TensorInfo(name, "MXFP4", shape)
    return PackedMatrix(info, (blocks.name, scales.name), 4.25, read, GROUP)
