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
# What tells a page that was written from any other folder.
_MARKS = (HEADERS_FILE, "page/app.js", "bundle/edgekit.json")


def write(resources: dict[str, Resource], out: Path, *, force: bool = False) -> Path:
    """Write what the server would give, at the same paths below `out`, and the headers it would send. What stands there
    is replaced with `force`, if it is such a page.

    Raises OutputExists, OutputBusy, OutputUnwritable or NoSpace; nothing is then left.
    """
    if not force and os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise OutputExists(f"{out} exists", "give another --export, or --force to replace it")
    need_bytes = sum(_size(resource) for resource in resources.values())
    with writing(out, force=force, need_bytes=need_bytes, replaceable=_pages_only) as target:
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


def _pages_only(out: Path) -> OutputExists | None:
    if out.is_dir() and not out.is_symlink() and all((out / name).is_file() for name in _MARKS):
        return None
    return OutputExists(f"{out} exists and is no page", "--force replaces those only; give another --export")


def _size(resource: Resource) -> int:
    return resource.path.stat().st_size if resource.content is None else len(resource.content)


def _headers() -> str:
    everywhere = "".join(f"  {name}: {value}\n" for name, value in HEADERS.items())
    page = f"/*\n{everywhere}  Content-Security-Policy: {PAGE_POLICY}\n"
    return f"{page}/bundle/*\n  ! Content-Security-Policy\n  Content-Security-Policy: {BUNDLE_POLICY}\n"
