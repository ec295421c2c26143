"""Wheels for another architecture, of the versions that are installed here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from edgekit.errors import MissingTool
from edgekit.targets.preparing.archives import unpack_wheel
from edgekit.targets.preparing.tools import run

# Of the Debian suite that the root is made of.
PYTHON = "3.13"
_GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux_2_17")
_OFFLINE = "without a network, --from DIR takes what edgekit targets prepare --download DIR fetched elsewhere"


def installed(names: Sequence[str]) -> dict[str, str]:
    """The versions of those that are installed here."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def fetch(versions: Mapping[str, str], arch: str, folder: Path) -> None:
    """Put the wheels into `folder`. Raises MissingTool or TargetNotPrepared."""
    platforms = [f"--platform={libc}_{arch}" for libc in _GLIBC]
    options = [f"--python-version={PYTHON}", "--only-binary=:all:", "--no-deps", "--quiet", "--no-input"]
    wanted = [f"{name}=={each}" for name, each in versions.items()]
    command = [*pip(), "download", *platforms, *options, f"--dest={folder}", *wanted]
    run(command, f"fetching wheels for {arch}", f"see what pip says of it; {_OFFLINE}")


def pip() -> list[str]:
    if find_spec("pip") is None:
        raise MissingTool("there is no pip in this Python, which fetches the wheels", "python -m ensurepip")
    return [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def unpack(downloaded: Path, site: Path) -> None:
    """Every wheel in `downloaded`, into one folder that PYTHONPATH can name."""
    site.mkdir(exist_ok=True)
    for path in sorted(downloaded.glob("*.whl")):
        unpack_wheel(path, site)
