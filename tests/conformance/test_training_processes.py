"""The same training in one process and in two (torchrun, gloo): same gradients, same curve, one writer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engines

SCRIPT = Path(__file__).resolve().parents[1] / "fixtures" / "training_process.py"
RECIPE = {"learning_rate": 1e-2, "batch_size": 10, "epochs": 2, "clip_norm": 1e9}


def launched(folder: Path, processes: int, **job: Any) -> list[dict[str, Any]]:
    """What each process saw."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(SCRIPT)]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # What `accelerate launch` starts several processes with; on CPUs it wants MPI instead.
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(port)]
        command = [sys.executable, *launcher, str(SCRIPT)]
    job = {"folder": str(folder), "recipe": RECIPE, **job}
    ran = subprocess.run([*command, json.dumps(job)], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(processes)]


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def close(one: Path, other: Path, tolerance: float) -> None:
    import torch

    left, right = tensors(one), tensors(other)
    assert list(left) == list(right)
    for name, each in left.items():
        torch.testing.assert_close(each, right[name], rtol=tolerance, atol=tolerance)


Runs = tuple[Path, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("two")
    return folder, launched(folder, 2)


def test_two_processes_train_as_one_with_the_double_batch(tmp_path: Path, two: Runs) -> None:
    """Texts of unlike lengths, whose tokens fall unevenly on the two, and a last batch smaller than the others."""
    (alone,) = launched(tmp_path, 1)
    folder, both = two
    assert [each["processes"] for each in both] == [2, 2]
    close(tmp_path / "gradients.st", folder / "gradients.st", 1e-6)
    for each in both:
        assert each["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        told = [(point["step"], point["validation_loss"]) for point in each["curve"]]
        assert [step for step, _ in told] == [point["step"] for point in alone["curve"]]
        assert [loss for _, loss in told] == pytest.approx(
            [point["validation_loss"] for point in alone["curve"]], rel=1e-4
        )
    assert both[0]["losses"] == both[1]["losses"]
    close(folder / "weights-0.st", folder / "weights-1.st", 0.0)
    close(tmp_path / "weights-0.st", folder / "weights-0.st", 1e-3)


def test_only_the_main_process_writes_and_both_resume(tmp_path: Path, two: Runs) -> None:
    folder, whole = two
    assert whole[0]["saves"] > 1
    assert whole[1]["saves"] == 0
    begun = launched(tmp_path, 2, bad_step=20)
    assert [each["error"] for each in begun] == ["Diverged", "Diverged"]
    assert begun[0]["told"].startswith("training diverged at step 21 of 22: the loss is nan")
    resumed = launched(tmp_path, 2, resume=True)
    assert len(resumed[0]["losses"]) < len(whole[0]["losses"])
    for rank in range(2):
        close(folder / f"weights-{rank}.st", tmp_path / f"weights-{rank}.st", 0.0)


def test_the_teacher_is_asked_by_the_main_process_and_read_by_both(two: Runs) -> None:
    _, both = two
    assert both[0]["asked"] > 1
    assert both[1]["asked"] == 0
    assert both[0]["read"] == both[1]["read"] != 0


def test_a_process_without_a_share_of_the_batch_takes_part(tmp_path: Path) -> None:
    """One example a step: the second process has none of it, and the gradient is the first one's."""
    recipe = {**RECIPE, "batch_size": 1, "steps": 5}
    (alone,) = launched(tmp_path / "one", 1, recipe=recipe)
    both = launched(tmp_path / "two", 2, recipe=recipe)
    assert both[1]["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    close(tmp_path / "one" / "gradients.st", tmp_path / "two" / "gradients.st", 1e-6)


def test_what_one_process_is_refused_all_are(tmp_path: Path) -> None:
    launched(tmp_path / "c", 2, recipe={**RECIPE, "steps": 2})
    refused = launched(tmp_path / "c", 2, recipe={**RECIPE, "steps": 3}, resume=True)
    assert [each["error"] for each in refused] == ["UsageError", "UsageError"]
    assert "another recipe: steps was 2 and is 3" in refused[1]["told"]
