"""Telling what a source is (folder, hub model, ONNX or GGUF file) and opening it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edgekit.adapters.pieces import Combination
from edgekit.errors import BadAdapter, BadModel, ModelNotFound, UnsupportedModel
from edgekit.model.adapted import Recipe, adapter_part, is_adapter, open_merged
from edgekit.model.config import SUPPORTED
from edgekit.model.folder import name_of, open_folder
from edgekit.model.gguf_file import open_gguf
from edgekit.model.onnx_file import open_onnx
from edgekit.model.source import SourceModel, Task
from edgekit.progress import Progress, Silent

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


def opened(model: str | Path | SourceModel, **options: Any) -> SourceModel:
    """`model` itself if it is open already; else what `open_model` makes of it and the options. UnsupportedModel for a
    bundle: its model is quantized already.
    """
    from edgekit.manifest import MANIFEST_NAME

    if isinstance(model, SourceModel):
        return model
    if (Path(model) / MANIFEST_NAME).is_file():
        raise UnsupportedModel(f"{model} is a bundle, and its model is quantized", "give the model it was packed from")
    return open_model(model, **options)


@_readable()
def open_model(
    source: str | Path,
    *,
    revision: str | None = None,
    task: Task | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    cache: Path | None = None,
    base: str | Path | None = None,
    adapters: Mapping[str, float] | None = None,
    combination: Combination = "cat",
    weights: bool = True,
    progress: Progress | None = None,
) -> SourceModel:
    """What `source` is: a model folder, an .onnx or .gguf file, a hub id ("org/name", or "hf://org/name"), or a LoRA
    adapter, which is merged into its base.

    Reads configuration and headers. Nothing is written but downloads and converted tokenizers, under `cache`
    (default: the hub's own cache, and edgekit's folder in the user's cache). `revision` is for hub models and is
    recorded as the commit it stands for. Raises the NotFound and BadInput errors of edgekit.errors.

    An adapter and its base (`base`, or what adapter_config.json names) are merged in a temporary folder, which lives as
    long as the value returned. `adapters` are several with their weights, in place of `source` or beside it; a `source`
    that is a whole model is then their base. `combination` is "cat" (the products are added) or "linear" (PEFT's: the
    factors are). Without `weights` the merged files hold zeros: enough to plan by.
    """
    place = located(source, revision, cache, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    adapts = place.path.is_dir() and is_adapter(place.path)
    options: dict[str, Any] = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code, "cache": cache}

    def folder_at(path: Path) -> SourceModel:
        return open_folder(
            path,
            source=place.text,
            task=task,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            cache=cache or default_cache(),
            revision=place.revision,
            name=place.name or name_of(place.path),
        )

    if not adapts and base is None and not adapters:
        return _opened(place, folder_at, task, cache)
    recipe = _recipe(place, adapts, base, adapters or {}, combination, options)

    def open_base(named: str, at: str | None) -> SourceModel:
        return open_model(named, revision=at, **options)

    return open_merged(recipe, open_base, folder_at, progress or Silent(), weights=weights)


def merge_recipe(
    source: str | Path,
    *,
    revision: str | None = None,
    base: str | Path | None = None,
    adapters: Mapping[str, float] | None = None,
    combination: Combination = "cat",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> tuple[Recipe, Callable[[str, str | None], SourceModel]]:
    """What `open_model` would merge, and how it opens the base. BadAdapter where there is nothing to merge."""
    place = located(source, revision, None, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    adapts = place.path.is_dir() and is_adapter(place.path)
    options: dict[str, Any] = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code, "cache": None}
    if not adapts and not adapters:
        raise BadAdapter(f"{source} is no adapter: it has no adapter_config.json", "name an adapter, or --adapters A,B")
    recipe = _recipe(place, adapts, base, adapters or {}, combination, options)
    return recipe, lambda named, at: open_model(named, revision=at, **options)


@dataclass(frozen=True)
class Place:
    """Where a source lies. `name` is a hub model's, `revision` the commit of one."""

    text: str
    path: Path
    revision: str | None
    name: str | None


def located(
    source: str | Path, revision: str | None, cache: Path | None, *, allow_pickle: bool, trust_remote_code: bool
) -> Place:
    """A hub model is downloaded. ModelNotFound for a revision of anything else."""
    text = str(source)
    path = Path(text).expanduser()
    hub_id = None if path.exists() else _hub_id(text, path)
    if hub_id is not None:
        from edgekit.model.hub import download

        copy = download(hub_id, revision, cache, allow_pickle=allow_pickle, with_code=trust_remote_code)
        return Place(text, copy.folder, copy.revision, hub_id.split("/")[1].lower())
    if revision is not None:
        raise ModelNotFound(f"{source} is on this machine and has no revision {revision!r}", "leave --revision out")
    return Place(text, path, None, None)


def _opened(
    place: Place, folder_at: Callable[[Path], SourceModel], task: Task | None, cache: Path | None
) -> SourceModel:
    path = place.path
    if path.is_dir():
        return folder_at(path)
    if not path.exists():
        raise missing(path)
    if path.suffix == ".onnx":
        return open_onnx(path, source=place.text, task=task, cache=cache or default_cache())
    if path.suffix == ".gguf":
        return open_gguf(path, source=place.text, task=task)
    if path.name in ("config.json", "model.safetensors"):
        raise UnsupportedModel(f"{path} is one file of a model folder", f"name the folder: {path.parent}")
    raise UnsupportedModel(f"{path}: a {path.suffix or 'nameless'} file is no model that edgekit opens", SUPPORTED)


def _recipe(
    place: Place,
    adapts: bool,
    base: str | Path | None,
    adapters: Mapping[str, float],
    combination: Combination,
    options: Mapping[str, Any],
) -> Recipe:
    """The adapters in their order, and the base that was named for them."""
    if not adapts and base is not None:
        raise BadAdapter(f"{place.text} is no adapter, so --base {base} is no base of it", "leave --base out")
    if not adapts and place.path.is_dir() is False and not place.path.exists():
        raise missing(place.path)
    parts = []
    for source, weight in adapters.items():
        found = located(source, None, **options)
        if not (found.path.is_dir() and is_adapter(found.path)):
            raise BadAdapter(
                f"{source} is no adapter: it has no adapter_config.json", "name folders or hub ids of adapters"
            )
        parts.append(adapter_part(found.path, source, found.revision, weight))
    if adapts and all(part.folder.resolve() != place.path.resolve() for part in parts):
        parts.insert(0, adapter_part(place.path, place.text, place.revision, 1.0))
    own_base = None if base is None else str(base)
    return Recipe(tuple(parts), own_base if adapts else place.text, combination, bool(options["allow_pickle"]))


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
    told = f"no such model: {path}"
    if not path.parent.is_dir():
        while not path.parent.is_dir():
            path = path.parent
        told += f" ({path} is not there)"
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.5)
    if near:
        return ModelNotFound(told, f"did you mean {path.parent / near[0]}?")
    return ModelNotFound(told, "give a folder, an .onnx or .gguf file, or a hub id (organisation/model)")
