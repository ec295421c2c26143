"""A folder of what was fetched where there was a network, to be prepared from where there is none.

index.json names every file with its size and sha256; a unit's files lie in a folder of its name.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import TargetNotPrepared
from edgekit.targets.preparing.store import LAYOUT, Fetched, digest, writing_errors

INDEX = "index.json"
_MAX_INDEX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Downloaded:
    """One unit's files in a folder, checked."""

    folder: Path
    versions: Mapping[str, str]
    files: tuple[Fetched, ...]


def described(folder: Path) -> tuple[Fetched, ...]:
    return tuple(digest(path) for path in sorted(folder.iterdir()) if path.is_file())


def add(place: Path, name: str, versions: Mapping[str, str], fetch: Callable[[Path], None]) -> bool:
    """Have `fetch` fill the unit's folder in `place`; False if it holds those versions already, whole.

    Nothing half-fetched is ever named by the index.
    """
    with writing_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        index = _index(place) if (place / INDEX).is_file() else {}
        if name in index and _is_whole(place, name, index, versions):
            return False
        temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=place))
        try:
            fetch(temporary)
            temporary.chmod(0o755)
            files = [asdict(each) for each in described(temporary)]
            shutil.rmtree(place / name, ignore_errors=True)
            temporary.rename(place / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        index[name] = {"versions": dict(versions), "files": files}
        part = place / f".{INDEX}.part"
        part.write_text(json.dumps({"layout": LAYOUT, "units": index}, indent=1) + "\n", encoding="utf-8")
        part.replace(place / INDEX)
    return True


def take(place: Path, name: str, wants: Mapping[str, str]) -> Downloaded:
    """The unit's files, every hash right and for the versions wanted. Raises TargetNotPrepared."""
    if not (place / INDEX).is_file():
        raise TargetNotPrepared(
            f"there is no {INDEX} in {place}",
            f"make the folder where there is a network: edgekit targets prepare --download {place.name}",
        )
    index = _index(place)
    again = "download it again: edgekit targets prepare --download DIR"
    if name not in index:
        held = ", ".join(sorted(index)) or "nothing"
        raise TargetNotPrepared(f"{place} holds {held}, and not {name}", again)
    versions = {str(key): str(value) for key, value in index[name]["versions"].items()}
    for what, wanted in wants.items():
        if versions.get(what) != wanted:
            raise TargetNotPrepared(
                f"{place} has {name} for {what} {versions.get(what, 'of no version')}, here is {wanted}", again
            )
    files = []
    for entry in index[name]["files"]:
        path = _member(place, name, str(entry["name"]))
        found = digest(path) if path.is_file() and not path.is_symlink() else None
        if found is None or found != Fetched(path.name, entry["size_bytes"], entry["sha256"]):
            raise TargetNotPrepared(f"{path} is not the file that {INDEX} names: its sha256 differs", again)
        files.append(found)
    strangers = {path.name for path in (place / name).iterdir()} - {each.name for each in files}
    if strangers:
        raise TargetNotPrepared(f"{place / name} holds {min(strangers)}, which {INDEX} does not name", again)
    return Downloaded(place / name, versions, tuple(files))


def _index(place: Path) -> dict[str, Any]:
    path = place / INDEX
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise ValueError(f"it is larger than {_MAX_INDEX_BYTES} bytes")
        found = json.loads(path.read_bytes())
        if found["layout"] != LAYOUT:
            raise ValueError(f"its layout is {found['layout']}, expected {LAYOUT}")
        units: dict[str, Any] = found["units"]
        for unit in units.values():
            _ = dict(unit["versions"]), [(each["name"], each["size_bytes"], each["sha256"]) for each in unit["files"]]
        return units
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = str(error) if type(error) is ValueError else "a key is missing or malformed"
        raise TargetNotPrepared(f"{path} cannot be used: {told}", "download it again") from error


def _member(place: Path, name: str, file: str) -> Path:
    if Path(file).name != file or file in ("", ".", ".."):
        raise TargetNotPrepared(f"{place / INDEX} names {file!r}, which is no plain file name", "download it again")
    return place / name / file


def _is_whole(place: Path, name: str, index: Mapping[str, Any], versions: Mapping[str, str]) -> bool:
    try:
        return take(place, name, versions).versions == dict(versions) and name in index
    except (TargetNotPrepared, OSError):
        return False
