"""A temporary folder that lives as long as a value does: models that were made of others lie in one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from edgekit.errors import NoSpace

_PREFIX = "edgekit-model-"
_LOCK = ".lock"


class Scratch:
    """The folder goes when nobody holds this any more, at the latest when Python ends; of a process that was killed
    when the next one makes its own. It lies in TMPDIR.
    """

    def __init__(self, need_bytes: int) -> None:
        """NoSpace where there is less than that."""
        place = Path(tempfile.gettempdir())
        _clear(place)
        free_bytes = shutil.disk_usage(place).free
        if free_bytes < need_bytes:
            raise NoSpace(
                f"{place} has {free_bytes / 2**20:.0f} MiB free, the merged model needs {need_bytes / 2**20:.0f} MiB",
                "free some, or point TMPDIR to a larger disk",
            )
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._gone = weakref.finalize(self, _remove, self.folder, descriptor, os.getpid())

    def remove(self) -> None:
        self._gone()


def _remove(folder: Path, descriptor: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked child holds copies of everything
        shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)


def _clear(place: Path) -> None:
    """Remove what killed processes of this user left: folders whose lock nobody holds."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
