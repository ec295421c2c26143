"""A run killed at any moment, also in the middle of writing a checkpoint, resumes to the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engines

SCRIPT = Path(__file__).resolve().parents[1] / "fixtures" / "training_killed.py"
# The step that each resumes from; None: there was no checkpoint yet.
MOMENTS = {
    "half_a_file": 8,
    "before_the_rename": 8,
    "after_the_rename": 12,
    "where_folders_cannot_be_exchanged": 8,
    "within_a_step": 12,
    "before_the_first_checkpoint": None,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("killed"))]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_resumes_to_the_same_weights(runs: dict[str, Any], moment: str) -> None:
    found, step = runs[moment], MOMENTS[moment]
    assert found["signal"] == signal.SIGKILL
    assert found["weights"] == runs["whole"]["weights"]
    continued = [remark for remark in found["remarks"] if remark.startswith("continued")]
    assert continued == ([] if step is None else [f"continued from the checkpoint of step {step}"])


def test_what_killed_runs_leave_is_cleared_by_the_next(runs: dict[str, Any]) -> None:
    assert any(name.startswith(".last.edgekit-") for name in runs["half_a_file"]["left"])
    assert [runs[moment]["after"] for moment in MOMENTS] == [["last"]] * len(MOMENTS)
