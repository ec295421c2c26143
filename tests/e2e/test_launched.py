"""`edgekit distill` and `edgekit qat` on several processes, as `accelerate launch -m edgekit` starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.teaching import write_rows

from edgekit import __version__
from edgekit.model import open_model

pytestmark = pytest.mark.engines

COMMANDS = {
    "distill": (["distill", "model", "--student", "layers=2"], "training.json"),
    "qat": (["qat", "model", "--for", "onnx-int8"], "qat.json"),
}


def test_the_package_runs_as_a_module() -> None:
    ran = subprocess.run([sys.executable, "-m", "edgekit", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_two_processes_train_and_one_writes(tmp_path: Path, command: str) -> None:
    words, record = COMMANDS[command]
    tiny_models.tiny_sentence_encoder(tmp_path / "model", num_hidden_layers=4)
    write_rows(tmp_path / "rows.jsonl")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `accelerate launch` starts several processes with; on CPUs it wants MPI instead.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    told = ["--data", "rows.jsonl", "--budget", "5s", "--out", "out"]
    ran = subprocess.run(
        [*launcher, "-m", "edgekit", *words, *told], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out", "rows.jsonl"]
    assert "2 processes" in json.loads((tmp_path / "out" / record).read_bytes())["machine"]
    assert open_model(tmp_path / "out").task == "embedding"
