"""Versions of the engines that this runtime was made for: others are refused before they fail in ways of their own."""

from __future__ import annotations

import re

from .errors import LoadFailed

# As the extras in pyproject.toml have them: the first version that will do, and the first that will not.
_NEEDED = {
    "onnxruntime": ("1.22", "2"),
    "tokenizers": ("0.20", "1"),
    "llama-cpp-python": ("0.3.36", "0.4"),
}


def check(package: str, version: object) -> str:
    """`version`, if it will do. Raises LoadFailed with what was found, what is needed and how to get it."""
    least, below = _NEEDED[package]
    numbers = _numbers(version)
    if not numbers or not _numbers(least) <= numbers < _numbers(below):
        needed = f"{package}>={least},<{below}"
        raise LoadFailed(f"{package} {version} is installed, {needed} is needed: pip install '{needed}'")
    return str(version)


def _numbers(version: object) -> tuple[int, ...]:
    """(1, 31, 1) of "1.31.1", "1.31.1+cpu" or "1.31.1rc2"; () of what is no version."""
    found = re.match(r"\d+(\.\d+)*", version) if isinstance(version, str) else None
    return tuple(map(int, found[0].split("."))) if found else ()
