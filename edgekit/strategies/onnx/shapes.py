"""Which weights an ONNX graph holds and at how many places of an input each is used, from headers and config alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from edgekit.model import SourceModel, TensorInfo
from edgekit.strategies.onnx.pixels import output_pixels
from edgekit.strategies.onnx.quantize import CONVOLUTION_SHARE, SMALLEST_OUTPUT

_FLOATS = ("F64", "F32", "F16", "BF16")
# Stored with a checkpoint and not part of the graph for the task: training heads, and an encoder's unused pooler.
_TRAINING_HEADS = re.compile(
    r"(^|\.)(cls\.(predictions|seq_relationship)|lm_head|discriminator_predictions|vocab_\w+)\."
)
_POOLER = re.compile(r"(^|\.)pooler\.")
_STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked|position_ids)$")
_EMBEDDING = re.compile(r"embed(?!ding_hidden_mapping|dings_project)", re.IGNORECASE)
_HEAD = re.compile(r"(^|\.)(pooler|pre_classifier|classifier|cls_classifier|distillation_classifier)\.")
_SHARED = re.compile(r"(^|\.)albert_layer_groups\.")

_TEXT_FAMILIES = frozenset(
    ["albert", "bert", "camembert", "distilbert", "electra", "ernie", "megatron-bert", "mpnet", "rembert", "roberta",
     "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"]
)  # fmt: skip
# Positions besides the patches: the class token, and DeiT's distillation token.
_EXTRA_POSITIONS = {"vit": 1, "vit_msn": 1, "deit": 2}
_LARGEST_SIZE = 1_000_000
"""Of any number in a configuration that is taken for a size, so that none overflows."""
_NORM_FIRST = frozenset(["vit", "vit_msn", "deit", "roberta-prelayernorm", "xlm-roberta-xl", "megatron-bert"])

Kind = Literal["product", "convolution", "depthwise"]
Role = Kind | Literal["embedding", "vector"]


@dataclass(frozen=True)
class Encoder:
    """A plain transformer encoder: `inner` is the feed-forward width. `norm_first`: layer norms precede their block."""

    family: str
    layers: int
    width: int
    inner: int
    heads: int

    @property
    def norm_first(self) -> bool:
        return self.family in _NORM_FIRST


@dataclass(frozen=True)
class Use:
    """A weight in use: `repeats` nodes of the graph hold it, each at `positions` places of one input.

    `positions` None stands for every token of a text. `outputs` are columns or channels; `window` are the kernel's
    spatial elements, 1 for products.
    """

    kind: Kind
    elements: int
    outputs: int
    window: int = 1
    positions: int | None = None
    repeats: int = 1


def stored(model: SourceModel) -> tuple[tuple[TensorInfo, Role], ...]:
    """The float tensors that become initializers, by what they are to the engine: batch-norm statistics are folded,
    training heads left behind.
    """
    return _stored(model.tensors, model.task == "embedding")


@lru_cache(maxsize=16)  # asked for several times a candidate
def _stored(tensors: tuple[TensorInfo, ...], without_pooler: bool) -> tuple[tuple[TensorInfo, Role], ...]:
    kept = []
    for tensor in tensors:
        unused = tensor.dtype not in _FLOATS or _TRAINING_HEADS.search(tensor.name) or _STATISTICS.search(tensor.name)
        if not unused and not (without_pooler and _POOLER.search(tensor.name)):
            kept.append((tensor, _role(tensor)))
    return tuple(kept)


def _role(tensor: TensorInfo) -> Role:
    if is_convolution(tensor):
        return "depthwise" if tensor.shape[1] == 1 else "convolution"
    if len(tensor.shape) != 2:
        return "vector"
    if _EMBEDDING.search(tensor.name):
        return "embedding"
    return "product" if min(tensor.shape) > 0 else "vector"


def is_convolution(tensor: TensorInfo) -> bool:
    """[out, in, kernel...]: all spatial axes but the channels'; cls tokens and position tables have a leading 1."""
    return len(tensor.shape) in (3, 4, 5) and tensor.shape[0] > 1 and tensor.name.endswith("weight")


def outputs_of(tensor: TensorInfo, model: SourceModel) -> int:
    """Columns of the product. Checkpoints store [out, in]; in ONNX files both orders occur: the wider side counts."""
    return max(tensor.shape) if model.format == "onnx" and len(tensor.shape) == 2 else tensor.shape[0]


def is_convolutional(model: SourceModel) -> bool:
    """Whether enough of the weights are convolutions for static quantization; decided on the graph when it is made."""
    convolution = sum(tensor.elements for tensor, role in stored(model) if role in ("convolution", "depthwise"))
    product = sum(tensor.elements for tensor, role in stored(model) if role == "product")
    return convolution > 0 and convolution >= CONVOLUTION_SHARE * (convolution + product)


