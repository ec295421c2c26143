"""Where nothing quantized fits, the plan names the student that `--data` would then train."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.shaped_models import bert

from edgekit.asking import Asked
from edgekit.device import load_profile
from edgekit.limits import Limits, Preferences
from edgekit.model import Training
from edgekit.plan_table import plan_text, plan_value
from edgekit.planner import packed_as

SOURCE = bert(layers=6, width=256, inner=1024, heads=4, vocabulary=2000)
TRAINING = Training("rows", texts=("a",) * 200)
TIGHT = Limits(max_disk_bytes=3_000_000)
DEVICE = load_profile("raspberry-pi-5-8gb")


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.asking._installed_engines", lambda: ("onnxruntime", "llama.cpp"))


def test_the_student_that_is_told_is_the_one_that_rows_would_train() -> None:
    ask = Asked(SOURCE, DEVICE, TIGHT, Preferences(), "auto", None, data_at_hand=False)
    without = ask.planned().plan
    assert (without.candidates, without.student) == ((), None)
    trained = replace(ask, source=replace(SOURCE, training=TRAINING)).planned().plan.candidates
    shapes = {packed_as(each) for each in trained}
    (line,) = (each for each in without.advice if each.startswith("a student of "))
    assert line.endswith("pack --data FILE trains it")
    assert any(f"fit as {shape}, " in line for shape in shapes)


def test_with_data_at_hand_the_student_is_a_row_of_its_own() -> None:
    made = Asked(SOURCE, DEVICE, TIGHT, Preferences(), "auto", None, data_at_hand=True).planned().plan
    assert made.student is not None
    assert made.student.disk_bytes.high < 3_000_000
    assert plan_value(made)["student"]["label"] == made.student.label
    told = plan_text(made)
    assert "proposal" in told
    assert made.student.student in told


@pytest.mark.parametrize(("strategy", "limits"), [("auto", Limits()), ("onnx-int8", TIGHT)])
def test_no_student_is_told_where_the_model_fits_or_a_strategy_is_named(strategy: str, limits: Limits) -> None:
    made = Asked(SOURCE, DEVICE, limits, Preferences(), strategy, None, data_at_hand=True).planned().plan
    assert made.student is None
    assert not any(each.startswith("a student") for each in made.advice)
