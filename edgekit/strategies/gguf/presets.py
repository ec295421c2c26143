"""Which GGML type each tensor gets. The presets follow llama.cpp's rules, so that a name keeps its meaning.

A choice is a plain function, target -> type: the writer takes any, so a mixture allocated under a byte budget needs no
change here or there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.strategies.gguf.targets import Target

GgmlType = Literal[
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4", "IQ4_NL", "IQ4_XS",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
]  # fmt: skip
TypeChoice = Callable[[Target], GgmlType]

# (values, bytes) of one block; GGML's ABI, which the tests hold against the gguf package.
BLOCKS: Mapping[GgmlType, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "MXFP4": (32, 17),
    "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}

# Where rows are not whole blocks: llama.cpp's next type with smaller blocks.
_FALLBACK: Mapping[GgmlType, GgmlType] = {
    "IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """`file_type` is general.file_type; `faithfulness` orders presets of one model by what they keep.

    For llama.cpp's own mixtures faithfulness is the bits kept per weight of a large model; IQ4_XS and IQ4_NL, whose 16
    values are not evenly spaced, count a little more than their size and come before Q4_0. With a `rest` the preset
    carries: matrices that the source has on a grid keep it, those it did not quantize become `rest`.
    """

    name: str
    file_type: int
    base: GgmlType
    faithfulness: float
    rest: GgmlType | None = None

    @property
    def options(self) -> dict[str, str]:
        """A candidate's options; `preset_of` finds the preset again."""
        return {"preset": self.name} | ({"rest": self.rest} if self.rest not in (None, "F16") else {})


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("F32", 0, "F32", 32.0),
        Preset("BF16", 32, "BF16", 16.0),
        Preset("F16", 1, "F16", 16.0),
        Preset("Q8_0", 7, "Q8_0", 8.5),
        Preset("Q6_K", 18, "Q6_K", 6.6),
        Preset("Q5_K_M", 17, "Q5_K", 5.7),
        Preset("Q5_K_S", 16, "Q5_K", 5.5),
        Preset("Q4_K_M", 15, "Q4_K", 4.9),
        Preset("Q4_K_S", 14, "Q4_K", 4.7),
        Preset("IQ4_NL", 25, "IQ4_NL", 4.65),
        Preset("IQ4_XS", 30, "IQ4_XS", 4.6),
        Preset("Q4_0", 2, "Q4_0", 4.5),
        Preset("Q3_K_M", 12, "Q3_K", 3.9),
        Preset("Q2_K", 10, "Q2_K", 2.9),
    )
}
OFFERED = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q4_0", "Q3_K_M", "Q2_K")

# Carrying loses nothing, as F16 does, at a quarter of the size: first among the quantized (which are below 10), and
# above Q8_0, which would round a second time.
_CARRIED, _CARRIED_AROUND_8_BITS = 9.9, 9.0
_CARRIED_FILE_TYPES: Mapping[str, int] = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "MXFP4": 38}
_CARRIED_SHARE = 0.5


def carrying(base: GgmlType, rest: GgmlType) -> Preset:
    """The preset that keeps weights on the grid of `base` and makes the rest F16 or Q8_0."""
    kept = _CARRIED if rest == "F16" else _CARRIED_AROUND_8_BITS
    return Preset(base, _CARRIED_FILE_TYPES[base], base, kept, rest)


def offered(targets: Sequence[Target]) -> tuple[Preset, ...]:
    """The presets worth offering for a model, the most faithful first.

    Where its weights are quantized already: unquantized, carried, and the types smaller than that. The others would be
    larger and less faithful than what is carried.
    """
    base = carried_type(targets)
    plain = tuple(PRESETS[name] for name in OFFERED)
    if base is None:
        return plain
    carried = (carrying(base, "F16"), carrying(base, "Q8_0"))
    smaller = [each for each in plain if _bits(each.base) < _bits(base)]
    return (PRESETS["F16"], *carried, *smaller)


def preset_of(options: Mapping[str, str], targets: Sequence[Target]) -> Preset:
    """The preset that a candidate's `options` name."""
    carried = carried_type(targets)
    if carried is not None and options["preset"] == carried:
        return carrying(carried, "Q8_0" if options.get("rest") == "Q8_0" else "F16")
    return PRESETS[options["preset"]]


def carried_type(targets: Sequence[Target]) -> GgmlType | None:
    """The type that most of the layers' weights are carried to, None where they are not."""
    elements: Counter[str | None] = Counter()
    for target in targets:
        if target.layer is not None and is_quantizable(target):
            elements[target.carried] += target.elements
    carried, count = max(elements.items(), key=lambda item: (item[0] is not None, item[1]), default=(None, 0))
    if carried is None or count < _CARRIED_SHARE * elements.total():
        return None
    return next((each for each in BLOCKS if each == carried), None)


def _bits(ggml_type: GgmlType) -> float:
    values, size = BLOCKS[ggml_type]
    return 8 * size / values


