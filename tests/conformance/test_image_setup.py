"""The setup read from preprocessor_config.json, run by the runtime, gives what transformers' own processor gives."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runtime._image import pixel_values
from fixtures.plain_folders import write_json

from edgekit.model.image import read_image_setup

pytestmark = pytest.mark.engines

STATISTICS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3]}
CROP = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 36}}


@pytest.mark.parametrize(
    "given",
    [
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 32}, "resample": 2},
        {"image_processor_type": "ViTImageProcessor", "size": 30, "resample": 3},
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 24}, "do_normalize": False},
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 24}, "resample": 3},
        {"image_processor_type": "BeitImageProcessor", "size": {"height": 24, "width": 24}, "do_center_crop": False},
        {"image_processor_type": "BitImageProcessor", "resample": 3, **CROP},
        {"image_processor_type": "CLIPImageProcessor", "resample": 3, **CROP},
        {"image_processor_type": "MobileNetV2ImageProcessor", "resample": 2, **CROP},
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 28}, "crop_pct": 0.875},
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "resample": 3},
        {"image_processor_type": "PvtImageProcessor", "size": {"height": 24, "width": 24}},
        {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 24, "width": 24}, "resample": 0},
        {"image_processor_type": "DeiTImageProcessor", "size": {"height": 24, "width": 24}, "do_center_crop": False},
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 24},
        {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 24, "width": 24}, "resample": 2,
         "include_top": False},
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(40, 61), (75, 50)])
def test_pictures_come_out_as_transformers_makes_them(
    tmp_path: Path, given: dict[str, Any], shape: tuple[int, int]
) -> None:
    import transformers

    write_json(tmp_path / "preprocessor_config.json", STATISTICS | given)
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    name = given.get("image_processor_type", "ViTImageProcessor")
    processor = getattr(transformers, name).from_pretrained(tmp_path)
    expected = processor(picture, return_tensors="np")["pixel_values"]
    setup = read_image_setup(tmp_path, {})
    ours = pixel_values(picture, {"image": asdict(setup)})
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() < 1e-4
