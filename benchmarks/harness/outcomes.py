"""What a benchmark of trainings is given and shows: a time as people write it, and targets with what was found."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

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
