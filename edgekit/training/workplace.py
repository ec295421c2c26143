"""The folder beside an output that a training keeps its checkpoints in, until the output stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import Interrupted, OutputExists

CHECKPOINT, ANSWERS = "checkpoint", "answers"
"""What is in it: what a training is continued from, and the teacher's answers."""


def workplace_of(out: Path) -> Path:
    """`<out>.training`, beside it."""
    return out.absolute().parent / f"{out.name}.training"


def prepare(workplace: Path, *, resume: bool, force: bool) -> None:
    """Keep what an interrupted run left only where it is to be continued; OutputExists unless `resume` or `force`, and
    always where what stands there is no training's.
    """
    if os.path.lexists(workplace) and not _is_workplace(workplace):
        raise OutputExists(f"{workplace}, where checkpoints would go, holds something else", "give another --out")
    if workplace.is_dir() and not resume:
        if not force:
            raise OutputExists(
                f"{workplace} holds what an interrupted training left", "--resume continues it, --force starts anew"
            )
        shutil.rmtree(workplace)


def _is_workplace(folder: Path) -> bool:
    """Whether there is nothing in it but what a training leaves, whole or half written."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(each.name.lstrip(".").startswith((CHECKPOINT, ANSWERS, "teacher")) for each in folder.iterdir())


@contextmanager
def leaving(checkpoints: Path) -> Iterator[None]:
    """An interrupt says where the last checkpoint is, if there is one by then."""
    try:
        yield
    except KeyboardInterrupt:
        if not checkpoints.exists():
            raise
        raise Interrupted(
            f"interrupted; the last checkpoint is in {checkpoints}", "--resume continues from it"
        ) from None
