"""preprocessor_config.json: how a picture becomes pixel_values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model.config import read_json
from edgekit.model.source import ImageSetup

# Image processors whose steps are resize, centre crop, rescale, normalise; and what a bare `size` number means to each.
_SQUARE = frozenset(["ViT", "DeiT", "Beit", "Siglip", "Siglip2", "EfficientNet", "Swin"])
_SHORTEST_EDGE = frozenset(["Bit", "CLIP", "MobileNetV1", "MobileNetV2", "ConvNext", "Pvt"])
_CROP_PCT = "ConvNext"


def read_image_setup(folder: Path, config: Mapping[str, Any]) -> ImageSetup:
    """The setup in preprocessor_config.json; BadModel without it, UnsupportedModel for steps not repeated here."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise BadModel(
            f"{folder} has no preprocessor_config.json",
            "an image classifier needs it: it says how pictures are resized and normalised",
        )
    given = read_json(path)
    if config.get("num_channels", 3) != 3:
        raise UnsupportedModel(
            f"{path.parent / 'config.json'}: {config['num_channels']} channels; pictures of 3 are packed"
        )
    name = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "ViTImageProcessor")
    kind = name.removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    if kind not in _SQUARE | _SHORTEST_EDGE:
        known = ", ".join(sorted(_SQUARE | _SHORTEST_EDGE))
        raise UnsupportedModel(f"{path}: image processor {name!r} is not packed", f"supported: {known}")
    for flag in ("do_flip_channel_order", "rescale_offset", "do_pad"):
        if given.get(flag):
            raise UnsupportedModel(f"{path}: {flag} is not packed")
    height, width, shortest_edge = _geometry(given, kind, path)
    mean, std, rescale = _scaling(given, kind, path)
    return ImageSetup(height, width, mean, std, rescale, int(given.get("resample", 2)), shortest_edge)


def _geometry(given: Mapping[str, Any], kind: str, path: Path) -> tuple[int, int, int | None]:
    """(height, width, shortest_edge) in pixels."""
    size = given.get("size", 224)
    if kind == _CROP_PCT:
        edge = _pixels(size.get("shortest_edge") if isinstance(size, Mapping) else size, "size", path)
        if edge >= 384:
            return edge, edge, None
        return edge, edge, int(edge / float(given.get("crop_pct") or 224 / 256))
    crop = _rectangle(given.get("crop_size"), "crop_size", path) if given.get("do_center_crop") else None
    if not given.get("do_resize", True):
        raise UnsupportedModel(f"{path}: do_resize is false: pictures of one fixed size are packed")
    if (isinstance(size, Mapping) and "shortest_edge" in size) or (
        kind in _SHORTEST_EDGE and not isinstance(size, Mapping)
    ):
        edge = _pixels(size["shortest_edge"] if isinstance(size, Mapping) else size, "size", path)
        if crop is None:
            raise UnsupportedModel(
                f"{path}: no centre crop after resizing the shorter side: pictures of one fixed size are packed"
            )
        return (*crop, edge)
    height, width = _rectangle(size, "size", path) or (224, 224)
    if crop is not None and crop != (height, width):
        if height != width:
            raise UnsupportedModel(f"{path}: a crop of {crop} from a resize to {height}x{width} is not packed")
        raise UnsupportedModel(f"{path}: a centre crop after a resize that does not keep the aspect is not packed")
    return height, width, None


def _rectangle(size: Any, key: str, path: Path) -> tuple[int, int] | None:
    if size is None:
        return None
    if isinstance(size, Mapping):
        return _pixels(size.get("height"), key, path), _pixels(size.get("width"), key, path)
    return _pixels(size, key, path), _pixels(size, key, path)


def _pixels(value: Any, key: str, path: Path) -> int:
    if not isinstance(value, int) or not 1 <= value <= 8192:
        raise BadModel(f"{path}: {key} is {value!r}, pixels from 1 to 8192 are expected")
    return value


def _scaling(given: Mapping[str, Any], kind: str, path: Path) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """(mean, std, rescale): pixel_values = (x * rescale - mean) / std."""
    rescale = float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else 1.0
    if not given.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), rescale
    try:
        mean = tuple(float(x) for x in given.get("image_mean", (0.5, 0.5, 0.5)))
        std = tuple(float(x) for x in given.get("image_std", (0.5, 0.5, 0.5)))
    except (TypeError, ValueError) as error:
        raise BadModel(f"{path}: image_mean and image_std are not lists of numbers") from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise BadModel(f"{path}: image_mean {mean} and image_std {std}: three numbers each, std above 0, are expected")
    if kind == "EfficientNet" and given.get("include_top"):  # it divides by std once more
        std = tuple(x * x for x in std)
    return mean, std, rescale
