"""Packed checkpoints: each format's values come back exactly, in any rows, under the float names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.quantized_models import CHECKPOINTS, quantized_llama

from edgekit.checkpoint.formats import unpacked
from edgekit.checkpoint.safetensors import SafetensorsCheckpoint, safetensors_files

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_values_are_those_that_were_packed(kind: str, tmp_path: Path) -> None:
    source = quantized_llama(tmp_path, kind, num_hidden_layers=1)
    with unpacked(SafetensorsCheckpoint(safetensors_files(tmp_path)), CHECKPOINTS[kind][0]) as checkpoint:
        assert set(checkpoint.matrices) == set(source.values)
        for name, expected in source.values.items():
            assert checkpoint.tensors[name].shape == expected.shape
            np.testing.assert_array_equal(checkpoint.read(name), expected)
            np.testing.assert_array_equal(checkpoint.read(name, slice(3, 45)), expected[3:45])
        plain = checkpoint.read("model.norm.weight")
        assert (plain.dtype, plain.shape) == (np.float32, (128,))
        assert not [name for name in checkpoint.tensors if "_proj." in name and name not in source.values]
