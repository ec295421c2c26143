"""Targets: where a validation runs. Adding one is a module and a row in TARGETS."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast


class Target(Protocol):
    """A place where a bundle's own runtime can be started."""

    def probe(self, bundle: Path, job: Path, timeout_s: float) -> None:
        """Run the bundle's `edgekit_runtime.probe` on `job`; its results lie beside the job afterwards.

        Raises ValidationFailed with the probe's own words if it breaks.
        """
        ...


TARGETS: Mapping[str, str] = {"local": "edgekit.targets.local"}


def load(name: str) -> Target:
    """The target's module; KeyError if there is none of that name."""
    return cast(Target, import_module(TARGETS[name]))
