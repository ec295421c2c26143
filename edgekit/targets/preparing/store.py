"""Where prepared things lie, a folder each with its prepared.json, and how one gets there: whole, by one rename."""

from __future__ import annotations

import datetime
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, NoSpace, OutputBusy, OutputUnwritable

# Of what a prepared folder holds; another number is prepared anew.
LAYOUT = 1
_RECORD = "prepared.json"
_TEMPORARY = ".preparing-"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Fetched:
    """A file that something was prepared from."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Prepared:
    """What one prepared.json says."""

    name: str
    versions: Mapping[str, str]
    files: tuple[Fetched, ...]
    made_utc: str
    folder: Path

    def size_bytes(self) -> int:
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())


def home() -> Path:
    """$EDGEKIT_TARGETS, or edgekit/targets in the user's cache."""
    named = os.environ.get("EDGEKIT_TARGETS")
    if named:
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "edgekit" / "targets"


def read(name: str) -> Prepared | None:
    """What is prepared under that name; None if nothing is, or nothing that this edgekit understands."""
    folder = home() / name
    try:
        found = json.loads((folder / _RECORD).read_bytes())
        if found["layout"] != LAYOUT or found["name"] != name:
            return None
        files = tuple(Fetched(**each) for each in found["files"])
        versions = {str(key): str(value) for key, value in found["versions"].items()}
        return Prepared(name, versions, files, str(found["made_utc"]), folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def names() -> list[str]:
    """Of all that is prepared, also by an edgekit that this one does not understand."""
    return sorted(path.parent.name for path in home().glob(f"[!.]*/{_RECORD}"))


def record(work: Path, name: str, versions: Mapping[str, str], files: Sequence[Fetched]) -> None:
    """Write the prepared.json of what lies in `work`."""
    document: dict[str, Any] = {
        "layout": LAYOUT,
        "name": name,
        "made_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": dict(versions),
        "files": [asdict(each) for each in files],
    }
    (work / _RECORD).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@contextmanager
def preparing(need_bytes: int) -> Iterator[Path]:
    """A temporary folder beside what is prepared, gone in the end; nobody else prepares meanwhile.

    Raises OutputBusy, OutputUnwritable or NoSpace. What a killed run left is cleared first.
    """
    place = home()
    with writing_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with _locked(place):
        for left in place.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left, ignore_errors=True)
        check_space(place, need_bytes)
        with writing_errors(place):
            temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=place))
        try:
            with writing_errors(place):
                yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def put(work: Path, name: str) -> None:
    """`work`, finished, takes its place by one rename; what stood there goes with the temporary folder."""
    place = home() / name
    if os.path.lexists(place):
        place.rename(work.parent / f"replaced-{name}")
    work.chmod(0o755)
    work.rename(place)


def remove(names: Sequence[str]) -> None:
    """Out of sight by a rename first, so that what is there is never half there."""
    with preparing(0) as temporary:
        for name in names:
            with suppress(FileNotFoundError):
                (home() / name).rename(temporary / name)


def digest(path: Path) -> Fetched:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Fetched(path.name, path.stat().st_size, sha256)


def check_space(folder: Path, need_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        raise NoSpace(
            f"{folder} has {free_bytes / 2**20:.0f} MiB free and about {need_bytes / 2**20:.0f} MiB are needed",
            "free some space, or name another folder in EDGEKIT_TARGETS",
        )


@contextmanager
def writing_errors(place: Path) -> Iterator[None]:
    """What the system says of writing below `place`, as one clear line."""
    try:
        yield
    except EdgekitError:
        raise
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise NoSpace(
                f"no space left while writing to {place}",
                "free some space, or name another folder in EDGEKIT_TARGETS; nothing was prepared",
            ) from error
        told = error.strerror or str(error)
        raise OutputUnwritable(
            f"cannot write to {place}: {told}", "name a folder that you may write to in EDGEKIT_TARGETS"
        ) from error


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    with writing_errors(place), (place / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputBusy(f"another edgekit prepares targets in {place}", "wait for it") from None
        yield
