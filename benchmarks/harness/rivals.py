"""Students as `edgekit distill` makes them, and their rivals: the same network untaught, trained without its teacher,
or begun with random weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgekit
from edgekit.distilling import distill
from edgekit.model import SourceModel, StudentSpec, Training
from edgekit.progress import watch
from edgekit.strategies.distill.aims import Aims
from edgekit.strategies.distill.lesson import lesson
from edgekit.strategies.distill.objective import weight_of
from edgekit.strategies.distill.saving import save_folder
from edgekit.students.depth import shallower
from edgekit.torch_model import load_torch
from edgekit.training.batches import Batch, Data
from edgekit.training.loop import Recipe, train
from edgekit.training.tasks import answers

opened = edgekit.open_model
_MOST_TOKENS = 256
_SIMCSE_TEMPERATURE = 0.05


def layers_dropped(teacher: SourceModel, layers: int, folder: Path) -> Path:
    """The teacher with `layers` of its layers, evenly picked, and nothing trained: a student before its first step."""
    save_folder(shallower(load_torch(teacher), layers), teacher, folder, "The teacher with layers left out.")
    return folder


def from_scratch(teacher: SourceModel, layers: int, folder: Path, seed: int = 0) -> Path:
    """The same network with weights drawn at random, as its own class draws them."""
    import torch

    student: Any = shallower(load_torch(teacher), layers)
    torch.manual_seed(seed)
    save_folder(type(student)(student.config), teacher, folder, "Random weights.")
    return folder


@dataclass(frozen=True)
class Lesson:
    """A student that was trained: where it is, and how, with the seconds that everything around it took."""

    folder: Path
    figures: Mapping[str, Any]


def distilled(
    teacher: SourceModel, data: Path, student: str, budget_s: float, out: Path, aims: Aims | None = None
) -> Lesson:
    """`edgekit distill TEACHER --data DATA --student STUDENT --budget BUDGET --out OUT`; `aims` are the task's."""
    began = time.monotonic()
    with watch() as progress:
        made = distill(
            teacher, data, student=StudentSpec.parse(student), budget_s=budget_s, out=out, aims=aims, progress=progress
        )
    record = made.record
    same = ("steps", "best_step", "best_loss", "stopped", "train_rows", "parameters", "teacher_parameters")
    figures = {name: getattr(record, name) for name in same} | {
        "train_s": record.seconds,
        "wall_s": time.monotonic() - began,
        "losses": list(record.losses),
        "recipe": dict(record.recipe),
        "curve": [each.model_dump() for each in record.curve],
        "compared": [each.model_dump() for each in record.compared],
    }
    return Lesson(made.folder, figures)


def contrasted(
    teacher: SourceModel, texts: Sequence[str], layers: int, budget_s: float, folder: Path, seed: int = 0
) -> Lesson:
    """The student as it is cut out of its teacher, then trained by itself: unsupervised SimCSE (Gao et al. 2021), which
    tells the two dropouts of a text from all other texts of its batch. The teacher is not asked.
    """
    import torch

    began = time.monotonic()
    student = shallower(load_torch(teacher), layers)
    taught = lesson(teacher, Training("texts", texts=tuple(texts), seed=seed), _MOST_TOKENS)

    def views(module: Any, batch: Batch) -> Any:
        found = answers(module, teacher.task, batch.inputs, pooling=teacher.pooling, normalize=True)
        return found.embedding

    def loss(module: Any, batch: Batch) -> Any:
        alike = views(module, batch) @ views(module, batch).T / _SIMCSE_TEMPERATURE
        return torch.nn.functional.cross_entropy(alike, torch.arange(len(alike)))

    recipe = Recipe(
        learning_rate=3e-5, batch_size=64, epochs=10, budget_s=budget_s, seed=seed, dropout=True, objective="SimCSE"
    )
    parts = taught.parts
    data = Data(taught.examples, parts.train, parts.validation, taught.pad, None, weight_of(teacher.task))
    with watch() as progress:
        trained = train(student, loss, data, recipe, progress=progress)
    save_folder(student, teacher, folder, "Layers of the teacher, trained without it.")
    same = ("steps", "best_step", "best_loss", "stopped")
    figures = {name: getattr(trained, name) for name in same} | {
        "train_rows": len(parts.train),
        "train_s": trained.seconds,
        "wall_s": time.monotonic() - began,
        "losses": ["SimCSE (Gao et al. 2021): a text's two dropouts against all others of its batch"],
        "recipe": recipe.as_dict(),
        "curve": [vars(each) for each in trained.curve],
    }
    return Lesson(folder, figures)


def write_rows(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    """A .jsonl file as `edgekit distill --data` reads it."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path
