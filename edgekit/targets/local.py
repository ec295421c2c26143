"""This machine: a fresh process of the same Python, with the bundle's runtime and nothing of edgekit on its path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from edgekit.errors import ValidationFailed

# What a user's environment may say to Python or the engines, and a measurement must not hear.
_LEFT_OUT = ("PYTHONPATH", "PYTHONSTARTUP", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GGML_N_THREADS")


def probe(bundle: Path, job: Path, timeout_s: float) -> None:
    """See Target.probe."""
    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    environment |= {"PYTHONPATH": str(bundle / "runtime"), "PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit_runtime.probe", str(job)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=job.parent,
        text=True,
        errors="replace",
    )
    try:
        _, told = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ValidationFailed(f"the measuring process took more than {timeout_s:.0f} s", "raise --timeout") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise ValidationFailed(
            f"the bundle failed in its own runtime ({_ended(process.returncode)}): {_last_words(told)}",
            "another strategy may work; --debug keeps the traceback",
        )


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
