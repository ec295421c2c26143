"""Telling what a source is (folder, hub model, ONNX or GGUF file) and opening it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from edgekit.errors import BadModel, ModelNotFound, UnsupportedModel
from edgekit.model.config import SUPPORTED
from edgekit.model.folder import open_folder
from edgekit.model.gguf_file import open_gguf
from edgekit.model.onnx_file import open_onnx
from edgekit.model.source import SourceModel, Task

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@contextmanager
def _readable() -> Iterator[None]:
    """Files that the system does not let us read, as BadModel; a full cache is no fault of the model."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise BadModel(f"{error.filename} cannot be read: {error.strerror}", "check its permissions") from error


@_readable()
def open_model(
    source: str | Path,
    *,
    revision: str | None = None,
    task: Task | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    cache: Path | None = None,
) -> SourceModel:
    """What `source` is: a model folder, an .onnx or .gguf file, or a hub id ("org/name", or "hf://org/name").

    Reads configuration and headers. Nothing is written but downloads and converted tokenizers, under `cache`
    (default: the hub's own cache, and edgekit's folder in the user's cache). `revision` is for hub models and is
    recorded as the commit it stands for. Raises the NotFound and BadInput errors of edgekit.errors.
    """
    text = str(source)
    path = Path(text).expanduser()
    hub_id = None if path.exists() else _hub_id(text, path)
    if hub_id is not None:
        from edgekit.model.hub import download

        copy = download(hub_id, revision, cache, allow_pickle=allow_pickle, with_code=trust_remote_code)
        path, revision = copy.folder, copy.revision
    elif revision is not None:
        raise ModelNotFound(f"{source} is on this machine and has no revision {revision!r}", "leave --revision out")
    name = hub_id.split("/")[1].lower() if hub_id else None
    if path.is_dir():
        return open_folder(
            path,
            source=text,
            task=task,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            cache=cache or default_cache(),
            revision=revision,
            name=name,
        )
    if not path.exists():
        raise missing(path)
    if path.suffix == ".onnx":
        return open_onnx(path, source=text, task=task, cache=cache or default_cache())
    if path.suffix == ".gguf":
        return open_gguf(path, source=text, task=task)
    if path.name in ("config.json", "model.safetensors"):
        raise UnsupportedModel(f"{path} is one file of a model folder", f"name the folder: {path.parent}")
    raise UnsupportedModel(f"{path}: a {path.suffix or 'nameless'} file is no model that edgekit opens", SUPPORTED)


def default_cache() -> Path:
    """edgekit's folder in the user's cache; it holds converted tokenizers only and may be deleted."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "edgekit"


def _hub_id(text: str, path: Path) -> str | None:
    """The hub id that `text` is, if it is one and its first half is not a folder here."""
    if text.startswith("hf://"):
        text = text.removeprefix("hf://")
        if not _HUB_ID.fullmatch(text):
            raise ModelNotFound(f"hf://{text} is no hub id", "hub models are named organisation/model")
        return text
    return text if _HUB_ID.fullmatch(text) and not path.parent.is_dir() else None


def missing(path: Path) -> ModelNotFound:
    """The error for a path that is not there, with the nearest name that is."""
    while not path.parent.is_dir():
        path = path.parent
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.5)
    if near:
        return ModelNotFound(f"no such model: {path}", f"did you mean {path.parent / near[0]}?")
    return ModelNotFound(
        f"no such model: {path}", "give a folder, an .onnx or .gguf file, or a hub id (organisation/model)"
    )
