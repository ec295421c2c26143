"""The story: a model learns to answer in its deployment's arithmetic as in float32, and is saved on the grid."""

from __future__ import annotations

import copy
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import NoData, UnsupportedModel
from edgekit.model import SourceModel, Training
from edgekit.progress import Progress
from edgekit.quantaware.aims import TASKS, Aims, aims_for
from edgekit.quantaware.comparison import Recovery, recovery
from edgekit.quantaware.deployed import Deployment, kinds_for
from edgekit.quantaware.layers import Kind, attach, detach, settle
from edgekit.quantaware.objective import objective, told
from edgekit.report import Course, CurvePoint, model_called
from edgekit.strategies.distill.lesson import Lesson, lesson
from edgekit.strategies.distill.objective import weight_of
from edgekit.strategies.distill.saving import save_folder
from edgekit.strategies.distill.words import duration_told, machine_told

if TYPE_CHECKING:
    from torch import nn

    from edgekit.training.loop import Recipe, Trained

RECORD, MARK = "qat.json", "edgekit_qat"


class Record(Course):
    """What was done, as qat.json holds it. `layers` counts the quantized ones by how; `recovered` is measured on rows
    that training never saw.
    """

    deployment: Deployment
    seven_bits: bool
    source: str
    layers: dict[str, int]
    recovered: Recovery


@dataclass(frozen=True)
class Place:
    """Where checkpoints are kept, and whether the last of them is continued."""

    checkpoints: Path
    resume: bool = False


def fine_tuned(
    model: SourceModel,
    deployment: Deployment,
    folder: Path | None,
    place: Place,
    progress: Progress,
    *,
    seven_bits: bool = False,
    aims: Aims | None = None,
) -> Record:
    """Train `model` on `model.training` in the arithmetic of `deployment`, and save it in the new folder `folder` (None
    on every process but the main one).

    `seven_bits` is how int8 weights are kept for CPUs that saturate (ONNX Runtime's reduce_range); `aims` are the
    task's losses and recipe unless given. UnsupportedModel where the strategy cannot deploy the model or nothing is
    known of its task; the errors of `edgekit.training`.
    """
    from edgekit.torch_model import load_torch
    from edgekit.training.processes import told as told_all

    training = checked(model, deployment)
    aims = aims or aims_for(model.task, deployment)
    progress.step("read the data")
    taught = lesson(model, training, aims.most_tokens)
    progress.step("load the model")
    teacher = load_torch(model)
    kinds = told_all(lambda: _kinds(deployment, model, teacher, progress, seven_bits))
    student = copy.deepcopy(teacher)
    attach(student, kinds)
    _freeze_tables(student, kinds)
    arithmetic = f"computed as {deployment}{' in 7 bits' if seven_bits else ''}"
    recipe = _recipe(aims, training, (*told(aims, model), arithmetic))
    trained = _trained(student, model, teacher, taught, aims, recipe, place, progress)
    settle(student, kinds)
    plain = copy.deepcopy(teacher)
    attach(plain, kinds)
    found = told_all(lambda: recovery(model, teacher, plain, student, taught, progress))
    detach(student)
    record = _record(deployment, seven_bits, model, kinds, taught, recipe, trained, found)
    if folder is not None:
        _save(student, model, folder, record, kinds)
    return record


def _freeze_tables(student: nn.Module, kinds: Mapping[str, Kind]) -> None:
    """One step of a uint8 table is far beyond what training moves a row: it would be time and memory for nothing."""
    for name, kind in kinds.items():
        if kind == "uint8-table":
            student.get_submodule(name).requires_grad_(False)


def _kinds(
    deployment: Deployment, model: SourceModel, teacher: nn.Module, progress: Progress, seven_bits: bool
) -> dict[str, Kind]:
    with tempfile.TemporaryDirectory(prefix="deployed-") as scratch:
        return kinds_for(deployment, model, teacher, Path(scratch), progress, seven_bits=seven_bits)


