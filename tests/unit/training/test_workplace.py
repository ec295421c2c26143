"""What stands where a training would work is removed only if a training left it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import Interrupted, OutputExists
from edgekit.progress import Unwatched
from edgekit.training.workplace import keep_shape, kept_shape, leaving, prepare, tidy


@pytest.mark.parametrize("name", ["checkpoint-500", "student", "teacher-model", "answers.txt", "shape.txt.bak"])
def test_what_a_person_keeps_there_is_never_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / "out.training" / name).mkdir(parents=True)
    for resume, force in ((False, True), (True, False), (True, True)):
        with pytest.raises(OutputExists, match="holds something else"):
            prepare(tmp_path / "out.training", resume=resume, force=force)
    assert (tmp_path / "out.training" / name).is_dir()


def test_what_a_training_left_is_kept_or_started_anew(tmp_path: Path) -> None:
    workplace = tmp_path / "out.training"
    for name in ("checkpoint", "answers", ".answers.edgekit-a_1b"):
        (workplace / name).mkdir(parents=True)
    (workplace / ".answers.lock").touch()
    keep_shape(workplace, "layers=2")
    with pytest.raises(OutputExists, match="--resume with the same flags continues it, --force starts anew"):
        prepare(workplace, resume=False, force=False)
    prepare(workplace, resume=True, force=False)
    tidy(workplace)
    assert kept_shape(workplace) == "layers=2"
    prepare(workplace, resume=False, force=True)
    assert not workplace.exists()


def test_a_shape_without_a_checkpoint_is_forgotten(tmp_path: Path) -> None:
    keep_shape(tmp_path / "out.training", "layers=2")
    tidy(tmp_path / "out.training")
    assert kept_shape(tmp_path / "out.training") is None
    assert not (tmp_path / "out.training").exists()


def test_nothing_to_resume_from_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workplace = tmp_path / "out.training"
    prepare(workplace, resume=True, force=False, progress=Unwatched())
    assert "there is no checkpoint in" in capsys.readouterr().err
    (workplace / "checkpoint").mkdir(parents=True)
    prepare(workplace, resume=True, force=False, progress=Unwatched())
    assert capsys.readouterr().err == ""


def test_an_interrupt_says_what_is_kept(tmp_path: Path) -> None:
    checkpoints = tmp_path / "out.training" / "checkpoint"

    def told(kind: type[BaseException]) -> str:
        with pytest.raises(kind) as caught, leaving(checkpoints):
            raise KeyboardInterrupt
        return str(caught.value)

    assert told(KeyboardInterrupt) == ""
    (checkpoints.parent / "answers").mkdir(parents=True)
    assert f"before the first checkpoint; what was prepared is in {checkpoints.parent} - --resume" in told(Interrupted)
    checkpoints.mkdir()
    assert f"the last checkpoint is in {checkpoints} - --resume" in told(Interrupted)
