"""What benchmarks of trainings are given and show: a time as people write it, lessons, targets and what was found."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit import flags
from edgekit.errors import EdgekitError
from edgekit.grid import table
from harness.accuracy import Target
from harness.results import verdict


def seconds(text: str) -> float:
    """An argparse type: 90s, 20min, 1.5h."""
    try:
        found = flags.duration("a time", text)
    except EdgekitError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    assert found is not None
    return found


def target_table(asked: Sequence[Target]) -> str:
    rows = [(each.name, each.asked, each.found, verdict(each.reached)) for each in asked]
    return table(("target", "asked", "found", ""), rows)


def lesson_table(lessons: Mapping[str, Mapping[str, Any]]) -> str:
    """How each student was trained, and what it was held to."""
    rows = [
        (
            name, str(each["train_rows"]), str(each["steps"]), f"{each['train_s'] / 60:.1f}",
            f"{each['wall_s'] / 60:.1f}", f"{each['best_loss']:.4g}", each["stopped"],
        )
        for name, each in lessons.items()
    ]  # fmt: skip
    header = ("student", "rows", "steps", "training min", "altogether min", "best validation loss", "ended by")
    held_to = [f"{name}: {'; '.join(each['losses'])}" for name, each in lessons.items()]
    return "\n".join([table(header, rows), *held_to])
