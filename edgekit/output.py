"""Writing a folder, or one file, so that nothing is ever half there: a lock, a sibling temporary, one rename."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import NoSpace, OutputBusy, OutputExists, OutputUnwritable

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_BELOW_BYTES = 64 * 2**10
_MANIFEST = "edgekit.json"


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
            finished.chmod(self.work.stat().st_mode & 0o777)  # what mkdtemp made is private
            _sync(finished)
            if not self.out.exists():
                finished.rename(self.out)
            elif not _exchange(finished, self.out):
                self.out.rename(self._replaced)  # whence `_discard` puts it back if the next line is not reached
                finished.rename(self.out)
        return self.out


Replaceable = Callable[[Path], OutputExists | None]


def _bundles_only(out: Path) -> OutputExists | None:
    if (out / _MANIFEST).is_file():
        return None
    return OutputExists(f"{out} exists and is not a bundle", "--force replaces bundles only; give another --out")


@contextmanager
def writing(
    out: Path, *, force: bool, need_bytes: int = 0, replaceable: Replaceable = _bundles_only
) -> Iterator[Output]:
    """Reserve `out` and yield its temporary, which is gone whatever way the block is left. `replaceable` tells why
    what stands at `out` is not to be replaced even with `force`, None where it is.

    Raises OutputExists (unless `force`), OutputBusy, OutputUnwritable or NoSpace, before any work where it can be
    known. A run that was killed leaves its temporary behind; the next one into the same output clears it, and puts
    back the bundle that was about to be replaced.
    """
    out = out.absolute()
    _check_outside_bundles(out)
    _check_free(out, force, replaceable)
    with _parents(out), _locked(out):
        _clear(out)
        _check_free(out, force, replaceable)  # another run may have finished, or `_clear` put its bundle back
        _enough_space(out.parent, need_bytes)
        with _output_errors(out):
            temporary = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        try:
            target = Output(out, temporary)
            with _temporaries_in(target.work):
                yield target
        except Exception as error:
            # Engines that write files themselves call a full disk all sorts of things.
            if _is_full(error) or shutil.disk_usage(out.parent).free < _FULL_BELOW_BYTES:
                raise _no_space(out) from error
            raise
        finally:
            _discard(temporary, out)


def check_file(path: Path, *, force: bool) -> None:
    """Raise what `write_file` would, where it can be known before the work whose result is to be written."""
    where = f"cannot write {path}:"
    _check_outside_bundles(path.absolute())
    if path.is_dir():
        raise OutputUnwritable(f"{where} Is a directory", "name a file")
    if not path.absolute().parent.is_dir():
        raise OutputUnwritable(f"{where} there is no folder {path.parent}", "make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise OutputUnwritable(f"{where} you may not write to {path.absolute().parent}", "name another file")
    if not os.path.lexists(path):
        return
    if not path.is_file() or path.is_symlink():
        raise OutputUnwritable(f"{where} it exists and is no plain file", "name another file")
    if not force:
        raise OutputExists(f"{path} exists", "name another file, or --force to replace it")


def write_file(path: Path, text: str, *, force: bool) -> None:
    """Put `text` at `path` by one rename, or, without `force`, by a link that fails if something stands there by now.

    Raises OutputExists, OutputBusy, OutputUnwritable or NoSpace. What a killed run left is taken over by the next.
    """
    check_file(path, force=force)
    temporary = path.absolute().parent / f".{path.name}.edgekit-part"
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "r+", encoding="utf-8") as file:  # noqa: PTH123 (a descriptor)
            _claim(file.fileno(), temporary, path)
            is_ours = True  # by rename it stops being so: what is then by that name may be another run's
            try:
                file.truncate()
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                if force:
                    temporary.replace(path)
                    is_ours = False
                else:
                    path.hardlink_to(temporary)
            finally:
                if is_ours:
                    temporary.unlink()
    except FileExistsError:
        raise OutputExists(f"{path} exists", "name another file, or --force to replace it") from None
    except OSError as error:
        if _is_full(error):
            raise _no_space(path) from error
        raise OutputUnwritable(f"cannot write {path}: {error.strerror}", "name another file") from error


def _claim(descriptor: int, temporary: Path, path: Path) -> None:
    """Lock the open temporary, and see that it is still the one by that name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(descriptor), temporary.stat())
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:
        raise OutputBusy(f"another run is writing {path}", "wait for it, or name another file")


