"""This machine: a fresh process of the same Python, with the bundle's runtime and nothing of edgekit on its path."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import NoSpace, ValidationFailed
from edgekit.targets import Conditions, Kind

# What a user's environment may say to Python or the engines, and a measurement must not hear.
_LEFT_OUT = ("PYTHONPATH", "PYTHONSTARTUP", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GGML_N_THREADS")
_FULL_BELOW_BYTES = 2**20
# The probe ends with edgekit, also when edgekit is killed: its standard input then reads as ended.
_START = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from edgekit_runtime.probe import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def opened(rest: str, conditions: Conditions) -> Iterator[Local]:
    """See targets.Module: nothing to open."""
    del rest, conditions
    yield Local()


class Local:
    """See targets.Target."""

    name = "local"
    kind: Kind = "local"
    max_inputs = None
    max_parameter_tokens = None
    times = True

    def run(self, bundle: Path, job: Path, timeout_s: float) -> None:
        _probe(bundle, job, timeout_s)


def _probe(bundle: Path, job: Path, timeout_s: float) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    environment |= {
        "PYTHONPATH": str(bundle.resolve() / "runtime"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-c", _START, str(job)]
    with (
        _lifeline() as stdin,
        subprocess.Popen(
            command,
            env=environment,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=job.parent,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            _, told = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ValidationFailed(
                f"the measuring process took more than {timeout_s:.0f} s",
                "give fewer --eval rows, or a smaller model",
            ) from error
        finally:
            process.kill()
    if process.returncode != 0:
        words = _last_words(told)
        if _disk_was_full(process.returncode, words, job.parent):
            raise NoSpace(f"no space left while measuring in {job.parent}", "free some space; nothing was written")
        raise ValidationFailed(
            f"the bundle failed in its own runtime ({_ended(process.returncode)}): {words}",
            "another strategy may work; --debug keeps the traceback",
        )


@contextmanager
def _lifeline() -> Iterator[int]:
    """A descriptor that reads as ended once the block is left, or this process is gone."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _disk_was_full(code: int, words: str, folder: Path) -> bool:
    """By the error's number; or by the signal that ends whoever writes to a mapped file which cannot grow."""
    system = re.match(r"OSError: (?:\[Errno (\d+)\]|\d+ requested and \d+ written)", words)
    if system:
        return system[1] is None or int(system[1]) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return code == -signal.SIGBUS and shutil.disk_usage(folder).free < _FULL_BELOW_BYTES


def _ended(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def _last_words(told: str) -> str:
    """The probe's one JSON line about its error, or else the last line it printed."""
    lines = [line for line in told.splitlines() if line.strip()]
    if not lines:
        return "it said nothing"
    try:
        error = json.loads(lines[-1])
        return f"{error['error']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return lines[-1][:300]
