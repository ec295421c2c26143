"""Programs that the agent starts: none outlives it, nor edgekit."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.targets.ssh.agent.protocol import Gone, Refused, heard

# The start of every program: it ends with the agent, with all that it started itself, as its standard input then reads
# as ended.
WATCH = """
import os, signal, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os.killpg(0, signal.SIGKILL)), daemon=True).start()
"""
# `python -c MODULE NAME ARGUMENTS`: as `python -m NAME ARGUMENTS`, so watched.
MODULE = WATCH + "import runpy; name = sys.argv.pop(1); runpy.run_module(name, run_name='__main__', alter_sys=True)\n"
_TAIL_BYTES = 2**15
# What a user's environment may say to Python or the engines, and neither pip nor a measurement must hear.
_LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GGML_N_THREADS")


def supervised(
    command: Sequence[str], timeout_s: float, cwd: Path | None = None, environment: Mapping[str, str] = {}
) -> tuple[int, str]:
    """(exit status, the end of what it printed) of a program that ends when this one does, with all it started.

    Raises Gone when edgekit is; Refused after the timeout.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in _LEFT_OUT} | dict(environment),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output, tail, until = process.stdout.fileno(), bytearray(), time.monotonic() + timeout_s
    try:
        while True:
            ready, _, _ = select.select([0, output], [], [], 1.0)
            if 0 in ready:
                if not os.read(0, 4096):
                    raise Gone
                heard()
            if output in ready:
                chunk = os.read(output, 65536)
                tail += chunk
                del tail[:-_TAIL_BYTES]
                if not chunk:
                    break
            elif process.poll() is not None:
                break
            if time.monotonic() > until:
                raise Refused("timeout", f"it took more than {timeout_s:.0f} s")
        process.wait(10)
        return process.returncode, tail.decode("utf-8", "replace")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        process.wait()
