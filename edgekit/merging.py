"""`edgekit merge`: an adapter and its base as one ordinary model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import OutputExists, UsageError
from edgekit.model.adapted import merged_bytes, write_merged
from edgekit.model.digest import ingredients
from edgekit.model.folder import name_of
from edgekit.model.opening import merge_recipe
from edgekit.output import writing
from edgekit.progress import Progress, Silent

RECORD = "edgekit_merge.json"
"""Beside the merged weights: what they were made of. A folder with it may be replaced by --force."""
_SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Made:
    """A merged folder. `told` says in lines what was done; `made_of` names adapters and base with their hashes."""

    folder: Path
    told: tuple[str, ...]
    made_of: Mapping[str, Any]


def merge(
    adapter: str | Path,
    *,
    out: str | Path | None = None,
    base: str | Path | None = None,
    adapters: Mapping[str, float] | None = None,
    combination: Literal["cat", "linear"] = "cat",
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Merge `adapter` into its base (`base`, or what adapter_config.json names) and write the model folder `out`
    (default ADAPTER-merged here).

    `adapters` are several with their weights, in place of `adapter` or beside it; an `adapter` that is a whole model is
    then their base. `combination` is "cat" (products are added) or "linear" (PEFT's: factors are). Raises BadAdapter
    where they do not belong together or cannot be merged, and the errors of opening and writing.
    """
    progress = progress or Silent()
    destination = Path(out) if out is not None else Path(f"{name_of(Path(adapter))}-merged")
    progress.step("open the adapter and its base")
    recipe, open_base = merge_recipe(
        adapter, revision=revision, base=base, adapters=adapters, combination=combination,
        allow_pickle=allow_pickle, trust_remote_code=trust_remote_code,
    )  # fmt: skip
    for folder in (part.folder for part in recipe.parts):
        _keep_apart(folder, destination)
    need_bytes = merged_bytes(recipe, open_base) + _SPARE_BYTES
    with writing(destination, force=force, need_bytes=need_bytes, replaceable=_merges_only) as output:
        folder = output.work / "merged"
        folder.mkdir()
        merged, told = write_merged(recipe, open_base, folder, progress)
        assert merged.base.folder is not None
        _keep_apart(merged.base.folder, destination)
        progress.step("hash the adapter and its base")
        made_of = ingredients(merged)
        (folder / RECORD).write_text(json.dumps(made_of, indent=2) + "\n", encoding="utf-8")
        return Made(output.commit(folder), told, made_of)


def _keep_apart(own: Path, destination: Path) -> None:
    if destination.resolve().is_relative_to(own.resolve()):
        raise UsageError(f"{destination} is inside {own}, which is read", "give an --out outside of it")
    if own.resolve().is_relative_to(destination.resolve()):
        raise UsageError(f"{destination} holds {own}, which is read", "give another --out")


def _merges_only(out: Path) -> OutputExists | None:
    if (out / RECORD).is_file():
        return None
    return OutputExists(
        f"{out} exists and is no merged model", "--force replaces merged models only; give another --out"
    )