@contextmanager
def _temporaries_in(folder: Path) -> Iterator[None]:
    """What engines put aside in files is cleared with the rest, also after a kill, and fills no other disk."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _check_free(out: Path, force: bool, replaceable: Replaceable) -> None:
    taken = os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir()))
    if taken and not force:
        raise OutputExists(f"{out} exists", "give another --out, or --force to replace it")
    if taken and (refusal := replaceable(out)) is not None:
        raise refusal


def _check_outside_bundles(out: Path) -> None:
    """A bundle that holds a file more than was packed is one no longer."""
    for folder in out.parents:
        if os.path.isfile(folder / _MANIFEST):  # noqa: PTH113 (Path's raises where a folder may not be read)
            raise OutputUnwritable(
                f"{out} lies in the bundle {folder}, which is refused once it holds a file more", "name a place outside"
            )


@contextmanager
def _parents(out: Path) -> Iterator[None]:
    """The folders above `out`; those that had to be made, and hold nothing in the end, are removed again."""
    missing: list[Path] = []
    try:
        with _output_errors(out):
            missing += [folder for folder in out.parents if not folder.exists()]
            above = out.parents[len(missing)]
            if not above.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{above} is not a folder")
            out.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def _prefix(out: Path) -> str:
    return f".{out.name}.edgekit-"


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """An advisory lock beside the output, freed by the kernel if the process dies."""
    path = out.parent / f".{out.name}.lock"
    with _output_errors(out):
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
    for left in out.parent.glob(f"{glob.escape(_prefix(out))}*"):
        _discard(left, out)


def _discard(temporary: Path, out: Path) -> None:
    """Remove a run's temporary, after putting back what it was about to replace and has not."""
    replaced = temporary / "replaced"
    if replaced.is_dir() and not os.path.lexists(out):
        replaced.rename(out)
    shutil.rmtree(temporary, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, so that neither name is ever missing; False where this system cannot."""
    name, here = {"linux": ("renameat2", -100), "darwin": ("renameatx_np", -2)}.get(sys.platform, ("", 0))
    call = getattr(ctypes.CDLL(None), name, None)  # `here` is AT_FDCWD, 2 is RENAME_EXCHANGE and RENAME_SWAP
    return call is not None and call(here, os.fsencode(one), here, os.fsencode(other), 2) == 0


def _enough_space(folder: Path, need_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        raise NoSpace(
            f"{folder} has {free_bytes / 2**20:.2f} MiB free and about {need_bytes / 2**20:.2f} MiB are needed",
            "free some space or give another --out",
        )


@contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    """Errors of creating and renaming the output itself, as one clear line."""
    try:
        yield
    except OSError as error:
        if _is_full(error):
            raise _no_space(out) from error
        raise OutputUnwritable(f"cannot write {out}: {error.strerror}", "give an --out you may write to") from error


def _is_full(error: Exception) -> bool:
    """Whether the error says that the disk is: numpy, and shutil of several files, say so in the text only."""
    if not isinstance(error, OSError):
        return False
    if error.errno is not None:
        return error.errno in _NO_SPACE
    told = str(error)
    return any(f"[Errno {each}]" in told for each in _NO_SPACE) or bool(re.search(r"requested and \d+ written", told))


def _no_space(out: Path) -> NoSpace:
    return NoSpace(f"no space left while writing {out}", "free some space; nothing was written")


def _sync(folder: Path) -> None:
    """Flush files before the rename, so that a power cut cannot leave a bundle of empty files."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
