"""`python -m edgekit.device docs/devices.md` puts the current table of shipped devices into the document."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from edgekit.device.files import profiles
from edgekit.device.table import markdown_table


def main(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    table = markdown_table(profiles())
    path.write_text(re.sub(r"(\| Name \|[^\n]*\n)(\|[^\n]*\n)*", lambda _: table, text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
