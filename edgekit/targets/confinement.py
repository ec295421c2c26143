"""Memory limits that are enforced: what a process may use at most, so that "fits" is shown by running.

A fence is made for one process and gone afterwards. Best first, each found by trying: a control group, version 2 or 1,
a transient scope of the user's systemd, a watcher that reads the process's memory every few milliseconds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgekit.targets import CannotConfine
from edgekit.targets.control_groups import in_group
from edgekit.targets.system_files import read

_TRIAL_S = 10.0
_WATCH_EVERY_S = 0.003


class Fence(Protocol):
    """A memory limit around one process, which is started with `prefix` before its command and then told to `watch`."""

    @property
    def told(self) -> str: ...
    @property
    def prefix(self) -> Sequence[str]: ...

    def watch(self, pid: int) -> None: ...

    def peak_bytes(self) -> int | None:
        """What it saw at most, page cache included; None where it cannot tell."""
        ...

    def was_hit(self) -> bool:
        """Whether a process in it that was killed was killed for want of memory."""
        ...


@contextmanager
def fence(limit_bytes: int, root: Path = Path("/")) -> Iterator[Fence]:
    """The best fence that can be had here. Raises CannotConfine where there is none."""
    for make in (in_group, _in_scope, _watched):
        with make(limit_bytes, root) as found:
            if found is not None:
                yield found
                return
    raise CannotConfine("this system has neither control groups nor /proc, by which a process's memory is limited")


@dataclass(frozen=True)
class _Scope:
    """See Fence: a transient scope of the user's systemd, which makes and removes the group."""

    limit_bytes: int
    told: str = "a systemd scope"

    @property
    def prefix(self) -> Sequence[str]:
        limits = (f"MemoryMax={self.limit_bytes}", "MemorySwapMax=0")
        options = [word for limit in limits for word in ("-p", limit)]
        return ("systemd-run", "--user", "--scope", "--quiet", "--collect", *options, "--")

    def watch(self, pid: int) -> None:
        """Nothing to do: systemd does."""

    def peak_bytes(self) -> int | None:
        return None

    def was_hit(self) -> bool:
        """Its group is gone with the process, so that only the signal tells."""
        return True


@contextmanager
def _in_scope(limit_bytes: int, root: Path) -> Iterator[Fence | None]:
    del root
    yield _Scope(limit_bytes) if _scopes_work() else None


def _scopes_work() -> bool:
    if shutil.which("systemd-run") is None:
        return False
    trial = [*_Scope(2**30).prefix, "/bin/true"]
    try:
        done = subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRIAL_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


@dataclass
class Watcher:
    """See Fence: reads what the process holds in pages that no file backs, and kills it above the limit. What is taken
    and given back between two looks is not seen.
    """

    limit_bytes: int
    root: Path = Path("/")
    told: str = "a watcher of anonymous memory (this machine lends no control group)"
    prefix: Sequence[str] = ()
    _peak: int = 0
    _hit: bool = False
    _over: threading.Event = field(default_factory=threading.Event)

    def watch(self, pid: int) -> None:
        threading.Thread(target=self._look, args=(pid,), daemon=True).start()

    def _look(self, pid: int) -> None:
        while not self._over.wait(_WATCH_EVERY_S):
            held = [int(kib) * 1024 for kib in re.findall(r"^Rss(?:Anon|Shmem):\s*(\d+) kB", self._status(pid), re.M)]
            if not held:  # it has ended
                return
            self._peak = max(self._peak, sum(held))
            if sum(held) > self.limit_bytes:
                self._hit = True
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                return

    def _status(self, pid: int) -> str:
        return read(self.root / f"proc/{pid}/status")

    def peak_bytes(self) -> int | None:
        return self._peak or None

    def was_hit(self) -> bool:
        return self._hit

    def stop(self) -> None:
        self._over.set()


@contextmanager
def _watched(limit_bytes: int, root: Path) -> Iterator[Fence | None]:
    if "RssAnon:" not in read(root / "proc/self/status"):
        yield None
        return
    watcher = Watcher(limit_bytes, root)
    try:
        yield watcher
    finally:
        watcher.stop()
