"""A bundle's files: read the manifest, prove that the folder is what was packed. Standard library only.

Hashes prove that nothing changed since packing, not who packed it: a signature is the caller's business.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BadInput, BundleInvalid

MANIFEST = "edgekit.json"
SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 8 * 2**20
MAX_GOLDEN_BYTES = 64 * 2**20
MAX_FILES = 10_000
MAX_PATH = 512
MAX_DEPTH = 32

TASKS = ("embedding", "text-classification", "token-classification", "causal-lm", "image-classification", "tensors")
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class ListedFile:
    path: str
    size_bytes: int
    sha256: str


def read_json(path: Path, limit_bytes: int) -> Any:
    """A JSON document of bounded size: UTF-8, no duplicate key, no NaN. BundleInvalid otherwise."""
    try:
        with path.open("rb") as file:
            raw = file.read(limit_bytes + 1)
    except OSError as error:
        raise BundleInvalid(f"{path.name} cannot be read: {error.strerror}") from error
    if len(raw) > limit_bytes:
        raise BundleInvalid(f"{path.name} is larger than {limit_bytes} bytes")
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleInvalid(f"{path.name} is not valid JSON: {error}") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def folder_of(folder: str | os.PathLike[str]) -> Path:
    """BadInput for what is no path."""
    if not isinstance(folder, str | os.PathLike):
        raise BadInput(f"the bundle is {type(folder).__name__}, expected the path of a folder")
    return Path(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, its shape checked as far as the runtime relies on it; no other file is looked at."""
    if folder.suffix == ".zip" and folder.is_file():
        raise BundleInvalid(f"{folder.name} is a zip file: unpack it and open the folder, models load by path")
    if not folder.is_dir():
        raise BundleInvalid(f"{folder} is not a folder")
    path = folder / MANIFEST
    if path.is_symlink():
        raise BundleInvalid(f"{MANIFEST} is a symbolic link")
    if not path.is_file():
        raise BundleInvalid(f"{folder} holds no {MANIFEST}: not a bundle")
    manifest = read_json(path, MAX_MANIFEST_BYTES)
    if not isinstance(manifest, dict):
        raise BundleInvalid(f"{MANIFEST} is not a JSON object")
    _check_shape(manifest)
    return manifest


def _check_shape(manifest: dict[str, Any]) -> None:
    version = manifest.get("schema_version")
    if type(version) is not int or version < 1:
        raise BundleInvalid(f"{MANIFEST}: schema_version is {version!r}, expected {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise BundleInvalid(
            f"{MANIFEST} has schema_version {version}, this runtime reads {SCHEMA_VERSION}: update edgekit-runtime"
        )
    for key in ("name", "task", "engine", "model_file"):
        if not isinstance(manifest.get(key), str):
            raise BundleInvalid(f"{MANIFEST}: {key} is missing or not a string")
    if manifest["task"] not in TASKS:
        raise BundleInvalid(f"{MANIFEST}: task {manifest['task']!r} is not one of {', '.join(TASKS)}")
    for key in ("text", "image", "embedding", "generation", "memory", "min_isa", "device"):
        if not isinstance(manifest.get(key), dict | None):
            raise BundleInvalid(f"{MANIFEST}: {key} is neither an object nor null")
    labels = manifest.get("labels", [])
    if not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise BundleInvalid(f"{MANIFEST}: labels is not a list of strings")
    min_isa = manifest.get("min_isa") or {}
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in min_isa.values()):
        raise BundleInvalid(f"{MANIFEST}: min_isa does not hold lists of feature names")
    ends = (manifest.get("generation") or {}).get("eos_token_ids") or []
    if not (isinstance(ends, list) and all(type(token) is int for token in ends)):
        raise BundleInvalid(f"{MANIFEST}: generation.eos_token_ids is no list of token ids")
    listed = {file.path for file in listed_files(manifest)}
    if manifest["model_file"] not in listed:
        raise BundleInvalid(f"{MANIFEST}: model_file {manifest['model_file']!r} is not among the listed files")


def setting(manifest: dict[str, Any], section: str, key: str, kind: type | tuple[type, ...]) -> Any:
    """manifest[section][key], or BundleInvalid saying what is missing. A bool is never taken for a number."""
    value = (manifest.get(section) or {}).get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BundleInvalid(f"{MANIFEST}: {section}.{key} is {value!r}, which this task cannot use")
    return value


