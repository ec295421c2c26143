"""What stands where a training would work is removed only if a training left it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import OutputExists
from edgekit.training.workplace import keep_shape, kept_shape, prepare, tidy


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
    with pytest.raises(OutputExists, match="--resume continues it, --force starts anew"):
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
