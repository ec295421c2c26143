"""A student trained: made of its teacher, held to the teacher's answers, saved as an ordinary model folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import NoData, UnsupportedModel, UsageError
from edgekit.manifest import at_home
from edgekit.model import SourceModel, StudentSpec, Training, open_model, source_sha256
from edgekit.model.config import max_tokens_of
from edgekit.progress import Progress
from edgekit.report import CurvePoint, TrainingRecord, model_called
from edgekit.strategies.distill.aims import AIMS, Aims, aims_for
from edgekit.strategies.distill.lesson import Lesson, lesson
from edgekit.strategies.distill.objective import fitted, objective, told, weight_of, where_tokens_match
from edgekit.strategies.distill.saving import save_folder
from edgekit.strategies.distill.words import duration_told, machine_told, shape_told
from edgekit.students.families import family_of
from edgekit.students.shape import shape_of
from edgekit.training.workplace import ANSWERS

if TYPE_CHECKING:
    from torch import nn

    from edgekit.training.cache import TeacherCache
    from edgekit.training.loop import Recipe, Trained

RECORD = "training.json"
_IMPORTANCE_BATCHES = 8


@dataclass(frozen=True)
class Place:
    """Where a training works: `checkpoints` it may be continued from (`resume`), and `scratch` for what may be computed
    again, the teacher's answers.
    """

    checkpoints: Path
    scratch: Path
    resume: bool = False


def trained_student(
    teacher: SourceModel, folder: Path | None, place: Place, progress: Progress, aims: Aims | None = None
) -> TrainingRecord:
    """Train the student that `teacher.training` asks for, and save it in the new folder `folder`, with training.json;
    None where another process saves it.

    `aims` are the task's unless given. Raises UnsupportedModel for a teacher that no student can be made of,
    TooLittleData, LabelMismatch, VocabularyMismatch, NoSpace (the teacher's answers), Diverged (the last good
    checkpoint stays in `place`).
    """
    from edgekit.torch_model import load_torch
    from edgekit.training.batches import Data
    from edgekit.training.loop import train

    training = checked(teacher)
    aims = aims or aims_for(teacher.task)
    progress.step("read the data")
    taught = lesson(teacher, training, aims.most_tokens)
    progress.step("load the teacher")
    module = load_torch(teacher)
    student = _made(teacher, module, training, taught, aims, progress)
    widths = width_of(student), width_of(module)
    aims = fitted(aims, teacher, *widths, labelled=taught.labels is not None)
    aims = within_disk(aims, teacher, taught, widths[1])
    aims = where_tokens_match(aims, teacher, (student, module), taught.examples)
    losses = told(aims, teacher, same_width=widths[0] == widths[1])
    teacher_parameters = _parameters(module)
    cache = _remembered(teacher, module, taught, aims, place, progress)
    del module  # its answers are on disk
    parts, recipe = taught.parts, _recipe(aims, training, losses, teacher)
    data = Data(taught.examples, parts.train, parts.validation, taught.pad, taught.labels, weight_of(teacher.task))
    try:
        trained = train(
            student, objective(aims, teacher, cache), data, recipe,
            checkpoints=place.checkpoints, resume=place.resume, progress=progress,
        )  # fmt: skip
    finally:
        cache.close()
    told_shape = shape_told(student.config.to_dict(), teacher.config, _parameters(student))
    sizes = {"student": told_shape, "parameters": _parameters(student), "teacher_parameters": teacher_parameters}
    record = _record(teacher, training, taught, trained, recipe, losses, sizes, cache.note)
    if folder is not None:
        save_folder(student, teacher, folder, _card(record))
        (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return record


def check_teachable(teacher: SourceModel) -> None:
    """UnsupportedModel for a format or task that no student is trained for."""
    if teacher.format != "hf" or teacher.task not in AIMS:
        kind = f"a model of format {teacher.format}" if teacher.format != "hf" else f"a model for {teacher.task}"
        raise UnsupportedModel(
            f"{teacher.name}: no student is trained for {kind}", f"bring a Hugging Face folder for {', '.join(AIMS)}"
        )


def checked(teacher: SourceModel) -> Training:
    """The teacher's training, with a student asked for; UnsupportedModel where none can be made of this teacher."""
    check_teachable(teacher)
    if teacher.training is None:
        raise NoData(f"there is nothing to train a student of {teacher.name} on", "give --data a file with rows")
    if teacher.training.student is None:
        raise UsageError("no student was asked for", "give --student layers=4, say")
    return teacher.training


