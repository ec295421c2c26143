"""Pickled checkpoints: loaded weights-only, and only with permission."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from edgekit.checkpoint import open_checkpoint
from edgekit.errors import BadModel
from edgekit.model import SourceModel

pytestmark = pytest.mark.engines


def model_in(folder: Path) -> SourceModel:
    return SourceModel("m", str(folder), "hf", "causal-lm", "base", "LlamaForCausalLM", folder, allow_pickle=True)


def test_a_state_dict_comes_back_as_float32(tmp_path: Path) -> None:
    import torch

    weight = torch.arange(12, dtype=torch.bfloat16).reshape(3, 4)
    torch.save({"w": weight.T, "n": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    with open_checkpoint(model_in(tmp_path)) as checkpoint:
        assert checkpoint.tensors["w"].dtype == "BF16"
        expected = np.arange(12, dtype=np.float32).reshape(3, 4).T
        np.testing.assert_array_equal(checkpoint.read("w"), expected)
        np.testing.assert_array_equal(checkpoint.read("w", slice(1, 3)), expected[1:3])


class Opener:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_code_in_a_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"w": Opener()}, file)
    with pytest.raises(BadModel, match="not a weights-only pickle"):
        open_checkpoint(model_in(tmp_path))
    assert not (tmp_path / "pwned").exists()


def test_nan_is_refused_by_name(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.tensor([1.0, float("nan")])}, tmp_path / "pytorch_model.bin")
    with open_checkpoint(model_in(tmp_path)) as checkpoint, pytest.raises(BadModel, match="'w' holds 1 NaN"):
        checkpoint.read("w")
