"""Whole processes, timed in turn: A B A B, so that whatever else the machine does falls on all alike."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_OFFLINE = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# What a user's shell may say to Python or the engines, and a comparison must not hear.
_LEFT_OUT = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Finished:
    """A process that ended well. CPU seconds and the peak are those of it and its children together, and the largest.

    The kernel keeps a process's peak across exec, so a peak below this process's own size cannot be seen: import
    nothing large before running children.
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    stdout: str
    stderr: str


def run(command: Sequence[str | os.PathLike[str]], **environment: str) -> Finished:
    """Run `command` outside the checkout, offline and with telemetry off. Ends the benchmark if it fails."""
    inherited = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        told, complained = Path(folder) / "stdout", Path(folder) / "stderr"
        with told.open("wb") as stdout, complained.open("wb") as stderr:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                env=inherited | _OFFLINE | environment,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        finished = Finished(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_rss_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            stdout=told.read_text(encoding="utf-8", errors="replace"),
            stderr=complained.read_text(encoding="utf-8", errors="replace"),
        )
    if process.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise SystemExit(f"{words}\nended with {process.returncode}:\n{finished.stderr[-2000:]}")
    return finished


def in_turn(runs: Mapping[str, Callable[[], Result]], repeats: int, warmup: int = 1) -> dict[str, list[Result]]:
    """Every run once a round; `warmup` rounds are dropped, in which files are read and bytecode is written."""
    rounds = [{name: once() for name, once in runs.items()} for _ in range(warmup + repeats)]
    return {name: [each[name] for each in rounds[warmup:]] for name in runs}


def program(name: str) -> str:
    """The console script of this Python's environment."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed beside {sys.executable}")
    return found


def spread(samples: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples)}
