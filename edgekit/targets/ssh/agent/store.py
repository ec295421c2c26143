"""Files by their SHA-256, in one folder of bounded size. What arrives is kept when the connection breaks."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.targets.ssh.agent.protocol import CHUNK_BYTES, FULL, Gone, Refused, heard, stdin

MAX_STORE_BYTES = 8 * 2**30
RESERVE_BYTES = 64 * 2**20


class Store:
    """The files that arrived whole, and as `SHA.partial` those that did not yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reserve(self, files: Mapping[str, int]) -> dict[str, Any]:
        """Of the files, by SHA-256 with their size, those that are not here, with the bytes that are already; room is
        made for the rest.
        """
        missing = {name: self._begun(name, size) for name, size in files.items() if not self._has(name, size)}
        needed = sum(files[name] - begun for name, begun in missing.items())
        others = sorted(
            (path.stat().st_mtime, path.stat().st_size, path)
            for path in self.folder.iterdir()
            if path.name.removesuffix(".partial") not in files
        )
        used = sum(size for _, size, _ in others) + sum(files.values())
        free = shutil.disk_usage(self.folder).free
        most = min(MAX_STORE_BYTES, (used + free) // 2)
        for _, size, path in others:
            if used <= most and needed + RESERVE_BYTES <= free:
                break
            path.unlink()
            used -= size
            free = shutil.disk_usage(self.folder).free
        if missing and needed + RESERVE_BYTES > free:
            raise Refused("full", "no room for the files", needed_bytes=needed + RESERVE_BYTES, free_bytes=free)
        return {"missing": missing}

    def _has(self, name: str, size: int) -> bool:
        path = self.folder / name
        if not path.is_file():
            return False
        if path.stat().st_size != size:
            path.unlink()
            return False
        os.utime(path)
        return True

    def _begun(self, name: str, size: int) -> int:
        partial = self.folder / f"{name}.partial"
        begun = partial.stat().st_size if partial.is_file() else 0
        if begun < size:
            return begun
        partial.unlink(missing_ok=True)  # whole and never proven: nobody knows what it holds
        return 0

    def put(self, files: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Receive files, one after another: (SHA-256, where to go on, bytes that follow)."""
        for name, offset, size in files:
            self._receive(name, offset, size)
        return {"received": sum(size for _, _, size in files)}

    def _receive(self, name: str, offset: int, size: int) -> None:
        partial = self.folder / f"{name}.partial"
        digest = hashlib.sha256()
        if offset:
            with partial.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: digest)
        try:
            with partial.open("ab" if offset else "wb", buffering=0) as file:
                while size:
                    chunk = stdin().read1(min(size, CHUNK_BYTES))
                    if not chunk:
                        raise Gone
                    heard()
                    digest.update(chunk)
                    size -= len(chunk)
                    while chunk:
                        chunk = chunk[file.write(chunk) :]
        except OSError as error:
            if error.errno not in FULL:
                raise
            free = shutil.disk_usage(self.folder).free
            partial.unlink(missing_ok=True)
            raise Refused("full", "its disk filled up meanwhile", needed_bytes=size, free_bytes=free) from error
        if digest.hexdigest() != name:
            partial.unlink()
            raise Refused("changed", "a file changed while it was copied, or what was there of it already")
        partial.chmod(0o400)
        partial.rename(self.folder / name)

    def place(self, name: str, path: Path) -> None:
        """By a hard link, or a copy where the file system knows none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.hardlink_to(self.folder / name)
        except OSError as error:
            if error.errno in FULL or isinstance(error, FileNotFoundError):
                raise
            shutil.copyfile(self.folder / name, path)

    def forget_rotten(self, names: Iterable[str]) -> int:
        """Remove the stored files that are no longer what arrived, and say how many."""
        rotten = 0
        for name in names:
            with (self.folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != name:
                (self.folder / name).unlink()
                rotten += 1
        return rotten
