"""Outputs that would lie in a source model, or swallow it."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UsageError
from edgekit.model.source import SourceModel


def keep_apart(source: SourceModel, destination: Path) -> None:
    """The output is neither in the source's folder nor around the source, which --force would then remove with it."""
    own = source.folder if source.format == "hf" else source.file
    if own is None:
        return
    if destination.resolve().is_relative_to(own.resolve()):
        raise UsageError(f"{destination} is inside the source model {own}", "give an --out outside of it")
    if own.resolve().is_relative_to(destination.resolve()):
        raise UsageError(f"{destination} holds the source model {own}", "give another --out")