def inside(folder: Path, manifest: dict[str, Any], path: str) -> Path:
    """The file that `path` names, if the manifest lists it (and so has proved it); BundleInvalid otherwise."""
    if path not in {file.path for file in listed_files(manifest)}:
        raise BundleInvalid(f"{MANIFEST} uses {path!r} and does not list it")
    return folder / path


def listed_files(manifest: dict[str, Any]) -> list[ListedFile]:
    """The manifest's `files`, every path proven harmless. No two differ in case only: some disks would merge them."""
    entries = manifest.get("files")
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_FILES:
        raise BundleInvalid(f"{MANIFEST}: files is not a list of 1 to {MAX_FILES} entries")
    files, seen = [], set()
    for entry in entries:
        file = _listed_file(entry)
        if file.path.casefold() in seen:
            raise BundleInvalid(f"{MANIFEST} lists {file.path!r} twice")
        seen.add(file.path.casefold())
        files.append(file)
    return files


def _listed_file(entry: Any) -> ListedFile:
    if not isinstance(entry, dict):
        raise BundleInvalid(f"{MANIFEST}: an entry of files is not an object")
    path, size_bytes, sha256 = entry.get("path"), entry.get("size_bytes"), entry.get("sha256")
    if not isinstance(path, str):
        raise BundleInvalid(f"{MANIFEST}: an entry of files has no path")
    check_path(path)
    if type(size_bytes) is not int or size_bytes < 0:
        raise BundleInvalid(f"{MANIFEST}: size_bytes of {path!r} is {size_bytes!r}")
    if not isinstance(sha256, str) or len(sha256) != 64 or not _HEX.issuperset(sha256):
        raise BundleInvalid(f"{MANIFEST}: sha256 of {path!r} is not 64 lower-case hexadecimal digits")
    return ListedFile(path, size_bytes, sha256)


def check_path(path: str) -> None:
    """BundleInvalid unless `path` is a plain relative path with forward slashes that stays inside its folder."""
    parts = path.split("/")
    if not path or len(path) > MAX_PATH:
        reason = f"is empty or longer than {MAX_PATH} characters"
    elif path.startswith("/"):
        reason = "is absolute"
    elif ".." in parts:
        reason = "climbs out of the bundle"
    elif "" in parts or "." in parts:
        reason = "has an empty or '.' part"
    elif "\\" in path or ":" in path:
        reason = "has a backslash or a colon (a drive or stream on Windows)"
    elif not path.isprintable():
        reason = "has a control character"
    elif path == MANIFEST:
        reason = "cannot list itself"
    else:
        return
    raise BundleInvalid(f"{MANIFEST}: the path {path!r} {reason}")


def verify(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of the bundle in `folder`, once every file is proven to be the one that was packed.

    Raises BundleInvalid for a missing, changed, unlisted or linked file, a path that leaves the folder, a newer schema.
    """
    root = folder_of(folder)
    manifest = read_manifest(root)
    files = {file.path: file for file in listed_files(manifest)}
    present = dict(_walk(root, ""))
    for path, file in files.items():
        if path not in present:
            raise BundleInvalid(f"{path} is missing from the bundle")
        if present[path] != file.size_bytes:
            raise BundleInvalid(f"{path} has {present[path]} bytes, {file.size_bytes} were packed")
    for path in present:
        if path not in files and path != MANIFEST:
            raise BundleInvalid(f"{path} is in the bundle's folder and not in its manifest: remove it")
    for path, file in files.items():
        if (found := _sha256(root / path)) != file.sha256:
            raise BundleInvalid(f"{path} was changed: sha256 {found[:12]}…, {file.sha256[:12]}… was packed")
    return manifest


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """(path, size in bytes) of every file. Python's own compiled files may stand beside the runtime's sources."""
    if prefix.count("/") > MAX_DEPTH:
        raise BundleInvalid(f"a folder of the bundle lies more than {MAX_DEPTH} deep: {prefix[:80]}…")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise BundleInvalid(f"{prefix or folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        path = prefix + entry.name
        status = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            raise BundleInvalid(f"{path} is a symbolic link")
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(Path(entry.path), path + "/")
        elif not stat.S_ISREG(status.st_mode):
            raise BundleInvalid(f"{path} is not a regular file")
        elif not (prefix.endswith("/__pycache__/") and entry.name.endswith(".pyc")):
            yield path, status.st_size


def _sha256(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleInvalid(f"{path.name} cannot be read: {error.strerror}") from error
