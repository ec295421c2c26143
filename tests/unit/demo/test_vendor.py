"""Which files of npm packages are served, and how modules find them without bare names."""

from __future__ import annotations

import json
import os.path
import re
from pathlib import Path

import pytest

from edgekit import demo, resources
from edgekit.demo.vendor import Vendor, bare_names, rewritten


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    def package(name: str, files: dict[str, str], **fields: object) -> None:
        for path, text in {**files, "package.json": json.dumps({"name": name, **fields})}.items():
            place = tmp_path / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    conditions = {"node": "./node.js", "import": {"odd": "./odd.js", "default": "./web.js"}, "require": "./old.cjs"}
    files = {
        "web.js": 'import {a} from "./inner/a.js"; import "plain";',
        "inner/a.js": "1",
        "node.js": "",
        "x.d.ts": "",
    }
    package("@scope/many", files, exports={".": conditions, "./deep.js": "./inner/a.js", "./none": None})
    package("plain", {"main.js": "1", "other.js": "2"}, main="main.js")
    wasm = {f"dist/ort-wasm-simd-threaded{each}.wasm": "" for each in ("", ".asyncify")}
    wasm["ort.js"] = 'new URL("ort-wasm-simd-threaded.wasm", import.meta.url)'
    package("onnxruntime-web", wasm, exports={".": "./ort.js"})
    package("@wllama/wllama", {"index.js": "1"}, main="index.js")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("@scope/many", "@scope/many/web.js"),
        ("@scope/many/deep.js", "@scope/many/inner/a.js"),
        ("@scope/many/none", None),
        ("@scope/many/web.js", None),
        ("plain", "plain/main.js"),
        ("plain/other.js", "plain/other.js"),
        ("onnxruntime-web", "onnxruntime-web/ort.js"),
        ("@wllama/wllama", None),
        ("absent", None),
    ],
)
def test_names_are_looked_up_as_a_bundler_would(modules: Path, name: str, path: str | None) -> None:
    assert Vendor.of(modules, "onnxruntime").resolve(name) == path


def test_only_what_modules_lead_to_is_served(modules: Path) -> None:
    found = Vendor.of(modules, "onnxruntime").files(
        iter(["@scope/many", "onnxruntime-web", "@wllama/wllama", "node:fs"])
    )
    assert sorted(found) == [
        "@scope/many/inner/a.js",
        "@scope/many/web.js",
        "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
        "onnxruntime-web/ort.js",
        "plain/main.js",
    ]


def test_bare_names_become_relative_paths(modules: Path) -> None:
    text = "\n".join(
        [
            'import { a } from "@scope/many";',
            "import 'plain';",
            'const b = await import("@scope/many/deep.js");',
            'import c from "./own.js";',
            'import { readFile } from "node:fs/promises";',
            'import d from "absent";',
            'const text = "plain";',
        ]
    )
    vendor = Vendor.of(modules, "onnxruntime")

    def served_at(name: str) -> str | None:
        path = vendor.resolve(name)
        return None if path is None else f"vendor/{path}"

    assert rewritten(text, "runtime/engines/x.js", served_at).splitlines() == [
        'import { a } from "../../vendor/@scope/many/web.js";',
        "import '../../vendor/plain/main.js';",
        'const b = await import("../../vendor/@scope/many/inner/a.js");',
        'import c from "./own.js";',
        'import { readFile } from "node:fs/promises";',
        'import d from "absent";',
        'const text = "plain";',
    ]
    assert 'from "./main.js"' in rewritten('x from "plain"', "vendor/plain/y.js", served_at)


def test_the_page_has_the_versions_that_the_runtime_is_tested_with() -> None:
    library = json.loads((resources.runtime("js") / "package-lock.json").read_bytes())["packages"]
    wanted = json.loads((demo.LOCK / "package.json").read_bytes())["dependencies"]
    assert wanted == {name: library[f"node_modules/{name}"]["version"] for name in wanted}
    locked = json.loads((demo.LOCK / "package-lock.json").read_bytes())["packages"]
    assert wanted == {name: locked[f"node_modules/{name}"]["version"] for name in wanted}


def test_the_lock_names_no_registry_and_every_hash() -> None:
    text = (demo.LOCK / "package-lock.json").read_text()
    assert not re.search(r'"(?!url")[^"]+": "[a-z+]+://', text)  # "url" is of whom to thank
    packages = json.loads(text)["packages"]
    assert all(entry.get("integrity", "").startswith("sha512-") for name, entry in packages.items() if name)


def test_the_page_has_every_package_that_the_runtime_imports_in_a_browser() -> None:
    folder, waiting, seen, names = resources.runtime("js"), ["web.js"], set(), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        text = re.sub(r"/\*.*?\*/", "", (folder / path).read_text(encoding="utf-8"), flags=re.DOTALL)
        names |= set(bare_names(text))
        found = re.findall(r"""(?:from\s*|import\s*\(\s*)["'](\.{1,2}/[^"']+\.js)["']""", text)
        waiting += [os.path.normpath(f"{path}/../{each}") for each in found]
    packages = {"/".join(name.split("/")[: 2 if name.startswith("@") else 1]) for name in names}
    assert packages == set(json.loads((demo.LOCK / "package.json").read_bytes())["dependencies"])
