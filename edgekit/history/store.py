"""The file behind the history: lines appended whole by packs that run at once, bounded, and read with suspicion."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_NAME = "reports.jsonl"
LOCK_NAME = "reports.lock"
MAX_LINES = 2000
MAX_LINE_BYTES = 16 * 2**10
_LOCK_S = 2.0


def append(folder: Path, line: bytes) -> None:
    """Add one line (without its end), whole or not at all; of what then stands there the last MAX_LINES are kept.

    OSError if it cannot be written, or another process keeps the lock for seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        path = folder / FILE_NAME
        kept = lines(folder)
        if len(kept) < MAX_LINES:
            _add(path, line)
        else:
            _replace(path, [*kept[1 - MAX_LINES :], line])


def lines(folder: Path) -> list[bytes]:
    """The last MAX_LINES, the oldest first, without those longer than MAX_LINE_BYTES; none where there is no file.

    OSError if it is no plain file (reading a pipe might never end) or cannot be read.
    """
    most = MAX_LINES * MAX_LINE_BYTES
    path = folder / FILE_NAME
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(f"{FILE_NAME} is not a plain file")
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            found = file.read(most).split(b"\n")
    except FileNotFoundError:
        return []
    whole = found if size <= most else found[1:]
    return [line for line in whole if 0 < len(line) <= MAX_LINE_BYTES][-MAX_LINES:]


def _add(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a disk that was full
        os.write(descriptor, (b"\n" if torn else b"") + line + b"\n")
    finally:
        os.close(descriptor)


def _replace(path: Path, kept: list[bytes]) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(line + b"\n" for line in kept)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """An advisory lock, freed by the kernel if the process dies."""
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
