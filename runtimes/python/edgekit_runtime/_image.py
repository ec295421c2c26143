"""Pictures to `pixel_values`: resize, crop, rescale, normalise, as the manifest says. Pillow only where needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ._bundle import MANIFEST, setting
from .errors import BadInput, BundleInvalid, LoadFailed

Picture = str | os.PathLike[str] | npt.NDArray[Any]

# As in the C runtime. Filters are Pillow's numbers.
_MAX_EDGE = 16384
_MAX_PIXELS = 2**28
_MAX_FILTER = 5


def pixel_values(pictures: Picture | Sequence[Picture], manifest: dict[str, Any]) -> npt.NDArray[np.float32]:
    """float32 [n, 3, height, width] of paths, uint8 arrays [height, width, 3], or one such float32 array as it is."""
    recipe = _recipe(manifest)
    if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
        if pictures.dtype != np.float32 or pictures.shape[1:] != (3, recipe.height, recipe.width):
            raise BadInput(
                f"pixel_values are {pictures.dtype} {list(pictures.shape)},"
                f" expected float32 [n, 3, {recipe.height}, {recipe.width}]"
            )
        return pictures
    if isinstance(pictures, str | os.PathLike | np.ndarray):
        pictures = [pictures]
    if not isinstance(pictures, Sequence) or not pictures:
        raise BadInput(f"pictures are {pictures!r:.80}, expected one or more paths or arrays")
    return np.stack([_one(picture, recipe) for picture in pictures])


@dataclass(frozen=True)
class _Recipe:
    """The manifest's image; `shortest_edge` is None where pictures are resized to height and width at once."""

    height: int
    width: int
    shortest_edge: int | None
    resample: int
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]
    rescale: np.float32


def _recipe(manifest: dict[str, Any]) -> _Recipe:
    """BundleInvalid for what no picture can be prepared by."""
    height, width = (_whole(manifest, key, 1, _MAX_EDGE) for key in ("height", "width"))
    cut_from = (manifest.get("image") or {}).get("shortest_edge")
    edge = None if cut_from is None else _whole(manifest, "shortest_edge", 1, _MAX_EDGE)
    resample = _whole(manifest, "resample", 0, _MAX_FILTER)
    rescale = setting(manifest, "image", "rescale", (int, float))
    if not _is_number(rescale):
        raise BundleInvalid(f"{MANIFEST}: image.rescale is {rescale!r:.80}, expected a number")
    mean, std = (_colours(manifest, key) for key in ("mean", "std"))
    return _Recipe(height, width, edge, resample, mean, std, np.float32(rescale))


def _whole(manifest: dict[str, Any], key: str, least: int, most: int) -> int:
    value = int(setting(manifest, "image", key, int))
    if least <= value <= most:
        return value
    raise BundleInvalid(f"{MANIFEST}: image.{key} is {value}, expected {least} to {most}")


def _colours(manifest: dict[str, Any], key: str) -> npt.NDArray[np.float32]:
    value = setting(manifest, "image", key, (list, tuple))
    if len(value) == 3 and all(map(_is_number, value)):
        return np.asarray(value, np.float32)
    raise BundleInvalid(f"{MANIFEST}: image.{key} is {value!r:.80}, expected three numbers")


def _is_number(value: object) -> bool:
    """Whether it is one, and a float32 holds it."""
    return type(value) in (int, float) and abs(cast(float, value)) <= float(np.finfo(np.float32).max)


def _one(picture: Picture, recipe: _Recipe) -> npt.NDArray[np.float32]:
    pixels = _pixels(picture)
    edge, target = recipe.shortest_edge, (recipe.height, recipe.width)
    size = target if edge is None else _shorter_side_to(edge, pixels.shape[0], pixels.shape[1])
    if size[0] * size[1] > _MAX_PIXELS:
        given = f"{pixels.shape[0]} x {pixels.shape[1]}"
        raise BadInput(f"a picture of {given} would become one of {size[0]} x {size[1]}: crop it, it is too narrow")
    if pixels.shape[:2] != size:
        pixels = np.asarray(_pillow().fromarray(pixels).resize(size[::-1], resample=recipe.resample))
    scaled = _centre(pixels, *target).astype(np.float32) * recipe.rescale
    normalised = (scaled - recipe.mean) / recipe.std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1), dtype=np.float32)


def _pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise BadInput(f"a picture is {picture.dtype} {list(picture.shape)}, expected uint8 [height, width, 3]")
        return picture
    if not isinstance(picture, str | os.PathLike):
        raise BadInput(f"a picture is {type(picture).__name__}, expected a path or an array")
    pillow = _pillow()
    try:
        with pillow.open(picture) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise BadInput(f"{picture} cannot be read as a picture: {error}") from error


def _shorter_side_to(edge: int, height: int, width: int) -> tuple[int, int]:
    if height <= width:
        return edge, int(edge * width / height)
    return int(edge * height / width), edge


def _centre(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """The centre crop; what lies outside the picture is black."""
    short = (max(0, height - pixels.shape[0]), max(0, width - pixels.shape[1]))
    if any(short):
        pixels = np.pad(pixels, [((one + 1) // 2, one // 2) for one in short] + [(0, 0)])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise LoadFailed("reading or resizing a picture needs Pillow: pip install pillow") from error
    return Image
