"""What is kept on the device by digest, so that a second run copies nothing, and the folder of one run."""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import EdgekitError, TargetFull, TargetUnreachable
from edgekit.progress import Progress
from edgekit.targets.adb.device import PLACE, Device

HOME = f"{PLACE}/edgekit"
_SPARE_BYTES = 64 * 2**20
# Run folders and unfinished copies that old are nobody's.
_STALE_MINUTES = 1440


@dataclass(frozen=True)
class Folder:
    """Files of this machine under the name that their content has there: all below `source`, or those of `files`."""

    name: str
    source: Path
    files: Mapping[str, Path] | None = None

    def size_bytes(self) -> int:
        paths = self.source.rglob("*") if self.files is None else self.files.values()
        return sum(path.stat().st_size for path in paths if path.is_file())

    @contextmanager
    def laid_out(self) -> Iterator[Path]:
        """A folder that holds just them; large files are linked, not copied, where the file system can."""
        if self.files is None:
            yield self.source
            return
        with tempfile.TemporaryDirectory(prefix="edgekit-adb-") as name:
            for path, file in self.files.items():
                place = Path(name) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(file.resolve(), place)
            yield Path(name)


def _link_or_copy(file: Path, place: Path) -> None:
    """adb pushes a symbolic link as one, so it must be the file itself."""
    try:
        place.hardlink_to(file)
    except OSError:
        shutil.copy2(file, place)  # with its time, by which adb sees that it is there already


def of_files(kind: str, files: Mapping[str, Path]) -> Folder:
    """A folder named by what is in it."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return Folder(f"{kind}-{digest.hexdigest()[:32]}", Path(), files)


class Storage:
    """The folder HOME of a device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.copied_bytes = 0

    def keep(self, folders: Sequence[Folder], needed_bytes: int, progress: Progress) -> None:
        """Have `folders` there, whole, and room for `needed_bytes` more. Raises TargetFull, at once if it can."""
        there = self._names()
        missing = [each for each in folders if each.name not in there]
        sizes = {each.name: each.size_bytes() for each in missing}
        self._check_room(sum(sizes.values()) + needed_bytes)
        for each in missing:
            progress.step(f"copy {sizes[each.name] / 1e6:.1f} MB to adb:{self._device.serial}")
            part = f"{HOME}/part-{each.name}"
            self._device.shell(f"mkdir -p {part}")
            with each.laid_out() as source:
                self._device.push(source, part)
            place = f"{HOME}/{each.name}"  # which another edgekit may have put there meanwhile
            self._device.shell(f"if [ -d {place} ]; then rm -rf {part}; else mv {part} {place}; fi")
            self.copied_bytes += sizes[each.name]

    @contextmanager
    def folder(self, source: Path) -> Iterator[str]:
        """A folder there with a copy of `source`, gone when the block is left."""
        place = f"{HOME}/run-{secrets.token_hex(8)}"
        try:
            self._device.shell(f"mkdir {place}")
            self._device.push(source, place)
            yield place
        finally:
            with suppress(EdgekitError):  # a device that is gone clears up when it sees that we are
                self._device.shell(f"rm -rf {place}")

    def forget(self, name: str) -> None:
        self._device.shell(f"rm -rf {HOME}/{shlex.quote(name)}")

    def clean(self) -> int:
        """Remove it all; the bytes that it took."""
        told = self._device.shell(f"[ ! -d {HOME} ] || du -sk {HOME}; rm -rf {HOME}")
        found = re.match(r"[0-9]{1,15}", told)
        return int(found[0]) * 1024 if found else 0

    def _names(self) -> set[str]:
        """What is kept there. What lost connections left is cleared first."""
        names = '\\( -name "run-*" -o -name "part-*" \\)'
        stale = f"find {HOME} -maxdepth 1 {names} -mmin +{_STALE_MINUTES} -exec rm -rf {{}} +"
        return set(self._device.shell(f"mkdir -p {HOME}; {stale}; ls {HOME}").split())

    def _check_room(self, needed_bytes: int) -> None:
        told = self._device.shell(f"df -k {PLACE}")
        found = re.search(r"\b([0-9]{1,15})\s+[0-9]+%", told)
        if found is None:
            raise TargetUnreachable(f"adb:{self._device.serial} does not tell how much room it has: {told[-200:]}")
        free_bytes = int(found[1]) * 1024
        if free_bytes < needed_bytes + _SPARE_BYTES:
            raise TargetFull(
                f"adb:{self._device.serial} has {free_bytes / 2**20:.0f} MiB free in {PLACE}, and"
                f" {(needed_bytes + _SPARE_BYTES) / 2**20:.0f} MiB are needed",
                f"free some space on it, or edgekit targets clean adb:{self._device.serial}",
            )
