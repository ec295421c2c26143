"""The small files beside a model's weights, which go where the model goes."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import BadModel


def companion(folder: Path, name: str) -> Path | None:
    """The file, if there is one; never one outside the model by a link, except in the hub cache's own store."""
    path = folder / name
    if not path.is_file():
        return None
    target, home = path.resolve(), folder.resolve()
    store = home.parent.parent / "blobs"  # models--org--name/{snapshots/COMMIT, blobs}
    if target.is_relative_to(home) or (home.parent.name == "snapshots" and target.is_relative_to(store)):
        return target
    raise BadModel(f"{path} is a link out of the model's folder, to {target}", "put the file itself there")
