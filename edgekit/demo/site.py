"""What is served, path by path: nothing that is not listed here can be asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Literal

from edgekit.demo.vendor import Vendor, bare_names, rewritten
from edgekit.html.style import COLOURS_DARK, COLOURS_LIGHT
from edgekit.manifest import MANIFEST_NAME, Manifest
from edgekit.resources import runtime

PAGE = Path(__file__).resolve().with_name("page")
_RUNTIME_LEFT_OUT = {"node_modules", "tests", "test"}
_MIME = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
}
# Of a bundle only what shows and does nothing: its scripts are text here.
_BUNDLE_MIME = {
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Resource:
    """A file, or, if `content` is not None, those bytes. `origin` tells the page's own code from the bundle's files."""

    path: Path
    mime: str
    origin: Literal["page", "bundle"]
    content: bytes | None = None


def served(bundle: Path, manifest: Manifest, modules: Path) -> dict[str, Resource]:
    """Every path that is served for a verified bundle, without the leading slash; "" is the page.

    `modules` is the node_modules folder of the page's packages.
    """
    library = runtime("js").resolve()
    code = _runtime_sources(library)
    vendor = Vendor.of(modules, manifest.engine)
    packages = vendor.files(chain.from_iterable(bare_names(_without_comments(text)) for text in code.values()))

    def served_at(name: str) -> str | None:
        path = vendor.resolve(name)
        return None if path is None else f"vendor/{path}"

    found = _page()
    for place, text in code.items():
        found[place] = _code(library / place.partition("/")[2], rewritten(text, place, served_at))
    for path, file in packages.items():
        place = f"vendor/{path}"
        if file.suffix in (".js", ".mjs"):
            found[place] = _code(file, rewritten(file.read_text(encoding="utf-8"), place, served_at))
        else:
            found[place] = Resource(file, _MIME[file.suffix], "page")
    return found | _bundle(bundle, manifest)


def _page() -> dict[str, Resource]:
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.is_file()}
    found = {f"page/{name}": Resource(path, _MIME[path.suffix], "page") for name, path in files.items()}
    found[""] = found.pop("page/index.html")
    colours = _colours().encode()
    found["page/colours.css"] = Resource(PAGE / "colours.css", _MIME[".css"], "page", colours)
    return found


def _colours() -> str:
    """The reports' colours, as properties that style.css uses."""
    light, dark = (
        "".join(f"--{name}:{value};" for name, value in colours.items()) for colours in (COLOURS_LIGHT, COLOURS_DARK)
    )
    return f":root{{color-scheme:light dark;{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _runtime_sources(folder: Path) -> dict[str, str]:
    """The text of every module of the JavaScript runtime, by the path it is served at."""
    modules = [
        path
        for path in sorted(folder.rglob("*.js"))
        if path.is_file() and not path.is_symlink() and _RUNTIME_LEFT_OUT.isdisjoint(path.relative_to(folder).parts)
    ]
    return {f"runtime/{path.relative_to(folder).as_posix()}": path.read_text(encoding="utf-8") for path in modules}


def _without_comments(text: str) -> str:
    """JSDoc imports types, which no browser asks for."""
    return re.sub(r"/\*\*.*?\*/", "", text, flags=re.DOTALL)


def _code(path: Path, text: str) -> Resource:
    return Resource(path, _MIME[".js"], "page", text.encode())


def _bundle(folder: Path, manifest: Manifest) -> dict[str, Resource]:
    listed = [MANIFEST_NAME, *(entry.path for entry in manifest.files)]
    return {
        f"bundle/{path}": Resource(
            folder / path, _BUNDLE_MIME.get(PurePosixPath(path).suffix, "application/octet-stream"), "bundle"
        )
        for path in listed
    }
