"""Checkpoints that are broken or that a preset cannot hold: one clear line, and no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_models
from safetensors.numpy import load_file, save_file

from edgekit.errors import BadModel
from edgekit.model import open_model
from edgekit.strategies.gguf import write_gguf

pytestmark = pytest.mark.engines

UP = "model.layers.1.mlp.up_proj.weight"


def llama_with(folder: Path, value: float) -> Path:
    tiny_models.tiny_llama(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[UP][3, 4] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_leave_no_file(value: float, tmp_path: Path) -> None:
    model = open_model(llama_with(tmp_path / "source", value))
    (tmp_path / "out").mkdir()
    with pytest.raises(BadModel, match=f"tensor '{UP}' holds 1 NaN or infinite values of 10240"):
        write_gguf(model, tmp_path / "out" / "model.gguf", "Q4_K_M")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_weight_beyond_f16_is_refused_there_and_kept_by_q8_0(tmp_path: Path) -> None:
    model = open_model(llama_with(tmp_path / "source", 1e5))
    with pytest.raises(BadModel, match=f"{UP}: a value beyond 65504 cannot be stored as F16"):
        write_gguf(model, tmp_path / "f16.gguf", "F16")
    write_gguf(model, tmp_path / "q8.gguf", "Q8_0")
    assert not (tmp_path / "f16.gguf").exists()
    assert (tmp_path / "q8.gguf").exists()


def test_a_checkpoint_cut_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    model = open_model(tiny_models.tiny_llama(tmp_path / "source"))
    weights = tmp_path / "source" / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadModel, match=r"model\.safetensors: truncated: the tensors need \d+ bytes, the file has \d+"):
        write_gguf(model, tmp_path / "model.gguf")
    assert weights.stat().st_size == size - 100
    assert not (tmp_path / "model.gguf").exists()


SLOW = """
import sys, time
from pathlib import Path
from edgekit.model import open_model
from edgekit.progress import Silent
from edgekit.strategies.gguf import write_gguf

class Slow(Silent):
    def advance(self, done):
        print("writing", flush=True)
        time.sleep(60)

write_gguf(open_model(Path(sys.argv[1])), Path(sys.argv[2]), "Q8_0", Slow())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_write_leaves_no_file_under_the_name(number: int, tmp_path: Path) -> None:
    folder = tiny_models.tiny_llama(tmp_path / "source")
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", SLOW, str(folder), str(out / "model.gguf")]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)
        assert process.wait(30) != 0
    left = [path.name for path in out.iterdir()]
    assert left == ([] if number == signal.SIGINT else [".model.gguf.partial"])