def half_as_deep(teacher: SourceModel) -> StudentSpec:
    """The student of half the layers (DistilBERT: Sanh et al. 2019), for when no device decides."""
    return StudentSpec(layers=max(1, shape_of(teacher.config, family_of(teacher.model_type)).layers // 2))


def reopened(teacher: SourceModel, folder: Path) -> SourceModel:
    """The trained student in `folder`, under its teacher's name and with no training of its own."""
    return replace(open_model(folder, task=teacher.task), name=teacher.name, training=None)


def _made(
    teacher: SourceModel, module: nn.Module, training: Training, taught: Lesson, aims: Aims, progress: Progress
) -> Any:
    """The untrained student; where its width is cut, importance is measured on the first examples trained on."""
    from edgekit.students.make import student_of
    from edgekit.training.batches import batches

    first = taught.parts.train[: _IMPORTANCE_BATCHES * aims.batch_size]
    progress.step("cut the student out of its teacher")
    assert training.student is not None
    few = batches(taught.examples, first, aims.batch_size, training.seed, 0, taught.pad, taught.labels, shuffled=False)
    student = student_of(teacher, module, training.student, few, seed=training.seed, progress=progress)
    if training.student.given is not None:
        _check_positions(training.student.given, student, taught)
    return student


def _check_positions(given: str, student: Any, taught: Lesson) -> None:
    """UnsupportedModel where a row is longer than what a given student reads."""
    longest = max((len(each["input_ids"]) for each in taught.examples if "input_ids" in each), default=0)
    reads = max_tokens_of(student.config.to_dict(), {})
    if longest > reads:
        raise UnsupportedModel(
            f"{given} reads {reads} tokens at most, the longest row has {longest}",
            "give shorter rows, or a student that reads as much as its teacher",
        )


def _remembered(
    teacher: SourceModel, module: nn.Module, taught: Lesson, aims: Aims, place: Place, progress: Progress
) -> TeacherCache:
    from edgekit.training.cache import Kept, TeacherCache

    kept = Kept(
        teacher.task,
        teacher.pooling,
        teacher.normalize,
        hidden=(-1,) if aims.hidden else (),
        temperature=aims.temperature,
    )
    return TeacherCache.build(
        place.scratch / ANSWERS, module, taught.examples, kept,
        batch_size=aims.batch_size, pad=taught.pad, progress=progress,
    )  # fmt: skip


def within_disk(aims: Aims, teacher: SourceModel, taught: Lesson, width: int) -> Aims:
    """Without the last states, `width` wide, where keeping them would take too much disk."""
    patch = teacher.config.get("patch_size")
    patches = 1
    if teacher.image is not None and isinstance(patch, int) and patch > 0:
        patches += (teacher.image.height // patch) * (teacher.image.width // patch)  # and one for the class
    tokens = sum(len(each["input_ids"]) if "input_ids" in each else patches for each in taught.examples)
    return replace(aims, hidden=0.0) if 4 * tokens * width > aims.most_hidden_bytes else aims


def _recipe(aims: Aims, training: Training, losses: Sequence[str], teacher: SourceModel) -> Recipe:
    """Its objective names the teacher, whom nothing else of a given student's checkpoint would tell from another."""
    from edgekit.training.loop import Recipe

    return Recipe(
        learning_rate=training.learning_rate or aims.learning_rate,
        batch_size=aims.batch_size,
        epochs=aims.epochs,
        budget_s=training.budget_s,
        seed=training.seed,
        weight_decay=aims.weight_decay,
        objective="; ".join((*losses, f"teacher {source_sha256(teacher)[:16]}")),
    )


def width_of(module: Any) -> int:
    """Of the residual stream."""
    config = module.config
    return int(getattr(config, "hidden_size", 0) or getattr(config, "hidden_sizes", [0])[-1])


def _parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def _record(
    teacher: SourceModel,
    training: Training,
    taught: Lesson,
    trained: Trained,
    recipe: Recipe,
    losses: Sequence[str],
    sizes: Mapping[str, Any],
    note: str,
) -> TrainingRecord:
    return TrainingRecord(
        teacher=at_home(teacher.source),
        **sizes,
        origin=training.origin,
        rows=len(training),
        train_rows=len(taught.parts.train),
        validation_rows=len(taught.parts.validation),
        held_out_rows=len(taught.parts.held_out),
        labelled=training.labels is not None,
        losses=tuple(losses),
        recipe={name: value for name, value in recipe.as_dict().items() if name != "objective"},
        curve=tuple(CurvePoint(**vars(point)) for point in trained.curve),
        best_step=trained.best_step,
        best_loss=trained.best_loss,
        steps=trained.steps,
        seconds=trained.seconds,
        stopped=trained.stopped,
        remarks=(*trained.remarks, *([note] if note else [])),
        machine=machine_told(trained),
    )


def _card(record: TrainingRecord) -> str:
    """What the student is, for whoever finds the folder."""
    labels = " and their labels" if record.labelled else ""
    return "\n".join(
        [
            f"# A student of {model_called(record.teacher)}",
            "",
            f"{record.student}; the teacher has {record.teacher_parameters:,}. Trained by edgekit to "
            f"answer like it, on {record.train_rows:,} rows of {record.origin}{labels}, for "
            f"{duration_told(record.seconds)}. `training.json` tells how.",
        ]
    )
