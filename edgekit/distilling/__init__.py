"""`edgekit distill`: a student alone, as an ordinary model folder, measured against its teacher on rows it never saw.

teacher        opened; data read and parted
student        made of the teacher, trained on its answers         edgekit/strategies/distill/
compared       what was lost (answered) and gained (gained), each with its interval (bootstrap)
folder         weights, tokenizer, training.json, report.html: one rename puts it in place
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.errors import OutputExists
from edgekit.model import SourceModel, StudentSpec, Task, opened
from edgekit.model.apart import keep_apart
from edgekit.output import writing
from edgekit.progress import Progress, Silent
from edgekit.report import TrainingRecord
from edgekit.strategies.distill.aims import DEFAULT_BUDGET_S, Aims, aims_for
from edgekit.strategies.distill.lesson import lesson
from edgekit.strategies.distill.teaching import RECORD, Place, checked, half_as_deep, reopened, trained_student
from edgekit.training.workplace import CHECKPOINT, leaving, prepare, workplace_of
from edgekit.training_data import read_training

PAGE = "report.html"


@dataclass(frozen=True)
class Distilled:
    """A student that was written: where, and how it was trained and measured."""

    folder: Path
    record: TrainingRecord


def distill(
    teacher: str | Path | SourceModel,
    data_file: str | Path,
    *,
    student: StudentSpec | None = None,
    budget_s: float | None = DEFAULT_BUDGET_S,
    temperature: float | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    aims: Aims | None = None,
    task: Task | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Distilled:
    """Train a student of `teacher` on the rows of `data_file`, and write it to `out` (default TEACHER-student here).

    `student` None is half the layers. `aims` are the task's losses and recipe unless given; `temperature` and
    `learning_rate` replace theirs. While it trains, checkpoints stand beside the output, in `<out>.training`: they stay
    where it is interrupted or diverges, and `resume` continues them as if it had never stopped, or more slowly with a
    lower `learning_rate`. Under `accelerate launch` all processes call this alike, and the first one writes.

    Raises TrainingError (no data, too little, labels or vocabularies that do not match, divergence), UnsupportedModel,
    the errors of opening and writing, and Interrupted, which says where the checkpoint is.
    """
    from edgekit.training.processes import state

    progress = progress or Silent()
    progress.step("open the teacher")
    source = opened(
        teacher, task=task, revision=revision, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code
    )
    training = read_training(
        Path(data_file), source, budget_s=budget_s, seed=seed, learning_rate=learning_rate, student=student
    )
    if training.student is None:
        training = replace(training, student=half_as_deep(source))
    source = replace(source, training=training)
    checked(source)
    aims = aims or aims_for(source.task)
    aims = aims if temperature is None else replace(aims, temperature=temperature)
    destination = Path(out) if out is not None else Path(f"{source.name}-student")
    keep_apart(source, destination)
    workplace = workplace_of(destination)
    place = Place(workplace / CHECKPOINT, workplace, resume)
    if not state().is_main_process:
        record = trained_student(source, None, place, Silent(), aims)
        return Distilled(destination, record)
    with writing(destination, force=force, replaceable=_students_only) as output:
        prepare(workplace, resume=resume, force=force, progress=progress)
        folder = output.work / "student"
        with leaving(place.checkpoints):
            record = trained_student(source, folder, place, progress, aims)
            record = compared(source, reopened(source, folder), record, aims, progress)
        progress.step("write the student")
        _write(folder, record)
        written = output.commit(folder)
    shutil.rmtree(workplace, ignore_errors=True)
    return Distilled(written, record)


def _students_only(out: Path) -> OutputExists | None:
    if (out / RECORD).is_file():
        return None
    return OutputExists(f"{out} exists and is not a student", "--force replaces students only; give another --out")


def compared(
    source: SourceModel, student: SourceModel, record: TrainingRecord, aims: Aims, progress: Progress
) -> TrainingRecord:
    """The record with what `student` lost and gained beside `source`, whose training tells the rows it never saw."""
    from edgekit.distilling.answered import Pair, losses_of
    from edgekit.distilling.gained import gains_of
    from edgekit.torch_model import load_torch

    taught = lesson(source, checked(source), aims.most_tokens)
    pair = Pair(source, load_torch(source), load_torch(student))
    found = (*losses_of(pair, taught, progress), *gains_of(pair, student, taught, progress))
    return record.model_copy(update={"compared": found})


def _write(folder: Path, record: TrainingRecord) -> None:
    from edgekit.html.training import student_page

    (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(student_page(record), encoding="utf-8")
