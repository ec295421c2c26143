"""A loss that is no number any more stops a training by any command, and the way on that is told works."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures import tiny_models
from fixtures.packing import LOOSE
from fixtures.teaching import write_rows

import edgekit
from edgekit.cli import main
from edgekit.distilling import gained
from edgekit.errors import Diverged
from edgekit.model import StudentSpec
from edgekit.pruning import Amounts, prune
from edgekit.training.stepping import Engine

pytestmark = pytest.mark.engines

SLOW = 1e-5
"""A learning rate at which nothing diverges."""


@pytest.fixture(autouse=True)
def _diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its 20th step on no loss is a number while the rate is above SLOW."""
    real = Engine.step

    def step(self: Engine, indices: Any, number: int, learning_rate: float) -> tuple[float, float]:
        loss, norm = real(self, indices, number, learning_rate)
        return (math.nan if learning_rate > SLOW and number >= 20 else loss), norm

    monkeypatch.setattr(Engine, "step", step)
    monkeypatch.setattr(gained, "ram_bytes", lambda *_: None)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_sentence_encoder(tmp_path_factory.mktemp("teacher") / "teacher", num_hidden_layers=4)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


def test_a_student_alone(teacher: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["distill", str(teacher), "--data", str(rows), "--student", "layers=2", "--out", str(out)]
    assert main(words) == Diverged.exit_code
    told = capsys.readouterr().err
    assert "training diverged at step 21 of" in told
    assert f"stands in {tmp_path / 'out.training'}" in told
    assert "go on from there with a learning rate below 0.0006 (--learning-rate) and --resume" in told
    assert not out.exists()
    assert main([*words, "--resume", "--learning-rate", str(SLOW)]) == 0
    remarks = json.loads((out / "training.json").read_bytes())["remarks"]
    assert any(each.startswith("a learning rate of 1e-05 from step ") for each in remarks)
    assert not (tmp_path / "out.training").exists()


def test_a_student_that_is_packed(teacher: Path, rows: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "out": tmp_path / "out",
        "strategy": "distill-onnx-int8",
        "data_file": rows,
        "student": StudentSpec(layers=2),
        "limits": replace(LOOSE, max_drop=1.0, min_cosine=0.0),
        "history": "none",
    }
    with pytest.raises(Diverged, match=r"(?s)step 21 of.*--learning-rate. and --resume"):
        edgekit.pack(teacher, "intel-n100", **asked)
    assert not (tmp_path / "out").exists()
    packed = edgekit.pack(teacher, "intel-n100", **asked, resume=True, learning_rate=SLOW)
    assert packed.report.status == "passed"
    assert packed.report.training is not None
    assert packed.report.training.recipe["learning_rate"] == SLOW


def test_a_pruned_model_that_recovers(teacher: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Diverged, match=r"(?s)step 21 of.*train anew .*--learning-rate"):
        prune(teacher, rows, Amounts(layers=1), out=out)
    assert not out.exists()
    assert prune(teacher, rows, Amounts(layers=1), out=out, learning_rate=SLOW).folder == out
