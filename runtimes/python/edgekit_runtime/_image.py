"""Pictures to `pixel_values`: resize, crop, rescale, normalise, as the manifest says. Pillow only where needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._bundle import setting
from .errors import BadInput, LoadFailed

Picture = str | os.PathLike[str] | npt.NDArray[Any]


def pixel_values(pictures: Picture | Sequence[Picture], manifest: dict[str, Any]) -> npt.NDArray[np.float32]:
    """float32 [n, 3, height, width] of paths, uint8 arrays [height, width, 3], or one such float32 array as it is."""
    height, width = (setting(manifest, "image", key, int) for key in ("height", "width"))
    if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
        if pictures.dtype != np.float32 or pictures.shape[1:] != (3, height, width):
            raise BadInput(
                f"pixel_values are {pictures.dtype} {list(pictures.shape)}, expected float32 [n, 3, {height}, {width}]"
            )
        return pictures
    if isinstance(pictures, str | os.PathLike | np.ndarray):
        pictures = [pictures]
    if not pictures:
        raise BadInput("no picture was given")
    return np.stack([_one(picture, manifest["image"]) for picture in pictures])


def _one(picture: Picture, image: dict[str, Any]) -> npt.NDArray[np.float32]:
    pixels = _pixels(picture)
    edge, target = image.get("shortest_edge"), (image["height"], image["width"])
    size = target if edge is None else _shorter_side_to(edge, pixels.shape[0], pixels.shape[1])
    if pixels.shape[:2] != size:
        pixels = np.asarray(_pillow().fromarray(pixels).resize(size[::-1], resample=image["resample"]))
    scaled = _centre(pixels, *target).astype(np.float32) * np.float32(image["rescale"])
    normalised = (scaled - np.asarray(image["mean"], np.float32)) / np.asarray(image["std"], np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1), dtype=np.float32)


def _pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise BadInput(f"a picture is {picture.dtype} {list(picture.shape)}, expected uint8 [height, width, 3]")
        return picture
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
