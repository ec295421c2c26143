"""Programs that preparing and emulating start: none of them outlives edgekit, and what they complain of is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.errors import TargetNotPrepared

# In the process that becomes the program: it is sent a signal when edgekit ends, however that ends, and dumps no core.
_TIE = """
import ctypes, os, resource, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]): os._exit(1)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.execvp(sys.argv[3], sys.argv[3:])
"""
_GRACE_S = 5.0


def tied(command: Sequence[str], ending: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command line that runs `command` and has the kernel send it `ending` when this process is gone (Linux)."""
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), str(int(ending)), *command]


def run(
    command: Sequence[str],
    what: str,
    remedy: str,
    *,
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
    fine: tuple[int, ...] = (0,),
) -> str:
    """What `command` printed. Raises TargetNotPrepared, "`what` failed: its complaint", with `remedy`, where its exit
    status is none of `fine`.
    """
    process = subprocess.Popen(
        tied(command, signal.SIGTERM),
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(extra or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        try:
            told, _ = process.communicate()
        except BaseException:
            _end(process)
            raise
    if process.returncode not in fine:
        raise TargetNotPrepared(f"{what} failed: {_complaint(told)}", remedy)
    return told


def _end(process: subprocess.Popen[str]) -> None:
    """Asked first: a build tool then ends its compilers."""
    process.terminate()
    try:
        process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _complaint(told: str) -> str:
    """The first line that says error, as compilers do, or the last that apt or pip marks as one, or the last of all."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("E: ", "ERROR: ", "CMake Error"))]
    named = [line for line in lines if "error: " in line.lower()]
    found = marked[-1:] or named[:1] or lines[-1:] or ["it said nothing"]
    return found[0][:300]
