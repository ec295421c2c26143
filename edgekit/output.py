"""Writing a folder so that nothing is ever half there: a lock, a sibling temporary, one rename."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import NoSpace, OutputBusy, OutputExists, OutputUnwritable

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Output:
    """A place being written. `work` is scratch on the same file system, whence `commit` takes the finished folder."""

    def __init__(self, out: Path, temporary: Path) -> None:
        self.out = out
        self.work = temporary / "work"
        self._replaced = temporary / "replaced"
        self.work.mkdir()

    def commit(self, finished: Path) -> Path:
        """Put `finished`, a folder in `work`, in place of `out` by rename; only then is what stood there removed."""
        with _output_errors(self.out):
            _sync(finished)
            if self.out.exists():
                self.out.rename(self._replaced)
            finished.rename(self.out)
        return self.out


@contextmanager
def writing(out: Path, *, force: bool, need_bytes: int = 0) -> Iterator[Output]:
    """Reserve `out` and yield its temporary, which is gone whatever way the block is left.

    Raises OutputExists (unless `force`), OutputBusy, OutputUnwritable or NoSpace, before any work where it can be
    known. A run that was killed leaves its temporary behind; the next one into the same output clears it, and puts
    back the bundle that was about to be replaced.
    """
    out = out.absolute()
    taken = os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir()))
    if taken and not force:
        raise OutputExists(f"{out} exists", "give another --out, or --force to replace it")
    if taken and not (out / "edgekit.json").is_file():
        raise OutputExists(f"{out} exists and is not a bundle", "--force replaces bundles only; give another --out")
    with _locked(out):
        _clear(out)
        _enough_space(out.parent, need_bytes)
        with _output_errors(out):
            temporary = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        try:
            yield Output(out, temporary)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise _no_space(out, error) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _prefix(out: Path) -> str:
    return f".{out.name}.edgekit-"


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """An advisory lock beside the output, freed by the kernel if the process dies."""
    path = out.parent / f".{out.name}.lock"
    with _output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken = True
        else:
            # Another run may have finished, and unlinked the file, between the open and the lock.
            taken = os.fstat(descriptor).st_nlink == 0
        if taken:
            raise OutputBusy(f"another pack is writing {out}", "wait for it, or give another --out")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _clear(out: Path) -> None:
    """Remove what killed runs left; the lock is held, so nobody is using it."""
    for left in out.parent.glob(f"{_prefix(out)}*"):
        replaced = left / "replaced"
        if replaced.is_dir() and not out.exists():
            replaced.rename(out)
        shutil.rmtree(left, ignore_errors=True)


def _enough_space(folder: Path, need_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        raise NoSpace(
            f"{folder} has {free_bytes / 2**20:.0f} MiB free and about {need_bytes / 2**20:.0f} MiB are needed",
            "free some space or give another --out",
        )


@contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    """Errors of creating and renaming the output itself, as one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _no_space(out, error) from error
        raise OutputUnwritable(f"cannot write {out}: {error.strerror}", "give an --out you may write to") from error


def _no_space(out: Path, error: OSError) -> NoSpace:
    return NoSpace(f"no space left while writing {out}: {error.strerror}", "free some space; nothing was written")


def _sync(folder: Path) -> None:
    """Flush files before the rename, so that a power cut cannot leave a bundle of empty files."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