def has_products(model: SourceModel) -> bool:
    """Whether any stored tensor can be a quantized product, embedding or convolution (unknown tensors: yes)."""
    matrices = (tensor for tensor, role in stored(model) if role in ("product", "embedding"))
    wide = any(outputs_of(tensor, model) >= SMALLEST_OUTPUT for tensor in matrices)
    return not model.tensors or wide or is_convolutional(model)


def embedding_share(model: SourceModel) -> float:
    """Of all weights in the graph, those in embedding tables."""
    tables = sum(tensor.elements for tensor, role in stored(model) if role == "embedding")
    return tables / max(1, sum(tensor.elements for tensor, _ in stored(model)))


def encoder(model: SourceModel) -> Encoder | None:
    """The transformer's sizes; None for families whose layers hold more than attention and a feed-forward block."""
    family = model.model_type
    if family not in (_EXTRA_POSITIONS if model.image is not None else _TEXT_FAMILIES):
        return None
    sizes = {name: _number(model, keys) for name, keys in _SPELLINGS.items()}
    if any(value is None or not 1 <= value <= _LARGEST_SIZE for value in sizes.values()):
        return None
    return Encoder(family, **{name: value for name, value in sizes.items() if value is not None})


_SPELLINGS = {
    "layers": ("num_hidden_layers", "n_layers"),
    "width": ("hidden_size", "dim"),
    "inner": ("intermediate_size", "hidden_dim"),
    "heads": ("num_attention_heads", "n_heads"),
}


def _number(model: SourceModel, keys: tuple[str, ...]) -> int | None:
    found = (model.config.get(key) for key in keys)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)


def longest_input(model: SourceModel) -> int:
    """Tokens of the longest text; 0 for models without text."""
    return min(model.text.max_tokens, _LARGEST_SIZE) if model.text is not None else 0


def picture_positions(model: SourceModel) -> int | None:
    """Tokens that a vision transformer makes of its picture."""
    patch = model.config.get("patch_size")
    if (
        model.image is None
        or model.model_type not in _EXTRA_POSITIONS
        or not isinstance(patch, int)
        or not 1 <= patch <= _LARGEST_SIZE
    ):
        return None
    return _patches(model, patch) + _EXTRA_POSITIONS[model.model_type]


def uses(model: SourceModel) -> tuple[Use, ...] | None:
    """Every weight the graph multiplies with and where; None where the shapes do not tell the places."""
    found = _transformer_uses(model) if encoder(model) is not None else _convolution_uses(model)
    return None if found is None else tuple(found)


def _transformer_uses(model: SourceModel) -> list[Use] | None:
    positions = picture_positions(model)
    if model.image is not None and positions is None:
        return None
    shape = encoder(model)
    assert shape is not None
    found = []
    for tensor, role in stored(model):
        if role == "product":
            head = model.task in ("text-classification", "image-classification") and _HEAD.search(tensor.name)
            repeats = shape.layers if _SHARED.search(tensor.name) else 1
            where = 1 if head else positions
            found.append(Use("product", tensor.elements, outputs_of(tensor, model), 1, where, repeats))
        elif role == "convolution" and model.image is not None:
            patch = int(model.config["patch_size"])
            found.append(_kernel(tensor, _patches(model, patch)))
    return found if _are_the_layers(found, shape) else None


def _are_the_layers(found: list[Use], shape: Encoder) -> bool:
    """Whether the products are those of plain layers, heads and projections aside: gated blocks have more."""
    expected = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.inner)
    products = sum(use.elements * use.repeats for use in found if use.kind == "product" and use.positions != 1)
    return abs(products - expected) <= 0.1 * expected


def _convolution_uses(model: SourceModel) -> list[Use] | None:
    """Of checkpoints of the families of convolution nets whose strides are known."""
    pixels = output_pixels(model)
    if pixels is None or model.format != "hf":
        return None
    found = []
    for tensor, role in stored(model):
        if role == "product":
            found.append(Use("product", tensor.elements, outputs_of(tensor, model), 1, pixels.get(tensor.name, 1)))
        elif role in ("convolution", "depthwise"):
            found.append(_kernel(tensor, pixels[tensor.name]))
    return found or None


def _kernel(tensor: TensorInfo, positions: int) -> Use:
    window = tensor.elements // (tensor.shape[0] * tensor.shape[1])
    kind: Kind = "depthwise" if tensor.shape[1] == 1 and tensor.shape[0] > 1 else "convolution"
    return Use(kind, tensor.elements, tensor.shape[0], window, positions)


def _patches(model: SourceModel, patch: int) -> int:
    assert model.image is not None
    return (model.image.height // patch) * (model.image.width // patch)
