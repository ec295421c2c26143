"""Progress of long work: rich on stderr when a person watches, silent otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """What a strategy reports to. `total` and `done` are in any one unit; only their ratio is shown."""

    def step(self, title: str, total: float | None = None) -> None: ...
    def advance(self, done: float) -> None: ...


class Silent:
    """Progress for scripts, pipes and tests."""

    def step(self, title: str, total: float | None = None) -> None:
        pass

    def advance(self, done: float) -> None:
        pass


class Unwatched(Silent):
    """Progress of a command that nobody watches: steps are silent, what nobody would expect is told."""

    def remark(self, text: str) -> None:
        sys.stderr.write(f"edgekit: {text}\n")
        sys.stderr.flush()


class Bars:
    """One line a step, with a bar where the total is known; finished steps stay with their seconds."""

    def __init__(self, rich_progress: RichProgress) -> None:
        self._rich = rich_progress
        self._task: int | None = None
        self._title = ""
        self._started = 0.0

    def step(self, title: str, total: float | None = None) -> None:
        self.finish()
        self._title, self._started = title, time.monotonic()
        self._task = self._rich.add_task(title, total=total)

    def advance(self, done: float) -> None:
        if self._task is not None:
            self._rich.advance(self._task, done)  # type: ignore[arg-type]

    def finish(self) -> None:
        if self._task is None:
            return
        self._rich.remove_task(self._task)  # type: ignore[arg-type]
        self._rich.console.print(f"  {self._title} [dim]{time.monotonic() - self._started:.1f} s[/dim]")
        self._task = None


def aloud(progress: Progress, text: str) -> None:
    """Tell whoever runs the command, whether somebody watches or not; nobody where it is called by a program."""
    if isinstance(progress, Unwatched):
        progress.remark(text)
    else:
        progress.step(text)


@contextmanager
def watch() -> Iterator[Progress]:
    """Bars on stderr if it is a terminal, else silence but for remarks."""
    if not sys.stderr.isatty():
        yield Unwatched()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as rich_progress:
        bars = Bars(rich_progress)
        yield bars
        bars.finish()
