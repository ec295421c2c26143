"""The files that a run on another machine takes, by the digests they are stored under there; and sending them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BadBundle, BadReport
from edgekit.manifest import Manifest
from edgekit.progress import Progress
from edgekit.resources import probe_runtime
from edgekit.targets.ssh.connection import Connection

_CHUNK_BYTES = 2**18
_COPY_S = 7 * 86400.0


@dataclass(frozen=True)
class Stored:
    """A file here, and what it is called there."""

    path: Path
    sha256: str
    size_bytes: int


def stored(path: Path, sha256: str | None = None) -> Stored:
    if sha256 is None:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Stored(path, sha256, path.stat().st_size)


def of_bundle(bundle: Path, manifest: Manifest) -> dict[str, Stored]:
    """By path inside the bundle. What its manifest says of each file is proven once it has arrived."""
    try:
        files = {entry.path: stored(bundle / entry.path, entry.sha256) for entry in manifest.files}
        return files | {"edgekit.json": stored(bundle / "edgekit.json")}
    except OSError as error:
        raise BadBundle(f"{bundle}: {error.filename} cannot be read: {error.strerror}") from error


def of_wrapper(bundle: Path) -> dict[str, Stored]:
    """edgekit's own Python wrapper, where the bundle carries none."""
    folder = probe_runtime(bundle)
    if folder.is_relative_to(bundle.resolve()):
        return {}
    sources = sorted((folder / "edgekit_runtime").rglob("*.py"))
    return {path.relative_to(folder).as_posix(): stored(path) for path in sources}


def of_job(job: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Stored]]:
    """The job as the other machine is given it, every path in it relative to its folder, and its own files by path.

    `threads` may be lowered there; `bundle` is replaced there.
    """
    asked = [job.get("latency"), job.get("longest")]
    names = [each["tensors"] for each in asked if each and "tensors" in each]
    names += (job.get("fidelity") or {}).get("npz") or []
    files = {name: stored(folder / name) for name in names}
    sent = {**job, "bundle": ""}
    if baseline := job.get("baseline"):
        model = Path(baseline["model_file"])
        files |= {f"baseline/{name}": stored(model.parent / name) for name in (model.name, *_beside(model))}
        sent["baseline"] = {**baseline, "model_file": f"baseline/{model.name}"}
    return sent, files


def _beside(model: Path) -> tuple[str, ...]:
    """The files that hold the weights of an ONNX model, where they are not in it."""
    if model.suffix != ".onnx":
        return ()
    from edgekit.strategies.onnx.external import external_files
    from edgekit.strategies.onnx.graph import load

    return tuple(str(path) for path in external_files(load(model, weights=False), model))


def send(connection: Connection, files: Mapping[str, Stored], progress: Progress) -> None:
    """Copy what is not there yet, from where an earlier copy was cut. Raises TargetFull, TargetUnreachable."""
    wanted = {each.sha256: each for each in files.values()}
    told = connection.ask({"do": "reserve", "files": {name: each.size_bytes for name, each in wanted.items()}})
    begun = told.get("missing")
    if not isinstance(begun, dict) or not begun.keys() <= wanted.keys():
        raise BadReport(f"{connection.to.name} asks for files that nobody offered", "run again")
    if not begun:
        return
    missing = [(wanted[name], _offset(offset, wanted[name])) for name, offset in begun.items()]
    total = sum(each.size_bytes - offset for each, offset in missing)
    progress.step(f"copy {total / 1e6:.1f} MB to {connection.to.name}", total)
    header = [[each.sha256, offset, each.size_bytes - offset] for each, offset in missing]
    connection.ask({"do": "put", "files": header}, _contents(connection, missing, progress), timeout_s=_COPY_S)


def _offset(told: Any, file: Stored) -> int:
    return told if isinstance(told, int) and 0 <= told <= file.size_bytes else 0


def _contents(connection: Connection, missing: list[tuple[Stored, int]], progress: Progress) -> Iterator[bytes]:
    for each, offset in missing:
        with each.path.open("rb") as file:
            file.seek(offset)
            left = each.size_bytes - offset
            while left:
                chunk = file.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise BadBundle(f"{each.path} became shorter while it was copied", "run again")
                left -= len(chunk)
                yield chunk
                connection.sent_bytes += len(chunk)
                progress.advance(len(chunk))
