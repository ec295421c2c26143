"""What a command is, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgekit.errors import EdgekitError


@dataclass(frozen=True)
class Outcome:
    """What a command came to: a value for machines (or what makes it), text for people (or the pieces it comes in),
    and the error it still ends in, if any.
    """

    value: Any
    text: str | Iterator[str]
    error: EdgekitError | None = None


class Call:
    """A command with its arguments, not yet run. Opaque, so that Fire finds nothing to look into."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[[], Outcome]) -> None:
        self._run = run
