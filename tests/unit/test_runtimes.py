"""Wrappers as an app gets them: complete, without what a checkout has beside them, and never over anything else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fixtures.c_runtime import STRICT

from edgekit import resources, runtimes
from edgekit.errors import OutputExists, UsageError

LITTER = (
    "node_modules/left/index.js", "__pycache__/x.pyc", "build/x.o", ".gradle/x", "tests/test_x.py", "dist/x.whl",
    "package-lock.json", "engines/node_modules/x.js", "x.class",
)  # fmt: skip


def paths(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def own_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a few files: a JavaScript and a Swift wrapper, and a C runtime of three parts."""
    root = tmp_path / "checkout"
    files = {
        "js/index.js": "export const open = 1;\n",
        "js/engines/ort.js": "",
        "swift/Package.swift": "// swift\n",
        "swift/Sources/Edgekit/Session.swift": "",
        "c/edgekit.h": "#ifndef EDGEKIT_H\n#define EDGEKIT_H\nint edgekit_two(void);\n#endif\n",
        "c/edgekit.c": '#include "edgekit.h"\n#include <stdio.h>\n\n#include "parts/a.h"\n#  include "parts/b.h"\n'
        "int edgekit_two(void) { return one() + one_more(); } /* the end */\n",
        "c/parts/a.h": '#include "../edgekit.h"\n#include "deep/c.h"\nstatic int one(void) { return C; }\n',
        "c/parts/b.h": '#include "deep/c.h"\n#include "a.h"\nstatic int one_more(void) { return C; }\n',
        "c/parts/deep/c.h": "/* Why it is one. */\n#define C 1\n",
        "c/probe.c": "",
        **{f"c/{name}": name for name in ("CMakeLists.txt", "example.c", "README.md")},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(resources, "runtime", lambda language: root / language)
    monkeypatch.setattr(runtimes, "runtime", lambda language: root / language)
    return root


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("python", ("python",)),
        ("swift,python", ("python", "swift")),
        (" js , js,c ", ("js", "c")),
        ("none", ()),
        (",".join(runtimes.LANGUAGES), runtimes.LANGUAGES),
    ],
)
def test_languages_are_read_once_each_in_one_order(text: str, languages: tuple[str, ...]) -> None:
    assert runtimes.parse(text) == languages


@pytest.mark.parametrize("text", ["rust", "python,rust", "", "python,", "none,python", "Python", "../c"])
def test_an_unknown_one_is_refused_with_the_list(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        runtimes.parse(text)
    assert "python, js, c, java, swift" in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_a_checkout_has_besides_is_left_out(own_sources: Path, tmp_path: Path) -> None:
    for name in LITTER:
        (own_sources / "js" / name).parent.mkdir(parents=True, exist_ok=True)
        (own_sources / "js" / name).write_text("x", encoding="utf-8")
    runtimes.assemble("js", tmp_path / "js")
    assert paths(tmp_path / "js") == {"index.js", "engines/ort.js"}


def test_the_c_runtime_becomes_one_source_file(own_sources: Path, tmp_path: Path) -> None:
    runtimes.assemble("c", tmp_path / "c")
    assert paths(tmp_path / "c") == {"edgekit.h", "edgekit.c", "CMakeLists.txt", "example.c", "README.md"}
    text = (tmp_path / "c" / "edgekit.c").read_text(encoding="utf-8")
    assert re.findall(r"/\* (parts/\S+) \*/", text) == ["parts/a.h", "parts/deep/c.h", "parts/b.h"]
    assert re.findall(r"#include (.*)", text) == ['"edgekit.h"', "<stdio.h>"]
    assert text.count("Why it is one.") == 1
    assert text.endswith("/* the end */\n")
    done = subprocess.run(["gcc", *STRICT, "-c", "edgekit.c"], cwd=tmp_path / "c", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_stands_on_c_carries_it(own_sources: Path, tmp_path: Path) -> None:
    runtimes.assemble("swift", tmp_path / "swift")
    assert paths(tmp_path / "swift") == {
        "Package.swift",
        "Sources/Edgekit/Session.swift",
        "Sources/CEdgekit/edgekit.c",
        "Sources/CEdgekit/include/edgekit.h",
    }


def test_it_is_written_whole_and_never_over_anything(own_sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "app" / "edgekit"
    made = runtimes.write("js", out)
    assert (made.language, made.folder, made.files) == ("js", out, 2)
    assert made.size_bytes == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    with pytest.raises(OutputExists, match="exists"):
        runtimes.write("js", out)
    assert [path.name for path in out.parent.iterdir()] == ["edgekit"]


def test_force_replaces_such_a_wrapper_alone(own_sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "edgekit"
    runtimes.write("js", out)
    (out / "index.js").write_text("changed", encoding="utf-8")
    runtimes.write("js", out, force=True)
    assert (out / "index.js").read_text(encoding="utf-8") == "export const open = 1;\n"
    (out / "app.js").write_text("the app's own", encoding="utf-8")
    before = paths(out)
    with pytest.raises(OutputExists, match=re.escape("app.js is no part of the js wrapper")):
        runtimes.write("js", out, force=True)
    assert paths(out) == before
    (out / "app.js").unlink()
    with pytest.raises(OutputExists, match="no part of the c wrapper"):
        runtimes.write("c", out, force=True)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_force_follows_no_link_and_replaces_no_file(own_sources: Path, tmp_path: Path, kind: str) -> None:
    out, elsewhere = tmp_path / "edgekit", tmp_path / "elsewhere"
    runtimes.write("js", elsewhere)
    if kind == "file":
        out.write_text("a file", encoding="utf-8")
    else:
        out.symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(OutputExists):
        runtimes.write("js", out, force=True)
    assert paths(elsewhere) == {"index.js", "engines/ort.js"}


def test_a_failure_leaves_nothing(own_sources: Path, tmp_path: Path) -> None:
    shutil.rmtree(own_sources / "c" / "parts")
    (tmp_path / "app").mkdir()
    with pytest.raises(FileNotFoundError):
        runtimes.write("c", tmp_path / "app" / "edgekit")
    assert list((tmp_path / "app").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rust", "no runtime named 'rust' - choose one of python, js, c, java, swift"),
        ("kotlin", "no runtime named 'kotlin' - did you mean java"),
        ("node", "no runtime named 'node' - did you mean js"),
        ("python,js", "writes one wrapper, and 'python,js' names several - run it once for each"),
    ],
)
def test_one_wrapper_is_written_at_a_time(text: str, told: str) -> None:
    assert runtimes.one("js") == "js"
    with pytest.raises(UsageError, match=re.escape(told)):
        runtimes.one(text)


def test_no_language_is_none_by_name_only() -> None:
    with pytest.raises(UsageError, match="--runtime names no language - choose of python"):
        runtimes.parse("")
