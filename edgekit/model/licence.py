"""The licence of a model folder, by what the model card says or what LICENSE begins with."""

from __future__ import annotations

import re
from pathlib import Path

_HEAD_BYTES = 64 * 1024
_TEXTS = (
    (r"apache license\s+version 2\.0", "apache-2.0"),
    (r"\bmit license\b", "mit"),
    (r"bsd 3-clause", "bsd-3-clause"),
    (r"gnu affero general public license\s+version 3", "agpl-3.0"),
    (r"gnu general public license\s+version 3", "gpl-3.0"),
    (r"gemma terms of use", "gemma"),
    (r"llama 3\.1 community license", "llama3.1"),
    (r"llama 3\.2 community license", "llama3.2"),
    (r"creative commons attribution 4\.0", "cc-by-4.0"),
)


def read_licence(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """(identifier or None, evidence): the card's own word as it is, else a licence text if it is well known."""
    card = _head(folder / "README.md")
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    if front:
        fields = dict(re.findall(r"^(license(?:_name)?):[ \t]*[\"']?([^\s\"'#]+)", front.group(1), re.MULTILINE))
        licence = fields.get("license")
        if licence == "other" and "license_name" in fields:
            licence = fields["license_name"]
        if licence:
            return licence, (f"licence {licence}: README.md",)
    for path in sorted(folder.glob("LICEN[SC]E*")):
        text = _head(path).lower()
        for pattern, name in _TEXTS:
            if re.search(pattern, text):
                return name, (f"licence {name}: {path.name}",)
        return f"see {path.name}", (f"licence: {path.name}, no text that is known by heart",)
    return None, ("licence: not stated",)


def _head(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
