"""`edgekit distill` stopped at any moment, resumed, run again, and refused: nothing half written, nothing lost."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.commands import Child, Desk, Moment, assert_refused, start
from fixtures.onnx_files import products
from fixtures.teaching import write_rows
from safetensors.numpy import load_file, save_file

from edgekit.errors import (
    EdgekitError,
    Interrupted,
    LabelMismatch,
    NoData,
    OutputExists,
    TooLittleData,
    UnsupportedModel,
    UsageError,
    VocabularyMismatch,
)
from edgekit.model import open_model

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(sys.platform != "linux", reason="children are watched by /proc"),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_sentence_encoder(tmp_path_factory.mktemp("teacher") / "teacher", num_hidden_layers=4)


@pytest.fixture
def ready(desk: Desk, teacher: Path) -> Desk:
    shutil.copytree(teacher, desk.cwd / "model")
    write_rows(desk.cwd / "rows.jsonl")
    return desk


def distill(desk: Desk, *words: object, moment: Moment | None = None, name: str = "run") -> Child:
    rows = [] if "--data" in words else ["--data", "rows.jsonl"]
    shape = [] if "--student" in words else ["--student", "layers=2"]
    return start(["distill", "model", *rows, *shape, "--out", "out", *words], desk.folder, moment=moment, name=name)


def names(desk: Desk) -> list[str]:
    return sorted(path.name for path in desk.cwd.iterdir())


def test_it_writes_a_student_and_nothing_beside_it(ready: Desk) -> None:
    ended = distill(ready, "--json").wait()
    assert (ended.code, ended.err) == (0, "")
    assert names(ready) == ["model", "out", "rows.jsonl"]
    told = json.loads(ended.out)
    figures = {each["name"]: each for each in told["training"]["compared"]}
    assert set(figures) >= {"mean cosine", "neighbours kept", "parameters", "weights on disk", "latency", "RAM"}
    assert figures["mean cosine"]["low"] < figures["mean cosine"]["value"] < figures["mean cosine"]["high"]
    assert figures["parameters"]["value"] > 1
    assert figures["latency"]["teacher"] > 0
    written = json.loads((ready.cwd / "out" / "training.json").read_bytes())
    assert written == told["training"]
    assert "Loss by step" in (ready.cwd / "out" / "report.html").read_text(encoding="utf-8")
    assert open_model(ready.cwd / "out").config["num_hidden_layers"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_resumed_training_is_the_one_that_was_never_stopped(ready: Desk, number: int) -> None:
    whole = distill(ready).wait()
    assert whole.code == 0
    expected = (ready.cwd / "out" / "model.safetensors").read_bytes()
    shutil.rmtree(ready.cwd / "out")

    child = distill(ready, moment=Moment("training, step 1", number), name="stopped")
    assert child.reached(120)
    ended = child.wait()
    if number != signal.SIGKILL:
        assert_refused(
            ended, Interrupted, r"interrupted; the last checkpoint is in \S+out.training/checkpoint - --resume"
        )
        assert names(ready) == ["model", "out.training", "rows.jsonl"]
    again = distill(ready, name="again").wait()
    assert_refused(
        again, OutputExists, "holds what an earlier training left - --resume with the same flags continues it"
    )

    resumed = distill(ready, "--resume", name="resumed").wait()
    assert (resumed.code, resumed.err) == (0, "")
    assert (ready.cwd / "out" / "model.safetensors").read_bytes() == expected
    assert "continued from the checkpoint" in resumed.out
    assert names(ready) == ["model", "out", "rows.jsonl"]


def _disturb(weights: Path) -> None:
    draw = np.random.default_rng(0)
    found = load_file(weights).items()
    save_file({name: each + draw.normal(0, 0.1, each.shape).astype(each.dtype) for name, each in found}, weights)


def test_a_given_student_is_not_continued_with_another_teacher(ready: Desk) -> None:
    shutil.copytree(ready.cwd / "model", ready.cwd / "small")
    _disturb(ready.cwd / "small" / "model.safetensors")
    child = distill(ready, "--student", "small", moment=Moment("training, step 1", signal.SIGINT))
    assert child.reached(120)
    assert child.wait().code == Interrupted.exit_code
    _disturb(ready.cwd / "model" / "model.safetensors")
    again = distill(ready, "--student", "small", "--resume", name="again").wait()
    assert_refused(again, UsageError, "belongs to another recipe: objective was .*; teacher [0-9a-f]{16}. and is ")
    assert names(ready) == ["model", "out.training", "rows.jsonl", "small"]


@pytest.mark.parametrize("step", ["open the teacher", "load the teacher", "teacher and student in turn", "write the"])
def test_an_interrupt_at_any_step_leaves_no_student(ready: Desk, step: str) -> None:
    child = distill(ready, moment=Moment(step, signal.SIGINT))
    assert child.reached(120)
    ended = child.wait()
    assert ended.code == Interrupted.exit_code
    assert len(ended.err.splitlines()) == 1
    assert set(names(ready)) <= {"model", "rows.jsonl", "out.training"}
    assert list(ready.tmp.iterdir()) == []


def test_force_replaces_a_student_and_nothing_else(ready: Desk) -> None:
    (ready.cwd / "out").mkdir()
    (ready.cwd / "out" / "precious").touch()
    assert_refused(distill(ready).wait(), OutputExists, "out exists")
    assert_refused(distill(ready, "--force").wait(), OutputExists, "is not a student")
    shutil.rmtree(ready.cwd / "out")
    (ready.cwd / "out.training").mkdir()
    (ready.cwd / "out.training" / "notes.txt").touch()
    for flags in ((), ("--force",), ("--resume",)):
        assert_refused(distill(ready, *flags).wait(), OutputExists, "out.training, where checkpoints would go, holds")
    assert (ready.cwd / "out.training" / "notes.txt").exists()


REFUSALS: list[tuple[tuple[str, ...], type[EdgekitError], str]] = [
    (("--data", "nowhere.jsonl"), NoData, "no such file"),
    (("--data", "empty.jsonl"), NoData, "has no rows"),
    (("--data", "few.jsonl"), TooLittleData, "at least 160 are needed"),
    (("--student", "layers=9"), UsageError, "the model has 4"),
    (("--student", "layers=2,width=3"), UsageError, "is not one of layers, hidden, heads, intermediate"),
    (("--student", "other"), VocabularyMismatch, "teacher"),
    (("--budget", "soon"), UsageError, "give a time: 90s, 20min, 1.5h"),
    (("--temperature", "0"), UsageError, "give 0.1 to 100"),
    (("--out", "model/inside"), UsageError, "is inside the source model"),
]


@pytest.mark.parametrize(("words", "error", "said"), REFUSALS, ids=[" ".join(words) for words, _, _ in REFUSALS])
def test_refusals_come_in_one_line_and_leave_nothing(
    ready: Desk, words: tuple[str, ...], error: type[EdgekitError], said: str
) -> None:
    (ready.cwd / "empty.jsonl").touch()
    write_rows(ready.cwd / "few.jsonl", 100)
    if "other" in words:
        tiny_models.tiny_sentence_encoder(ready.cwd / "other", encoder="roberta", num_hidden_layers=1)
    before = names(ready)
    assert_refused(distill(ready, *words).wait(), error, said)
    assert names(ready) == before


def test_labels_that_the_model_does_not_have_are_told(desk: Desk, classifier: Path) -> None:
    shutil.copytree(classifier, desk.cwd / "model")
    rows = write_rows(desk.cwd / "rows.jsonl", kind="label")
    rows.write_text(rows.read_text(encoding="utf-8").replace("positive", "odd"), encoding="utf-8")
    assert_refused(
        distill(desk, "--student", "layers=1").wait(), LabelMismatch, "label 'odd' is not one of the model's"
    )


def test_a_model_of_another_format_has_no_student(desk: Desk) -> None:
    products(desk.cwd / "model.onnx")
    write_rows(desk.cwd / "rows.jsonl")
    ended = start(["distill", "model.onnx", "--data", "rows.jsonl"], desk.folder).wait()
    assert_refused(ended, UnsupportedModel, "no student is trained for a model of format onnx")
    assert names(desk) == ["model.onnx", "rows.jsonl"]


@pytest.mark.parametrize("words", [["distill"], ["prune", "--ffn", "50%"], ["qat", "--for", "onnx-int8"]])
def test_nothing_is_trained_of_a_bundle(desk: Desk, words: list[str]) -> None:
    (desk.cwd / "bundle").mkdir()
    (desk.cwd / "bundle" / "edgekit.json").write_text("{}", encoding="utf-8")
    write_rows(desk.cwd / "rows.jsonl")
    command, *flags = words
    said = "bundle is a bundle, and its model is quantized - give the model it was packed from"
    desk.refuse(UnsupportedModel, said, command, "bundle", "--data", "rows.jsonl", *flags)
