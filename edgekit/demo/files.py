"""The page as a folder of files, for any server of one's own that sends its headers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgekit.demo.server import BUNDLE_POLICY, HEADERS, PAGE_POLICY
from edgekit.demo.site import Resource
from edgekit.errors import OutputExists
from edgekit.output import writing

# In the format of the hosts that know one; others are told the same in their own.
HEADERS_FILE = "_headers"


def write(resources: dict[str, Resource], out: Path) -> Path:
    """Write what the server would give, at the same paths below `out`, and the headers it would send.

    Raises OutputExists, OutputBusy, OutputUnwritable or NoSpace; nothing is then left.
    """
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise OutputExists(f"{out} exists", "give another --export")
    need_bytes = sum(_size(resource) for resource in resources.values())
    with writing(out, force=False, need_bytes=need_bytes) as target:
        folder = target.work / "page"
        for place, resource in resources.items():
            file = folder / (place or "index.html")
            file.parent.mkdir(parents=True, exist_ok=True)
            if resource.content is None:
                shutil.copyfile(resource.path, file)
            else:
                file.write_bytes(resource.content)
        (folder / HEADERS_FILE).write_text(_headers(), encoding="utf-8")
        return target.commit(folder)


def _size(resource: Resource) -> int:
    return resource.path.stat().st_size if resource.content is None else len(resource.content)


def _headers() -> str:
    everywhere = "".join(f"  {name}: {value}\n" for name, value in HEADERS.items())
    page = f"/*\n{everywhere}  Content-Security-Policy: {PAGE_POLICY}\n"
    return f"{page}/bundle/*\n  ! Content-Security-Policy\n  Content-Security-Policy: {BUNDLE_POLICY}\n"
