"""Students as `edgekit distill` makes them, and their rivals: the same network untaught, or with random weights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgekit
from edgekit.distilling import distill
from edgekit.model import SourceModel, StudentSpec
from edgekit.progress import watch
from edgekit.report import TrainingRecord
from edgekit.strategies.distill.aims import Aims
from edgekit.strategies.distill.saving import save_folder
from edgekit.students.depth import shallower
from edgekit.torch_model import load_torch

opened = edgekit.open_model


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
    """A student that was trained: where it is, how, and the seconds it took with everything around the training."""

    folder: Path
    record: TrainingRecord
    wall_s: float

    def figures(self) -> dict[str, Any]:
        record = self.record
        return {
            "steps": record.steps,
            "best_step": record.best_step,
            "best_loss": record.best_loss,
            "train_s": record.seconds,
            "wall_s": self.wall_s,
            "stopped": record.stopped,
            "train_rows": record.train_rows,
            "losses": list(record.losses),
            "recipe": dict(record.recipe),
            "parameters": record.parameters,
            "teacher_parameters": record.teacher_parameters,
            "curve": [each.model_dump() for each in record.curve],
            "compared": [each.model_dump() for each in record.compared],
        }


def distilled(
    teacher: SourceModel, data: Path, student: str, budget_s: float, out: Path, aims: Aims | None = None
) -> Lesson:
    """`edgekit distill TEACHER --data DATA --student STUDENT --budget BUDGET --out OUT`; `aims` are the task's."""
    began = time.monotonic()
    with watch() as progress:
        made = distill(
            teacher, data, student=StudentSpec.parse(student), budget_s=budget_s, out=out, aims=aims, progress=progress
        )
    return Lesson(made.folder, made.record, time.monotonic() - began)


def write_rows(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    """A .jsonl file as `edgekit distill --data` reads it."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path
