"""preprocessor_config.json: how a picture becomes pixel_values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model.config import read_json
from edgekit.model.source import ImageSetup


class _Habits(NamedTuple):
    """What one of transformers' image processors does where the file says nothing."""

    number_is_square: bool  # `size: 224` means 224 x 224; else the shorter side
    resample: int
    crops: bool


# Processors whose steps are resize, centre crop, rescale, normalise; defaults as of transformers 4.57.
_KNOWN: Mapping[str, _Habits] = {
    "Beit": _Habits(True, 3, True),
    "Bit": _Habits(False, 3, True),
    "CLIP": _Habits(False, 3, True),
    "ConvNext": _Habits(False, 2, False),
    "DeiT": _Habits(True, 3, True),
    "EfficientNet": _Habits(True, 0, False),
    "MobileNetV1": _Habits(False, 2, True),
    "MobileNetV2": _Habits(False, 2, True),
    "Pvt": _Habits(True, 2, False),
    "Siglip": _Habits(False, 3, False),
    "ViT": _Habits(True, 2, False),
}
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
    if kind not in _KNOWN:
        raise UnsupportedModel(
            f"{path}: image processor {name!r} is not packed", f"supported: {', '.join(sorted(_KNOWN))}"
        )
    for flag in ("do_flip_channel_order", "rescale_offset", "do_pad"):
        if given.get(flag):
            raise UnsupportedModel(f"{path}: {flag} is not packed")
    height, width, shortest_edge = _geometry(given, kind, path)
    mean, std, rescale = _scaling(given, kind, path)
    return ImageSetup(height, width, mean, std, rescale, _resample(given, kind, path), shortest_edge)


def _geometry(given: Mapping[str, Any], kind: str, path: Path) -> tuple[int, int, int | None]:
    """(height, width, shortest_edge) in pixels."""
    if not given.get("do_resize", True):
        raise UnsupportedModel(f"{path}: do_resize is false: pictures of one fixed size are packed")
    size, habits = given.get("size", 224), _KNOWN[kind]
    if not isinstance(size, Mapping):
        size = {"height": size, "width": size} if habits.number_is_square else {"shortest_edge": size}
    if kind == _CROP_PCT:
        edge = _pixels(size.get("shortest_edge"), "size", path)
        return edge, edge, None if edge >= 384 else int(edge / float(given.get("crop_pct") or 224 / 256))
    crop = _rectangle(given.get("crop_size", 224), path) if given.get("do_center_crop", habits.crops) else None
    if "shortest_edge" in size:
        if crop is None:
            raise UnsupportedModel(
                f"{path}: shortest_edge without a centre crop: pictures of one fixed size are packed"
            )
        return (*crop, _pixels(size["shortest_edge"], "size", path))
    height, width = _pixels(size.get("height"), "size", path), _pixels(size.get("width"), "size", path)
    if crop not in (None, (height, width)):
        raise UnsupportedModel(f"{path}: a centre crop after a resize that does not keep the aspect is not packed")
    return height, width, None


def _resample(given: Mapping[str, Any], kind: str, path: Path) -> int:
    value = given.get("resample", _KNOWN[kind].resample)
    if not isinstance(value, int) or not 0 <= value <= 5:
        raise BadModel(f"{path}: resample is {value!r}, Pillow's numbers 0 to 5 are expected")
    return value


def _rectangle(crop: Any, path: Path) -> tuple[int, int]:
    height, width = (crop.get("height"), crop.get("width")) if isinstance(crop, Mapping) else (crop, crop)
    return _pixels(height, "crop_size", path), _pixels(width, "crop_size", path)


def _pixels(value: Any, key: str, path: Path) -> int:
    if not isinstance(value, int) or not 1 <= value <= 8192:
        raise BadModel(f"{path}: {key} is {value!r}, pixels from 1 to 8192 are expected")
    return value


def _scaling(given: Mapping[str, Any], kind: str, path: Path) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """(mean, std, rescale): pixel_values = (x * rescale - mean) / std."""
    rescale = float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else 1.0
    if not given.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), rescale
    if "image_mean" not in given or "image_std" not in given:
        raise BadModel(f"{path}: it states no image_mean and image_std", "add those the model was trained with")
    try:
        mean, std = (tuple(float(x) for x in given[key]) for key in ("image_mean", "image_std"))
    except (TypeError, ValueError) as error:
        raise BadModel(f"{path}: image_mean and image_std are not lists of numbers") from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise BadModel(f"{path}: image_mean {mean} and image_std {std}: three numbers each, std above 0, are expected")
    if kind == "EfficientNet" and given.get("include_top", True):  # it divides by std once more
        std = tuple(x * x for x in std)
    return mean, std, rescale
