"""What the files below /proc and /sys say."""

from __future__ import annotations

from pathlib import Path


def read(path: Path) -> str:
    """The text without its outer white space; "" where there is no such file, or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
