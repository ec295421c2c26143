"""`edgekit distill` and `edgekit qat` on several processes, as `accelerate launch -m edgekit` starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fixtures import tiny_models
from fixtures.teaching import write_rows

from edgekit import __version__
from edgekit.cli import main
from edgekit.errors import Interrupted, OutputExists
from edgekit.model import open_model
from edgekit.training import loop

pytestmark = pytest.mark.engines

COMMANDS = {
    "distill": (["distill", "model", "--student", "layers=2"], "training.json"),
    "qat": (["qat", "model", "--for", "onnx-int8"], "qat.json"),
}
TOLD = ("--data", "rows.jsonl", "--budget", "5s", "--out", "out")


def test_the_package_runs_as_a_module() -> None:
    ran = subprocess.run([sys.executable, "-m", "edgekit", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{__version__}\n"


def launched(folder: Path, *words: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """`edgekit *words` in two processes, on a sentence encoder of four layers and its rows."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `accelerate launch` starts several processes with; on CPUs it wants MPI instead.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    return subprocess.run(
        [*launcher, "-m", "edgekit", *words, *TOLD], cwd=folder, capture_output=True, text=True, timeout=timeout_s,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    tiny_models.tiny_sentence_encoder(tmp_path / "model", num_hidden_layers=4)
    write_rows(tmp_path / "rows.jsonl")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_two_processes_train_and_one_writes(ready: Path, command: str) -> None:
    words, record = COMMANDS[command]
    ran = launched(ready, *words)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert sorted(path.name for path in ready.iterdir()) == ["model", "out", "rows.jsonl"]
    assert "2 processes" in json.loads((ready / "out" / record).read_bytes())["machine"]
    assert open_model(ready / "out").task == "embedding"


def test_where_something_stands_already_both_end_at_once_and_nothing_is_trained(ready: Path) -> None:
    (ready / "out").mkdir()
    (ready / "out" / "precious").touch()
    ran = launched(ready, *COMMANDS["distill"][0], timeout_s=60)
    assert ran.returncode != 0
    assert "out exists - give another --out, or --force to replace it" in ran.stderr
    assert f"exitcode  : {OutputExists.exit_code}" in ran.stderr
    assert "training" not in ran.stdout
    assert sorted(path.name for path in ready.iterdir()) == ["model", "out", "rows.jsonl"]
    assert [path.name for path in (ready / "out").iterdir()] == ["precious"]


def test_two_processes_continue_what_one_began(
    ready: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    words, record = COMMANDS["qat"]  # which measures no memory, in processes of their own, afterwards
    monkeypatch.chdir(ready)
    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_announce", stopped)
        status = main([*words, *TOLD])
    assert status == Interrupted.exit_code, capsys.readouterr().err
    assert sorted(path.name for path in ready.iterdir()) == ["model", "out.training", "rows.jsonl"]
    ran = launched(ready, *words, "--resume")
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert sorted(path.name for path in ready.iterdir()) == ["model", "out", "rows.jsonl"]
    told = json.loads((ready / "out" / record).read_bytes())
    assert "2 processes" in told["machine"]
    assert any("continued from the checkpoint" in each for each in told["remarks"])
