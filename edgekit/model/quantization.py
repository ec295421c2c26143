"""Whether a checkpoint is quantized already, how, and which GGML type holds its weights without another loss.

Packed weights are read from config.json and headers; float weights may lie on a quantizer's grid all the same (trained
for it, or unpacked by somebody). Either is proven on a few rows: a bounded number of them, without torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint import grid
from edgekit.checkpoint.formats import method_of, setup_of, unpacked
from edgekit.checkpoint.packed import PackedCheckpoint, PackedMatrix
from edgekit.checkpoint.safetensors import SafetensorsCheckpoint, safetensors_files
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model.source import Quantization

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekit.checkpoint import Checkpoint

BLOCK = 32
"""Values of a GGML block of the types that carry grids."""
ONNX_INT8 = "onnx-int8"
"""The strategy that carries int8 rows; `Quantization.lossless` names it where no GGML type is meant."""
_LARGEST_HALF = 65504
_SAMPLED_MATRICES = 16
_PROBED_MATRICES = 4
_LAYER = re.compile(r"\.\d+\.")
_QAT = re.compile(r"(^|[-_.])qat([-_.]|$)", re.IGNORECASE)
_BIASED = ("attention_bias", "mlp_bias", "qkv_bias", "bias", "use_bias")


@dataclass(frozen=True)
class Storage:
    """How weights are stored: `quantized` names the method, `tensors` are those of the float model."""

    tensors: tuple[TensorInfo, ...]
    quantized: str | None = None
    quantization: Quantization | None = None
    evidence: tuple[str, ...] = ()


def read_storage(folder: Path, name: str, config: Mapping[str, Any], stored: tuple[TensorInfo, ...]) -> Storage:
    """From config.json, headers, and a few rows. BadModel where packed tensors do not fit together."""
    setup, files = setup_of(config), safetensors_files(folder)
    if setup is None:
        return _read_floats(files, name, config, stored)
    method = method_of(setup)
    told = f"quantized: {method} (config.json)"
    if not files:
        return Storage(stored, method, None, (told,))
    with SafetensorsCheckpoint(files) as store:
        try:
            checkpoint = unpacked(store, setup)
        except UnsupportedModel as error:
            return Storage(stored, method, None, (f"{told}: {error.message}",))
        quantization = _of_packed(method, checkpoint)
        unused = _zero_biases(checkpoint, config)
    tensors = tuple(info for info in checkpoint.tensors.values() if info.name not in unused)
    return Storage(tensors, method, quantization, (f"{told}; {quantization.evidence}",))


def _of_packed(method: str, checkpoint: PackedCheckpoint) -> Quantization:
    matrices = checkpoint.matrices
    types = {name: kind for name, matrix in matrices.items() if (kind := _carrier(matrix))}
    counted = _Count()
    flat = sorted(name for name in types if len(matrices[name].info.shape) == 2)
    for name in grid.spread(flat, _SAMPLED_MATRICES):
        blocks = _sample(checkpoint, matrices[name].info)
        fits = _fit(blocks, types[name], grid.EXACT)
        counted.add(fits)
        if not fits.all():
            del types[name]
    usual = Counter[tuple[float, int | None]]()
    for matrix in matrices.values():
        usual[matrix.bits, matrix.group_size] += matrix.info.elements
    (bits, group_size), _ = usual.most_common(1)[0]
    lossless = _commonest(types, matrices.values())
    return Quantization(
        method=method,
        bits=bits,
        group_size=group_size,
        symmetric=all(matrix.symmetric for matrix in matrices.values()),
        act_order=any(matrix.act_order for matrix in matrices.values()),
        lossless=lossless,
        evidence=counted.told(lossless) if lossless else _nearest(checkpoint),
        types=types,
    )


def _carrier(matrix: PackedMatrix) -> str:
    """The GGML type whose blocks hold the matrix as it is, "" where none does."""
    kind, group = matrix.info.dtype, matrix.group_size
    if matrix.info.shape[-1] % BLOCK or matrix.act_order or (group is not None and group % BLOCK):
        return ""
    if kind == "MXFP4":
        return kind
    if not kind.startswith("INT"):
        return ""
    if matrix.bits <= 4:
        return "Q4_0" if matrix.symmetric else "Q4_1"
    return "Q8_0" if matrix.symmetric else ""


def _commonest(types: Mapping[str, str], matrices: Iterable[PackedMatrix]) -> str:
    """The type of most of the weights, "" where most have none."""
    elements = Counter[str]()
    for matrix in matrices:
        elements[types.get(matrix.info.name, "")] += matrix.info.elements
    return elements.most_common(1)[0][0]


def _nearest(checkpoint: PackedCheckpoint) -> str:
    """What the nearest type costs, on a few rows."""
    import numpy as np

    lost = kept = 0.0
    for name in grid.spread(sorted(checkpoint.matrices), _SAMPLED_MATRICES):
        info = checkpoint.matrices[name].info
        if info.shape[-1] % BLOCK or len(info.shape) != 2:
            continue
        blocks = _sample(checkpoint, info).astype(np.float64)
        steps = np.clip(np.abs(blocks).max(axis=1, keepdims=True) / 127, 0, _LARGEST_HALF).astype(np.float16)
        wide = steps.astype(np.float64)
        rounded = np.rint(blocks / np.where(wide == 0, 1, wide)).clip(-127, 127) * wide
        lost += float(((rounded - blocks) ** 2).sum())
        kept += float((blocks**2).sum())
    if not kept:
        return "no GGML type holds it"
    changed = (lost / kept) ** 0.5
    return f"no GGML type holds it; the nearest, Q8_0, changes sampled rows by a relative RMSE of {changed:.2g}"


def _read_floats(
    files: Sequence[Path], name: str, config: Mapping[str, Any], stored: tuple[TensorInfo, ...]
) -> Storage:
    """Float weights, which may lie on the grid of a 4-bit type, or, of encoders, of int8 rows."""
    plain = Storage(stored)
    rows = [info for info in stored if _may_lie_on_a_grid(info)]
    said = said_to_be_trained(name, config)
    if not files or not rows:
        return plain
    with SafetensorsCheckpoint(tuple(files)) as checkpoint:
        try:
            found = _on_grids(checkpoint, rows)
            int8 = _int8_rows(checkpoint, rows) if found is None and not _decodes(config) else None
        except BadModel:  # values that are no numbers: said, by name, when the tensor is read
            return plain
    if int8 is not None:
        quantization = replace(int8, method="qat" if said else int8.method)
        return Storage(stored, None, quantization, (f"{quantization.method} weights: {quantization.evidence}",))
    if found is None:
        return replace(plain, evidence=(f"its {said} says QAT, and its weights lie on no grid",)) if said else plain
    types, counted = found
    elements = Counter[str]()
    for info in rows:
        elements[types.get(info.name, "")] += info.elements
    elements.pop("", None)
    lossless = elements.most_common(1)[0][0]
    evidence = counted.told(lossless)
    quantization = Quantization(
        method="qat" if said else "fake-quantized",
        bits=4,
        group_size=BLOCK,
        symmetric=lossless == "Q4_0",
        lossless=lossless,
        evidence=evidence,
        types=types,
    )
    return Storage(stored, None, quantization, (f"{quantization.method} weights: {evidence}",))


def said_to_be_trained(name: str, config: Mapping[str, Any]) -> str:
    """What says that the model was trained for its quantization: "config.json", "name", or "" where nothing does."""
    if any("qat" in str(key).lower() for key in config):
        return "config.json"
    return "name" if _QAT.search(name) else ""


def _decodes(config: Mapping[str, Any]) -> bool:
    names = config.get("architectures")
    return any("ForCausalLM" in str(each) for each in names) if isinstance(names, list) else False


def _int8_rows(checkpoint: SafetensorsCheckpoint, infos: Sequence[TensorInfo]) -> Quantization | None:
    """Rows of int8 codes times a float32 scale, as ONNX Runtime quantizes matrices; None where most sampled are not."""
    layers = {info.name: info for info in infos if info.dtype == "F32" and _LAYER.search(info.name)}
    names = grid.spread(sorted(layers), _SAMPLED_MATRICES)
    found = Counter[int]()
    for place, name in enumerate(names):
        rows = _sampled_rows(checkpoint, layers[name])
        found.update(bits for bits in (8, 7) if grid.lies_on_rows(rows, bits))
        if place + 1 == min(_PROBED_MATRICES, len(names)) and not found:
            return None
    if not found or 2 * found.most_common(1)[0][1] <= len(names):
        return None
    bits, count = found.most_common(1)[0]
    return Quantization(
        method="fake-quantized",
        bits=bits,
        lossless=ONNX_INT8,
        evidence=f"of {len(names)} sampled matrices {count} lie on a grid of {bits} bits with a scale a row",
    )


def _may_lie_on_a_grid(info: TensorInfo) -> bool:
    floats = info.dtype in ("F32", "F16", "BF16")
    return floats and len(info.shape) == 2 and info.shape[0] > 0 and info.shape[1] > 0 and info.shape[1] % BLOCK == 0


def _on_grids(checkpoint: SafetensorsCheckpoint, infos: Sequence[TensorInfo]) -> tuple[dict[str, str], _Count] | None:
    """The types of the matrices that lie on a grid, None where a few that are tried first do not."""
    layers = {info.name: info for info in infos if _LAYER.search(info.name)}
    if not any(_grid_of(checkpoint, layers[name]) for name in grid.spread(sorted(layers), _PROBED_MATRICES)):
        return None
    types, counted = {}, _Count()
    for info in infos:
        found = _grid_of(checkpoint, info)
        if found is not None:
            types[info.name] = found[0]
            counted.add(found[1])
    return types, counted


def _grid_of(checkpoint: Checkpoint, info: TensorInfo) -> tuple[str, npt.NDArray[np.bool_]] | None:
    """(type, which of the sampled blocks lie on its grid) where all do and most of them prove something."""
    blocks = _sample(checkpoint, info)
    rounding = grid.rounding_of(info.dtype)
    for kind, fit in (("Q4_0", grid.fit_symmetric), ("Q4_1", grid.fit_affine)):
        found = fit(blocks, 4, rounding)
        if found.on_grid.all() and 2 * int(grid.informative(found).sum()) > len(blocks):
            return kind, found.on_grid
    return None


def _fit(blocks: npt.NDArray[np.float32], kind: str, rounding: float) -> npt.NDArray[np.bool_]:
    if kind == "MXFP4":
        return grid.fit_mxfp4(blocks).on_grid
    if kind == "Q4_1":
        return grid.fit_affine(blocks, 4, rounding).on_grid
    return grid.fit_symmetric(blocks, 8 if kind == "Q8_0" else 4, rounding).on_grid


def _sample(checkpoint: Checkpoint, info: TensorInfo) -> npt.NDArray[np.float32]:
    """Blocks [n, 32] of the first two rows and the middle one."""
    return _sampled_rows(checkpoint, info).reshape(-1, BLOCK)


def _sampled_rows(checkpoint: Checkpoint, info: TensorInfo) -> npt.NDArray[np.float32]:
    """The first two rows and the middle one."""
    import numpy as np

    middle = info.shape[0] // 2
    return np.concatenate([checkpoint.read(info.name, slice(at, at + count)) for at, count in ((0, 2), (middle, 1))])


class _Count:
    """Blocks that were looked at, and those of them that lie on their grid."""

    def __init__(self) -> None:
        self.blocks = self.on_grid = 0

    def add(self, fits: npt.NDArray[np.bool_]) -> None:
        self.blocks += len(fits)
        self.on_grid += int(fits.sum())

    def told(self, kind: str) -> str:
        return f"{self.on_grid} of {self.blocks} sampled blocks lie on the grid of {kind}"


def _zero_biases(checkpoint: PackedCheckpoint, config: Mapping[str, Any]) -> set[str]:
    """Biases that a quantizer's tool stored for layers that have none: all zeros, and not in the configuration."""
    if any(config.get(key) for key in _BIASED):
        return set()
    own = ("q_proj", "k_proj", "v_proj") if config.get("model_type") == "qwen2" else ()
    stems = {name.removesuffix(".weight") for name in checkpoint.matrices}
    names = [f"{stem}.bias" for stem in stems if not stem.endswith(own) or not own]
    return {name for name in names if name in checkpoint.tensors and not checkpoint.read(name).any()}
