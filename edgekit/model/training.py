"""What a smaller model, or one trained for its quantization, is trained on: examples, time, and the student's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class StudentSpec:
    """A student's shape; None leaves what the source has. `given` is a folder or hub id of a model to start from, and
    excludes the rest. `hidden` is the width of the residual stream, `intermediate` that of the feed-forward.
    """

    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    intermediate: int | None = None
    given: str | None = None

    @classmethod
    def parse(cls, text: str) -> StudentSpec:
        """ "layers=4,hidden=256", or the folder or hub id of a given model. UsageError otherwise."""
        if "=" not in text or (Path(text) / "config.json").is_file():
            return cls(given=text)
        names = [each.name for each in fields(cls) if each.name != "given"]
        found: dict[str, Any] = {}
        for part in text.split(","):
            name, _, value = (word.strip() for word in part.partition("="))
            if name not in names or name in found:
                raise UsageError(f"--student: {part.strip()!r} is not one of {', '.join(names)}, once", "layers=4")
            if not value.isdecimal() or not 0 < int(value) < 2**20:
                raise UsageError(f"--student: {name} is {value!r}, a whole number above 0 is expected", "layers=4")
            found[name] = int(value)
        return cls(**found)

    @property
    def label(self) -> str:
        """ "layers=4,hidden=256", as `parse` reads it."""
        if self.given is not None:
            return self.given
        shape = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "given"}
        return ",".join(f"{name}={value}" for name, value in shape.items() if value is not None)


@dataclass(frozen=True)
class Training:
    """Examples to train on, and what may be spent on it.

    `origin` says in words where the examples come from. Exactly one of `texts`, `words`, `arrays` is filled; `labels`
    has one entry an example where there are any (token classification: one list an example), each one of the model's.
    `budget_s` is the seconds that training may take, None for as long as it gains. `learning_rate` replaces the task's
    highest. `student` is the shape that was asked for, None to be chosen. `resume` is the folder that checkpoints are
    kept in and continued from.
    """

    origin: str
    texts: tuple[str, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()
    arrays: tuple[Mapping[str, np.ndarray[Any, Any]], ...] = ()
    labels: tuple[str, ...] | tuple[tuple[str, ...], ...] | None = None
    budget_s: float | None = None
    seed: int = 0
    learning_rate: float | None = None
    student: StudentSpec | None = None
    resume: Path | None = None

    def __len__(self) -> int:
        return len(self.texts) or len(self.words) or len(self.arrays)
