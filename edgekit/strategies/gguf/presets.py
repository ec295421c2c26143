"""Which GGML type each tensor gets. The presets follow llama.cpp's rules, so that a name keeps its meaning.

A choice is a plain function, target -> type: the writer takes any, so a mixture allocated under a byte budget needs no
change here or there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.strategies.gguf.targets import Target

GgmlType = Literal["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
TypeChoice = Callable[[Target], GgmlType]

# (values, bytes) of one block; GGML's ABI, which the tests hold against the gguf package.
BLOCKS: Mapping[GgmlType, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q4_0": (32, 18),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}

# Where rows are not whole blocks: llama.cpp's next type with smaller blocks.
_FALLBACK: Mapping[GgmlType, GgmlType] = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


@dataclass(frozen=True)
class Preset:
    """`file_type` is general.file_type; `faithfulness` the bits kept per weight of a large model."""

    name: str
    file_type: int
    base: GgmlType
    faithfulness: float


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("F32", 0, "F32", 32.0),
        Preset("BF16", 32, "BF16", 16.0),
        Preset("F16", 1, "F16", 16.0),
        Preset("Q8_0", 7, "Q8_0", 8.5),
        Preset("Q5_K_M", 17, "Q5_K", 5.7),
        Preset("Q4_K_M", 15, "Q4_K", 4.9),
        Preset("Q4_0", 2, "Q4_0", 4.5),
    )
}
OFFERED = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0")


def tensor_bytes(target: Target, ggml_type: GgmlType) -> int:
    """Bytes of the target's data; ValueError where its rows are not whole blocks."""
    values, size = BLOCKS[ggml_type]
    if target.columns % values:
        raise ValueError(f"{target.name}: rows of {target.columns} values do not divide into {ggml_type} blocks")
    return target.rows * target.columns // values * size


def choose(preset: Preset, targets: Sequence[Target], arch: str, layers: int, grouped_query: bool) -> TypeChoice:
    """llama.cpp's mixture for `preset`; `targets` are the whole model's, since the rules count them."""
    tied = all(target.name != "output.weight" for target in targets)
    # llama.cpp calls these shapes 70B: eight heads share one V there, so it may cost more bits.
    is_70b = layers == 80 and (arch == "qwen2" or (arch == "llama" and grouped_query))

    def choice(target: Target) -> GgmlType:
        if not is_quantizable(target):
            return "F32"
        if preset.base in ("F32", "F16", "BF16"):
            return preset.base
        return _fit(_mixture(preset, target, layers, tied, is_70b), target.columns)

    return choice


def is_quantizable(target: Target) -> bool:
    """Matrices are, but for norms and the small tables that llama.cpp keeps in float32."""
    kept = ("position_embd.weight", "token_types.weight")
    if len(target.shape) < 2 or target.name in kept:
        return False
    return target.name.endswith("weight") and not target.name.endswith("_norm.weight")


def _mixture(preset: Preset, target: Target, layers: int, tied: bool, is_70b: bool) -> GgmlType:
    is_output = target.name == "output.weight" or (tied and target.name == "token_embd.weight")
    medium = preset.name in ("Q4_K_M", "Q5_K_M")
    if is_output:
        if preset.base == "Q8_0" or target.columns % BLOCKS[preset.base][0]:
            return "Q8_0"
        return "Q6_K"
    if not medium or target.layer is None:
        return preset.base
    part = target.name.split(".")[2]
    is_value = part in ("attn_v", "attn_qkv")
    if (is_value or part == "ffn_down") and _is_sensitive(target.layer, layers):
        return "Q6_K"
    return "Q5_K" if is_value and is_70b else preset.base


def _is_sensitive(layer: int, layers: int) -> bool:
    """The first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _fit(ggml_type: GgmlType, columns: int) -> GgmlType:
    """`ggml_type`, or what llama.cpp falls back to where `columns` are not whole blocks of it."""
    if columns % BLOCKS[ggml_type][0] == 0:
        return ggml_type
    fallback = _FALLBACK.get(ggml_type, ggml_type)
    return fallback if columns % BLOCKS[fallback][0] == 0 else "F16"
