"""Fitting is shown by running: what estimates let through is caught within its memory limit, before it ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.measured import MIB, row, with_ram
from fixtures.packing import LOOSE

import edgekit
from edgekit.errors import LimitMissed
from edgekit.findings import RUNS_WITHIN
from edgekit.packer import Packed

pytestmark = pytest.mark.engines


def hungry() -> Any:
    """A module of 80,000 parameters whose one step multiplies each of 2048 numbers with each: 16 MiB a tensor."""
    import torch

    class Products(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = torch.nn.Linear(16, 2048), torch.nn.Linear(2048, 4)

        def forward(self, x: Any) -> Any:
            wide = self.wide(x)
            return self.narrow((wide[:, :, None] * wide[:, None, :]).abs().sum(2))

    torch.manual_seed(0)
    return Products().eval()


def test_what_takes_more_than_was_estimated_is_not_shipped(tmp_path: Path) -> None:
    import torch

    with pytest.raises(LimitMissed) as caught:
        edgekit.pack(
            hungry(),
            "raspberry-pi-zero-2-w",
            name="hungry",
            example_inputs=torch.randn(2, 16),
            out=tmp_path / "out",
            limits=replace(LOOSE, max_ram_bytes=100 * MIB),
        )
    assert "runs within the memory limit no (limit yes, --max-ram)" in str(caught.value)
    assert "missed peak RSS" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_finished_bundle_is_held_to_another_device_s_memory(packed_minilm: Packed) -> None:
    fits = edgekit.validate(packed_minilm.folder, device=with_ram(400 * MIB))
    told = row(fits, RUNS_WITHIN)
    assert (told.measured, told.passed) == (1.0, True)
    assert "400.0 MiB of all resident pages" in told.where
    does_not = edgekit.validate(packed_minilm.folder, device=with_ram(80 * MIB))
    told = row(does_not, RUNS_WITHIN)
    assert (told.measured, told.passed, does_not.status) == (0.0, False, "failed")
    assert "without a limit its peak was" in told.where


def test_goldens_know_how_far_the_original_is(packed_minilm: Packed) -> None:
    import json

    cases = json.loads((packed_minilm.folder / "golden.json").read_bytes())["cases"]
    assert len(cases) == 8
    for case in cases:
        assert 0.001 < case["distance"] < 0.02
        assert case["tolerance"]["default"] == pytest.approx(2 * case["distance"], rel=1e-3)
