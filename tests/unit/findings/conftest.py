"""What tests of findings share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures import onnx_files
from fixtures.manifests import minimal

from edgekit.manifest import Manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Of a bundle in `tmp_path` that holds nothing but its model file."""
    (tmp_path / "onnx").mkdir()
    onnx_files.products(tmp_path / "onnx/model.onnx")
    return Manifest.model_validate(minimal())
