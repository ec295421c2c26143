"""The folder beside an output that a training keeps its checkpoints in, until the output stands."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import Interrupted, OutputExists
from edgekit.progress import Progress, Silent, aloud

CHECKPOINT, ANSWERS, SHAPE = "checkpoint", "answers", "shape.txt"
"""What is in it: what a training is continued from, the teacher's answers, and the shape that was planned."""
_MOST_SHAPE_BYTES = 4096
# Whole, locked, or half written (edgekit.output).
_OURS = re.compile(rf"{re.escape(SHAPE)}|\.?({CHECKPOINT}|{ANSWERS})(\.lock|\.edgekit-\w+)?")


def workplace_of(out: Path) -> Path:
    """`<out>.training`, beside it."""
    return out.absolute().parent / f"{out.name}.training"


def prepare(workplace: Path, *, resume: bool, force: bool, progress: Progress | None = None) -> None:
    """Keep what an earlier run left only where it is to be continued, which is told where there is nothing to continue;
    OutputExists unless `resume` or `force`, and always where what stands there is no training's.
    """
    if os.path.lexists(workplace) and not _is_workplace(workplace):
        raise OutputExists(f"{workplace}, where checkpoints would go, holds something else", "give another --out")
    if workplace.is_dir() and not resume:
        if not force:
            raise OutputExists(
                f"{workplace} holds what an earlier training left",
                "--resume with the same flags continues it, --force starts anew",
            )
        shutil.rmtree(workplace)
    if resume and not (workplace / CHECKPOINT).exists():
        aloud(progress or Silent(), f"there is no checkpoint in {workplace} to resume from: the training begins anew")


def keep_shape(workplace: Path, shape: str) -> None:
    """Note which student is trained there: other limits would have another one planned."""
    workplace.mkdir(parents=True, exist_ok=True)
    (workplace / SHAPE).write_text(shape, encoding="utf-8")


def kept_shape(workplace: Path) -> str | None:
    """The student that was trained there; None where nobody noted it."""
    note = workplace / SHAPE
    if not note.is_file() or note.stat().st_size > _MOST_SHAPE_BYTES:
        return None
    return note.read_text(encoding="utf-8", errors="replace")


def tidy(workplace: Path) -> None:
    """Remove the note, and the folder if it is empty then, where no checkpoint was written."""
    if not (workplace / CHECKPOINT).exists():
        (workplace / SHAPE).unlink(missing_ok=True)
        with suppress(OSError):
            workplace.rmdir()


def _is_workplace(folder: Path) -> bool:
    """Whether there is nothing in it but what a training leaves, whole or half written."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(_OURS.fullmatch(each.name) for each in folder.iterdir())


@contextmanager
def leaving(checkpoints: Path) -> Iterator[None]:
    """An interrupt says where the last checkpoint is, if there is one by then, or what else is kept there."""
    try:
        yield
    except KeyboardInterrupt:
        if checkpoints.exists():
            raise Interrupted(
                f"interrupted; the last checkpoint is in {checkpoints}",
                "--resume with the same flags continues from it",
            ) from None
        if checkpoints.parent.exists():
            raise Interrupted(
                f"interrupted before the first checkpoint; what was prepared is in {checkpoints.parent}",
                "--resume with the same flags uses it, --force starts anew",
            ) from None
        raise
