"""The wrappers that an app embeds, each assembled from runtimes/LANGUAGE into a folder that is ready to be copied.

Python and JavaScript are copied as they are. The C runtime becomes one header and one source file; Java and Swift,
which stand on it, carry those two where their builds look for them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import OutputExists, UsageError
from edgekit.output import writing
from edgekit.resources import runtime

LANGUAGES = ("python", "js", "c", "java", "swift")
NONE = "none"
# Names that a wrapper goes by elsewhere.
_KIN = {
    "py": "python", "python3": "python", "javascript": "js", "typescript": "js", "ts": "js", "node": "js",
    "nodejs": "js", "web": "js", "browser": "js", "wasm": "js", "c++": "c", "cpp": "c", "kotlin": "java",
    "android": "java", "jvm": "java", "ios": "swift", "macos": "swift",
}  # fmt: skip

_C_FILES = ("edgekit.h", "CMakeLists.txt", "example.c", "README.md")
# Where the two C files go in a wrapper that stands on them: (header, source).
_C_INSIDE = {
    "java": ("src/main/cpp/edgekit/edgekit.h", "src/main/cpp/edgekit/edgekit.c"),
    "swift": ("Sources/CEdgekit/include/edgekit.h", "Sources/CEdgekit/edgekit.c"),
}
# What a checkout has beside a wrapper's sources: made by builds and package managers, or for tests alone. Names with a
# dot in front are left out too.
_LEFT_OUT = re.compile(
    r"\..*|__pycache__|.*\.egg-info|node_modules|package-lock\.json|tsconfig.*\.json|build|dist|out|tests?"
    r"|.*\.(class|o|so|a|jar)"
)
_INCLUDE = re.compile(r'[ \t]*#[ \t]*include[ \t]+"([^"]+)"')


@dataclass(frozen=True)
class Wrapper:
    """A wrapper that was written."""

    language: str
    folder: Path
    files: int
    size_bytes: int


def parse(text: str) -> tuple[str, ...]:
    """ "python,js" -> ("python", "js"), each once, in the order of LANGUAGES; "none" -> (). Raises UsageError."""
    if not text.strip(" ,"):
        raise UsageError("--runtime names no language", f"choose of {_listed()}, with commas, or {NONE}")
    return checked([word.strip() for word in text.split(",")]) if text.strip() != NONE else ()


def one(text: str) -> str:
    """The one language that `edgekit runtime` writes. Raises UsageError."""
    if "," in text:
        raise UsageError(f"edgekit runtime writes one wrapper, and {text!r} names several", "run it once for each")
    try:
        return checked([text])[0]
    except UsageError as error:
        if text in _KIN:
            raise
        raise UsageError(error.message, f"choose one of {_listed()}") from None


def checked(languages: Sequence[str]) -> tuple[str, ...]:
    """Those languages, each once, in the order of LANGUAGES. Raises UsageError for one that there is no wrapper for."""
    for each in languages:
        if each not in LANGUAGES:
            known = f"choose of {_listed()}, with commas, or {NONE}"
            raise UsageError(
                f"there is no runtime named {each!r}", f"did you mean {_KIN[each]}?" if each in _KIN else known
            )
    return tuple(each for each in LANGUAGES if each in languages)


def _listed() -> str:
    return ", ".join(LANGUAGES)


def assemble(language: str, folder: Path) -> None:
    """Write the wrapper for `language` into `folder`, which is not there yet, ready to be copied into an app."""
    (language,) = checked([language])
    sources = runtime(language)
    for path in _copied(language):
        to = folder / path
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources / path, to)
    for path in _made(language):
        to = folder / path
        to.parent.mkdir(parents=True, exist_ok=True)
        is_header = to.suffix == ".h"
        text = (runtime("c") / "edgekit.h").read_text(encoding="utf-8") if is_header else one_source_file(runtime("c"))
        to.write_text(text, encoding="utf-8")


def _copied(language: str) -> list[str]:
    """The files of the sources that are copied as they are, by path."""
    if language == "c":
        return list(_C_FILES)
    sources = runtime(language)
    paths = (path.relative_to(sources) for path in sorted(sources.rglob("*")) if path.is_file())
    return [path.as_posix() for path in paths if not any(map(_LEFT_OUT.fullmatch, path.parts))]


def _made(language: str) -> tuple[str, ...]:
    """The files made of the C runtime's, by path."""
    return ("edgekit.c",) if language == "c" else _C_INSIDE.get(language, ())


def one_source_file(sources: Path) -> str:
    """edgekit.c with what it includes of parts/ in its place, each part once; edgekit.h stays a header."""
    header, found = (sources / "edgekit.h").resolve(), []
    seen: set[Path] = set()

    def inline(path: Path) -> None:
        seen.add(path)
        for line in path.read_text(encoding="utf-8").splitlines():
            match = _INCLUDE.match(line)
            if match is None:
                found.append(line)
                continue
            included = (path.parent / match[1]).resolve()
            if included == header:
                if header not in seen:
                    found.append('#include "edgekit.h"')
                seen.add(header)
            elif included not in seen:
                found.append(f"\n/* {included.relative_to(sources.resolve()).as_posix()} */\n")
                inline(included)

    inline((sources / "edgekit.c").resolve())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(found)) + "\n"


def write(language: str, out: Path, *, force: bool = False) -> Wrapper:
    """Write the wrapper alone into `out`, whole or not at all. What stands there is replaced with `force`, if it is
    such a wrapper and holds nothing else.

    Raises UsageError, OutputExists, OutputBusy, OutputUnwritable, NoSpace.
    """
    checked([language])
    with writing(out, force=force, replaceable=lambda there: _foreign(language, there)) as output:
        made = output.work / language
        assemble(language, made)
        files = [path for path in made.rglob("*") if path.is_file()]
        size_bytes = sum(path.stat().st_size for path in files)
        return Wrapper(language, output.commit(made), len(files), size_bytes)


def _foreign(language: str, out: Path) -> OutputExists | None:
    """Why `out` is not replaced: it holds what is no part of the wrapper, and might be the app's own."""
    own = {*_copied(language), *_made(language)}
    for path in sorted(out.rglob("*")) if out.is_dir() and not out.is_symlink() else [out]:
        name = path.relative_to(out).as_posix()
        if path.is_symlink() or not (path.is_dir() or name in own or path.parent.name == "__pycache__"):
            return OutputExists(
                f"{path} is no part of the {language} wrapper", "--force replaces that alone; give another --out"
            )
    return None
