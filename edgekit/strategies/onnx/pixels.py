"""At how many places a picture's convolutions are evaluated: the strides of known families of convolution nets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from edgekit.model import SourceModel

Scale = int | None
"""By how much a weight's output is smaller than the picture, along each side; 0: one place, None: not known."""

_MOST_STAGES, _MOST_PIXELS = 16, 8192
_MOBILENET_V1 = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_MOBILENET_V2 = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


def output_pixels(model: SourceModel) -> Mapping[str, int] | None:
    """Places by the weight's name, for every weight of two axes and more; None for other families.

    The strides are those of transformers 4.57's modelling code.
    """
    family = _FAMILIES.get(model.model_type)
    if family is None or model.image is None:
        return None
    pixels = {}
    for tensor in model.tensors:
        if len(tensor.shape) < 2 or not tensor.name.endswith("weight"):
            continue
        scale = family(model, tensor.name)
        if scale is None:
            return None
        pixels[tensor.name] = 1 if scale == 0 else -(-model.image.height // scale) * -(-model.image.width // scale)
    return pixels


def _resnet(model: SourceModel, name: str) -> Scale:
    if "classifier" in name:
        return 0
    if ".embedder." in name:
        return 2
    found = re.search(r"stages\.(\d{1,9})\.layers\.(\d{1,9})\.(shortcut|layer\.(\d{1,9}))\.", name)
    if found is None or int(found[1]) > _MOST_STAGES:
        return None
    stage, unit = int(found[1]), int(found[2])
    shrinks = stage > 0 or bool(model.config.get("downsample_in_first_stage", False))
    after: int = 4 << (stage + bool(model.config.get("downsample_in_first_stage", False)))
    bottleneck = model.config.get("layer_type", "bottleneck") == "bottleneck"
    strided = 1 if bottleneck and not model.config.get("downsample_in_bottleneck", False) else 0
    before_the_stride = unit == 0 and shrinks and found[4] is not None and int(found[4]) < strided
    return after // 2 if before_the_stride else after


def _mobilenet_v1(model: SourceModel, name: str) -> Scale:  # noqa: ARG001
    if "classifier" in name:
        return 0
    if "conv_stem" in name:
        return 2
    found = re.search(r"\.layer\.(\d{1,9})\.", name)
    if found is None or int(found[1]) // 2 >= len(_MOBILENET_V1):
        return None
    return 2 * _product(_MOBILENET_V1[: int(found[1]) // 2 + 1])


def _mobilenet_v2(model: SourceModel, name: str) -> Scale:
    most = model.config.get("output_stride", 32)
    if not isinstance(most, int) or most < 2:
        return None
    if "classifier" in name:
        return 0
    if "conv_stem" in name:
        return 2
    if "conv_1x1" in name:
        return min(most, 2 * _product(_MOBILENET_V2))
    found = re.search(r"\.layer\.(\d{1,9})\.(expand|conv_3x3|reduce)", name)
    if found is None or int(found[1]) >= len(_MOBILENET_V2):
        return None
    strided = int(found[1]) + (found[2] != "expand")
    return min(most, 2 * _product(_MOBILENET_V2[:strided]))


def _convnext(model: SourceModel, name: str) -> Scale:
    patch = model.config.get("patch_size", 4)
    if not isinstance(patch, int) or not 1 <= patch <= _MOST_PIXELS:
        return None
    if "classifier" in name:
        return 0
    if "patch_embeddings" in name:
        return patch
    found = re.search(r"stages\.(\d{1,9})\.", name)
    return None if found is None or int(found[1]) > _MOST_STAGES else patch << int(found[1])


def _product(strides: tuple[int, ...]) -> int:
    total = 1
    for stride in strides:
        total *= stride
    return total


_FAMILIES: Mapping[str, Callable[[SourceModel, str], Scale]] = {
    "resnet": _resnet,
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "convnext": _convnext,
}