def tensor_bytes(target: Target, ggml_type: GgmlType) -> int:
    """Bytes of the target's data; ValueError where its rows are not whole blocks."""
    values, size = BLOCKS[ggml_type]
    if target.columns % values:
        raise ValueError(f"{target.name}: rows of {target.columns} values do not divide into {ggml_type} blocks")
    return target.rows * target.columns // values * size


def choose(preset: Preset, targets: Sequence[Target], arch: str, layers: int, grouped_query: bool) -> TypeChoice:
    """llama.cpp's mixture for `preset`, or what carries; `targets` are the whole model's: the rules count them."""
    tied = all(target.name != "output.weight" for target in targets)
    # llama.cpp calls these shapes 70B: eight heads share one V there, so it may cost more bits.
    is_70b = layers == 80 and (arch == "qwen2" or (arch == "llama" and grouped_query))
    shared_by_four = _queries_per_key(targets) >= 4

    def choice(target: Target) -> GgmlType:
        if not is_quantizable(target):
            return "F32"
        if preset.rest is not None:
            kept = next((each for each in BLOCKS if each == target.carried), preset.rest)
            return _fit(kept, target.columns)
        if preset.base in ("F32", "F16", "BF16"):
            return preset.base
        if target.name == "output.weight" or (tied and target.name == "token_embd.weight"):
            return _fit(_output(preset, target), target.columns)
        ggml_type = _mixture(preset, target, layers, shared_by_four)
        if is_70b and _part(target) in _VALUES and ggml_type in ("Q3_K", "Q4_K"):
            ggml_type = "Q5_K"
        return _fit(ggml_type, target.columns)

    return choice


def is_quantizable(target: Target) -> bool:
    """Matrices are, but for norms and the small tables that llama.cpp keeps in float32."""
    kept = ("position_embd.weight", "token_types.weight")
    if len(target.shape) < 2 or target.name in kept:
        return False
    return target.name.endswith("weight") and not target.name.endswith("_norm.weight")


def _queries_per_key(targets: Sequence[Target]) -> int:
    """How many query heads share a key head, from the rows of the first layer."""
    rows = {target.name: target.rows for target in targets if target.layer == 0 and len(target.shape) == 2}
    queries, keys = rows.get("blk.0.attn_q.weight"), rows.get("blk.0.attn_k.weight")
    fused = rows.get("blk.0.attn_qkv.weight")
    if fused is not None:
        queries = next((target.columns for target in targets if target.name == "blk.0.attn_output.weight"), fused // 3)
        keys = (fused - queries) // 2
    return queries // keys if queries and keys else 1


_VALUES = ("attn_v", "attn_qkv")


def _part(target: Target) -> str:
    return target.name.split(".")[2] if target.layer is not None else ""


def _output(preset: Preset, target: Target) -> GgmlType:
    if preset.base == "Q8_0" or target.columns % BLOCKS[preset.base][0]:
        return "Q8_0"
    return "Q6_K"


def _mixture(preset: Preset, target: Target, layers: int, shared_by_four: bool) -> GgmlType:
    """llama.cpp's llama_tensor_get_type for dense models and no importance matrix."""
    layer, part, name = target.layer, _part(target), preset.name
    if layer is None:
        return preset.base
    if name in ("Q4_K_M", "Q5_K_M") and (part in _VALUES or part == "ffn_down") and _is_sensitive(layer, layers):
        return "Q6_K"
    if part in _VALUES:
        return _value_type(preset, layer, shared_by_four)
    if part == "ffn_down":
        return _down_type(preset, layer, layers)
    if part == "attn_output":
        return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K"}.get(name, preset.base)  # type: ignore[return-value]
    return preset.base


def _value_type(preset: Preset, layer: int, shared_by_four: bool) -> GgmlType:
    if preset.name == "Q2_K":
        return "Q4_K" if shared_by_four else "Q3_K"
    if preset.name == "Q3_K_M":
        return "Q5_K" if layer < 2 else "Q4_K"
    if preset.name == "Q4_K_S" and layer < 4:
        return "Q5_K"
    if preset.name in ("IQ4_NL", "IQ4_XS") and shared_by_four:
        return "Q5_K"
    return preset.base


def _down_type(preset: Preset, layer: int, layers: int) -> GgmlType:
    if preset.name == "Q2_K":
        return "Q3_K"
    if preset.name == "Q3_K_M":
        return "Q5_K" if layer < layers // 16 else "Q4_K"
    if preset.name in ("Q4_K_S", "IQ4_NL", "IQ4_XS") and layer < layers // 8:
        return "Q5_K"
    return preset.base


def _is_sensitive(layer: int, layers: int) -> bool:
    """The first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _fit(ggml_type: GgmlType, columns: int) -> GgmlType:
    """`ggml_type`, or what llama.cpp falls back to where `columns` are not whole blocks of it."""
    if columns % BLOCKS[ggml_type][0] == 0:
        return ggml_type
    fallback = _FALLBACK.get(ggml_type, ggml_type)
    return fallback if columns % BLOCKS[fallback][0] == 0 else "F16"