def _record(
    deployment: Deployment,
    seven_bits: bool,
    model: SourceModel,
    kinds: Mapping[str, Kind],
    taught: Lesson,
    recipe: Recipe,
    trained: Trained,
    found: Recovery,
) -> Record:
    assert model.training is not None
    return Record(
        deployment=deployment,
        seven_bits=seven_bits,
        source=model.source,
        layers=dict(Counter(kinds.values())),
        origin=model.training.origin,
        rows=len(model.training),
        train_rows=len(taught.parts.train),
        validation_rows=len(taught.parts.validation),
        held_out_rows=len(taught.parts.held_out),
        losses=tuple(recipe.objective.split("; ")),
        recipe={name: value for name, value in recipe.as_dict().items() if name != "objective"},
        curve=tuple(CurvePoint(**vars(point)) for point in trained.curve),
        best_step=trained.best_step,
        best_loss=trained.best_loss,
        steps=trained.steps,
        seconds=trained.seconds,
        stopped=trained.stopped,
        remarks=trained.remarks,
        machine=machine_told(trained),
        recovered=found,
    )


def check_trainable(model: SourceModel, deployment: Deployment) -> None:
    """UnsupportedModel where `deployment` is no way to train this model for."""
    if model.format != "hf" or model.task not in TASKS:
        kind = f"a model of format {model.format}" if model.format != "hf" else f"a model for {model.task}"
        raise UnsupportedModel(
            f"{model.name}: {kind} is not trained for its quantization",
            f"bring a Hugging Face folder for {', '.join(TASKS)}",
        )
    if model.quantized is not None:
        raise UnsupportedModel(
            f"{model.name} is quantized already ({model.quantized}): what rounding took from it is gone",
            "bring the unquantized checkpoint",
        )
    if deployment == "onnx-int8" and model.task == "causal-lm":
        raise UnsupportedModel(f"{model.name} decodes, and decoders are packed by gguf", "give --for gguf-Q4_0")


def checked(model: SourceModel, deployment: Deployment) -> Training:
    """The model's training, and what `check_trainable` raises."""
    check_trainable(model, deployment)
    if model.training is None:
        raise NoData(f"there is nothing to train {model.name} on", "give --data a file with rows")
    return model.training


def _trained(
    student: nn.Module,
    model: SourceModel,
    teacher: nn.Module,
    taught: Lesson,
    aims: Aims,
    recipe: Recipe,
    place: Place,
    progress: Progress,
) -> Trained:
    from edgekit.training.batches import Data
    from edgekit.training.loop import train

    was_on = next(teacher.parameters()).device
    parts = taught.parts
    data = Data(taught.examples, parts.train, parts.validation, taught.pad, None, weight_of(model.task))
    try:
        return train(
            student, objective(aims, model, teacher), data, recipe,
            checkpoints=place.checkpoints, resume=place.resume, progress=progress,
        )  # fmt: skip
    finally:
        teacher.to(was_on)


def _recipe(aims: Aims, training: Training, losses: tuple[str, ...]) -> Recipe:
    from edgekit.training.loop import Recipe

    return Recipe(
        learning_rate=aims.learning_rate,
        batch_size=aims.batch_size,
        epochs=aims.epochs,
        budget_s=training.budget_s,
        seed=training.seed,
        weight_decay=0.0,
        vector_rate=aims.vector_rate,
        patience=aims.patience,
        precision="fp32",  # 16-bit floats have grids of their own, coarser than some of these
        objective="; ".join(losses),
    )


def _save(student: nn.Module, model: SourceModel, folder: Path, record: Record, kinds: Mapping[str, Kind]) -> None:
    """In float32: only that holds a grid of float scales exactly."""
    save_folder(student, model, folder, _card(record), tag="qat")
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    config[MARK] = {"for": record.deployment, "seven_bits": record.seven_bits, "layers": dict(record.layers)}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    value = record.model_dump(mode="json") | {"kinds": dict(kinds)}
    (folder / RECORD).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _card(record: Record) -> str:
    """What the model is, for whoever finds the folder."""
    return "\n".join(
        [
            f"# {model_called(record.source)}, trained for {record.deployment}",
            "",
            f"Its weights lie on the grid of {record.deployment}, which therefore packs them without another loss. "
            f"Trained by edgekit to answer as the original does, on {record.train_rows:,} rows of "
            f"{record.origin}, for {duration_told(record.seconds)}. {record.recovered.told} `{RECORD}` tells how.",
        ]
    )
