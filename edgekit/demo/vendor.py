"""The engines and helpers that the page imports: which of an npm package's files are served, and under which path.

Browsers know no bare names (`import "onnxruntime-web"`) in workers, where import maps do not reach. So every module is
given with its bare names replaced by relative paths, looked up in the package's own `exports` as a bundler would.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a package loads by itself besides its modules, where one of these names it: patterns below its folder.
_LOADED = {
    "onnxruntime-web": ("dist/ort-wasm-simd-threaded*.wasm", "dist/ort-wasm-simd-threaded*.mjs"),
    "@wllama/wllama": ("esm/**/*.wasm",),
}
_ENGINE_PACKAGES = {"onnxruntime": "onnxruntime-web", "llama.cpp": "@wllama/wllama"}
_CONDITIONS = ("browser", "import", "module", "default")
# `from "x"`, `import "x"`, `import("x")`; the names of Node's own modules and relative paths stay as they are.
_IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)(["'])(@?[a-z][\w.@/-]*)\2""")


@dataclass(frozen=True)
class Vendor:
    """`node_modules` of the lock in edgekit/demo/vendor, and the package of the other engine, which is left out."""

    modules: Path
    left_out: frozenset[str]

    @classmethod
    def of(cls, modules: Path, engine: str) -> Vendor:
        """What a bundle for `engine` needs."""
        return cls(modules, frozenset(name for each, name in _ENGINE_PACKAGES.items() if each != engine))

    def resolve(self, name: str) -> str | None:
        """ "@noble/hashes/sha2.js" -> the path of that module below node_modules; None if no package has it."""
        parts = name.split("/")
        length = 2 if name.startswith("@") else 1
        package, inner = "/".join(parts[:length]), "/".join(parts[length:])
        described = self.modules / package / "package.json"
        if package in self.left_out or not described.is_file():
            return None
        content = json.loads(described.read_bytes())
        exported = content.get("exports")
        if exported is None:
            found = inner or content.get("module") or content.get("main") or "index.js"
        else:
            found = _chosen(exported.get(f"./{inner}" if inner else "."))
        return None if found is None else os.path.normpath(f"{package}/{found}")

    def files(self, names: Iterator[str]) -> dict[str, Path]:
        """Every file below node_modules that modules of these bare names lead to, by path below it."""
        found: dict[str, Path] = {}
        texts: list[str] = []
        waiting = [path for name in names if (path := self.resolve(name)) is not None]
        while waiting:
            path = waiting.pop()
            file = self.modules / path
            if path in found or not file.is_file():
                continue
            found[path] = file
            text = file.read_text(encoding="utf-8")
            texts.append(text)
            waiting += [each for name in bare_names(text) if (each := self.resolve(name)) is not None]
            waiting += [os.path.normpath(f"{path}/../{name}") for name in _relative_names(text)]
        return found | {path: file for path, file in self._loaded() if any(file.name in text for text in texts)}

    def _loaded(self) -> Iterator[tuple[str, Path]]:
        for package, patterns in _LOADED.items():
            for pattern in () if package in self.left_out else patterns:
                for file in (self.modules / package).glob(pattern):
                    yield file.relative_to(self.modules).as_posix(), file


def _chosen(exported: Any) -> str | None:
    """The path of an entry of `exports` under the conditions of a browser."""
    while isinstance(exported, Mapping):
        exported = next((exported[each] for each in exported if each in _CONDITIONS), None)
    return exported if isinstance(exported, str) else None


def bare_names(text: str) -> Iterator[str]:
    for match in _IMPORT.finditer(text):
        yield match[3]


def _relative_names(text: str) -> Iterator[str]:
    for match in re.finditer(r"""(?:\bfrom\s*|\bimport\s+|\bimport\s*\(\s*)["'](\.{1,2}/[^"']+\.m?js)["']""", text):
        yield match[1]


def rewritten(text: str, place: str, resolve: Callable[[str], str | None]) -> str:
    """`text` of the module served at `place`, with the bare names that `resolve` knows as paths relative to it."""

    def replace(match: re.Match[str]) -> str:
        target = resolve(match[3])
        if target is None:
            return match[0]
        path = os.path.relpath(target, os.path.dirname(place))  # noqa: PTH120 (of URLs)
        return f"{match[1]}{match[2]}{path if path.startswith('.') else f'./{path}'}{match[2]}"

    return _IMPORT.sub(replace, text)
