"""This machine: a fresh process of the same Python, with the bundle's runtime and nothing of edgekit on its path."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgekit.errors import ValidationFailed
from edgekit.resources import probe_runtime, use_python_runtime
from edgekit.targets import Conditions, Kind, MemoryLimit, OverLimit, endings
from edgekit.targets.confinement import Fence, fence
from edgekit.targets.control_groups import machine_limit_bytes
from edgekit.targets.pinning import cpus_for

# What a user's environment may say to Python or the engines, and a measurement must not hear.
_LEFT_OUT = ("PYTHONPATH", "PYTHONSTARTUP", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GGML_N_THREADS")
# The probe is pinned before anything else runs, and so are its threads. It ends with edgekit, also when edgekit is
# killed: its standard input then reads as ended.
_START = """
import os, sys, threading
if sys.argv[1]: os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from edgekit_runtime.probe import main
sys.exit(main(sys.argv[2:]))
"""


@contextmanager
def opened(rest: str, conditions: Conditions) -> Iterator[Local]:
    """See targets.Module: nothing to open."""
    del rest, conditions
    yield Local()


class Local:
    """See targets.Target and targets.Confining."""

    name = "local"
    kind: Kind = "local"
    max_inputs = None
    max_parameter_tokens = None
    times = True

    def run(self, bundle: Path, job: Path, timeout_s: float) -> None:
        killed_before = _killed_for_memory()
        try:
            code, told = _probe(bundle, job, timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ValidationFailed(
                f"the measuring process took more than {timeout_s:.0f} s",
                "give fewer --eval rows, or a smaller model",
            ) from error
        if code == -signal.SIGKILL and _killed_for_memory() > killed_before:
            raise ValidationFailed(
                f"this machine's memory, {(machine_limit_bytes() or 0) / 2**20:.0f} MiB, ran out while the bundle was"
                " measured, and the system ended the measuring process",
                "close other programs, take a smaller model, or measure on a machine with more memory",
            )
        _check(code, told, job)

    @contextmanager
    def within(self, limit: MemoryLimit) -> Iterator[_Within]:
        with fence(limit.enforced_bytes) as found:
            yield _Within(limit, found)


class _Within(Local):
    """See targets.Confined: this machine with a fence around the process."""

    def __init__(self, limit: MemoryLimit, fence: Fence) -> None:
        self._limit, self._fence = limit, fence

    @property
    def told(self) -> str:
        return self._fence.told

    @property
    def peak_bytes(self) -> int | None:
        return self._fence.peak_bytes()

    def run(self, bundle: Path, job: Path, timeout_s: float) -> None:
        if self._limit.counted == "resident":
            _forget_cached(bundle)
        try:
            code, told = _probe(bundle, job, timeout_s, self._fence)
        except subprocess.TimeoutExpired as error:
            raise OverLimit(f"it was not done after {timeout_s:.0f} s") from error
        if code == -signal.SIGKILL and self._fence.was_hit():
            raise OverLimit("it was killed there")
        _check(code, told, job)


def _probe(bundle: Path, job: Path, timeout_s: float, fence: Fence | None = None) -> tuple[int, str]:
    """(exit status, what it said on standard error). Raises subprocess.TimeoutExpired, the process ended."""
    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    environment |= {
        "PYTHONPATH": str(probe_runtime(bundle)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    cpus = cpus_for(int(json.loads(job.read_bytes())["threads"]))
    prefix = () if fence is None else fence.prefix
    command = [*prefix, sys.executable, "-c", _START, ",".join(map(str, cpus)), str(job)]
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
            if fence is not None:
                fence.watch(process.pid)
            _, told = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
    if process.returncode == 0:
        _add(job.parent / "result.json", {"pinned_cpus": cpus, **_machine()})
    return process.returncode, told


def _machine() -> dict[str, Any]:
    """The cores that this machine has for us: a probe sees those alone that it is pinned to."""
    use_python_runtime()
    from edgekit_runtime import _machine

    return {"cores": _machine.physical_cores(), "cpu_parts": _machine.cpu_parts()}


def _add(result: Path, found: Mapping[str, Any]) -> None:
    """To what the probe told, what only this side knows."""
    with suppress(FileNotFoundError):  # measure() says so
        result.write_text(json.dumps(json.loads(result.read_bytes()) | found, indent=2) + "\n", encoding="utf-8")


def _check(code: int, told: str, job: Path) -> None:
    if code != 0:
        endings.check_disk(code, told, job.parent)
        raise endings.failure(code, told)


def _forget_cached(bundle: Path) -> None:
    """Have the system forget the pages it keeps of the bundle's files: whoever reads them next is charged for them."""
    for path in bundle.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                with suppress(OSError):  # a file system that is never written to knows no such thing
                    os.fsync(descriptor)  # what is not yet on the disk is not forgotten
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _killed_for_memory() -> int:
    """How many processes this machine has killed since it started because memory ran out; 0 where it does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


@contextmanager
def _lifeline() -> Iterator[int]:
    """A descriptor that reads as ended once the block is left, or this process is gone."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)
