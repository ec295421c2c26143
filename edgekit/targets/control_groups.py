"""Control groups for memory, version 2 and 1: made below or beside edgekit's own, and no other group is touched."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgekit.targets.system_files import read

# A shell of a few hundred KiB enters the group and becomes the program: all that the program uses is charged to it.
_ENTER = ("/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"')
_OURS = re.compile(r"edgekit-(\d+)-[0-9a-f]{8}")
_TRIAL_S = 10.0
_REMOVAL_S = 2.0


def machine_limit_bytes(root: Path = Path("/")) -> int | None:
    """What any process here can have at most: the machine's memory, or less where a control group around us says so."""
    text = read(root / "proc/meminfo")
    total = re.search(r"^MemTotal:\s*(\d+) kB", text, re.MULTILINE)
    known = [int(total[1]) * 1024] if total else []
    for version, mount, own in _hierarchies(root):
        for group in (own, *own.parents):
            limit = read(group / version.limit)
            known += [int(limit)] if limit.isdigit() else []
            if group == mount:
                break
    return min(known, default=None)


@dataclass(frozen=True)
class _Version:
    """The files of a control group's memory, by the names of its version. `swap` holds swap back: its file, and what
    is written there, where None is the limit itself.
    """

    told: str
    limit: str
    swap: tuple[str, str | None]
    peak: str
    events: str


_V2 = _Version("control group v2", "memory.max", ("memory.swap.max", "0"), "memory.peak", "memory.events")
_V1 = _Version(
    "control group v1",
    "memory.limit_in_bytes",
    ("memory.memsw.limit_in_bytes", None),
    "memory.max_usage_in_bytes",
    "memory.oom_control",
)


def _hierarchies(root: Path) -> Iterator[tuple[_Version, Path, Path]]:
    """(version, where it is mounted, this process's own group) of each memory hierarchy, version 2 first."""
    own: dict[str, str] = {}
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        own |= dict.fromkeys(controllers.split(","), path)
    found = []
    for line in read(root / "proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        fields, kind = head.split(), tail.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            version, group = _V2, own.get("")
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            version, group = _V1, own.get("memory")
        else:
            continue
        if group is None or ".." in group.split("/") or not f"{group}/".startswith(f"{fields[3].rstrip('/')}/"):
            continue  # seen from here, it is not below what is mounted
        mount = root / fields[4].lstrip("/")
        found.append((version, mount, mount / group.removeprefix(fields[3]).lstrip("/")))
    yield from sorted(found, key=lambda each: each[0] is not _V2)


@dataclass(frozen=True)
class Group:
    """See Fence: a control group of our own."""

    folder: Path
    version: _Version
    told: str

    @property
    def prefix(self) -> Sequence[str]:
        return (*_ENTER, str(self.folder / "cgroup.procs"))

    def watch(self, pid: int) -> None:
        """Nothing to do: the kernel does."""

    def peak_bytes(self) -> int | None:
        text = read(self.folder / self.version.peak)
        return int(text) if text.isdigit() else None

    def was_hit(self) -> bool:
        kills = re.search(r"^oom_kill (\d+)$", read(self.folder / self.version.events), re.MULTILINE)
        return kills is None or int(kills[1]) > 0  # before Linux 4.13 nothing counts them, and the signal must do


@contextmanager
def in_group(limit_bytes: int, root: Path) -> Iterator[Group | None]:
    for version, mount, own in _hierarchies(root):
        for parent in _parents(version, mount, own):
            group = _made_group(parent, version, limit_bytes)
            if group is not None:
                try:
                    yield group
                finally:
                    _remove(group.folder)
                return
    yield None


def _parents(version: _Version, mount: Path, own: Path) -> Iterator[Path]:
    """Where a group with a memory limit may be made: below our own, or, where version 2 forbids that to a group with
    processes of its own, beside it; never where memory is not handed down already.
    """
    for parent in [own] if version is _V1 or own == mount else [own, own.parent]:
        if version is _V1 or "memory" in read(parent / "cgroup.subtree_control").split():
            yield parent


def _made_group(parent: Path, version: _Version, limit_bytes: int) -> Group | None:
    """A group with the limit, into which a process was seen to get; None, and nothing left, where that cannot be."""
    _sweep(parent)
    folder = parent / f"edgekit-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        _write(folder / version.limit, str(limit_bytes))
        told = version.told + _hold_swap_back(folder, version, limit_bytes)
        trial = [*_ENTER, str(folder / "cgroup.procs"), "/bin/true"]
        entered = subprocess.run(trial, capture_output=True, timeout=_TRIAL_S, check=False).returncode
        if entered in (0, -signal.SIGKILL):  # killed: it was in, and the limit is smaller than a shell
            return Group(folder, version, told)
    except (OSError, subprocess.SubprocessError):
        pass
    except BaseException:
        _remove(folder)
        raise
    _remove(folder)
    return None


def _hold_swap_back(folder: Path, version: _Version, limit_bytes: int) -> str:
    """Keep what is limited from being swapped out instead; what to add where this machine's kernel cannot."""
    name, value = version.swap
    try:
        _write(folder / name, str(limit_bytes) if value is None else value)
    except OSError:
        return " (swap not limited)"
    return ""


def _write(path: Path, text: str) -> None:
    """Into a file that is there: a control file is never made."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """The group, once the last process in it has ended; one just killed may take a moment."""
    until = time.monotonic() + _REMOVAL_S
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > until:
                return
            time.sleep(0.01)


def _sweep(parent: Path) -> None:
    """Remove empty groups that an edgekit left which was killed outright."""
    with suppress(OSError):
        for path in parent.iterdir():
            left = _OURS.fullmatch(path.name)
            if left and not Path(f"/proc/{left[1]}").exists():
                with suppress(OSError):
                    path.rmdir()
