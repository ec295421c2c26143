"""Text that a Debian machine has: what its package lists say of each package, and the sources of Python's library."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_APT = "run `apt-get update` first: package lists come with it"
_SYNOPSES = ("Description", "Description-en")
_LINE_CHARS = 24
"""Shorter lines are the same in many files."""
_NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})


T = TypeVar("T")


@dataclass(frozen=True)
class Package:
    """One synopsis, of the first package by name that has it. `source` is what packages built together have in common;
    `section` is without its archive area ("net", not "contrib/net").
    """

    name: str
    source: str
    section: str
    synopsis: str


def package_descriptions() -> list[Package]:
    """The different synopses of Debian's packages, in order of the packages' names, as apt knows them."""
    apt = shutil.which("apt-cache")
    if apt is None:
        raise SystemExit(f"apt-cache is not there: this runs on Debian or Ubuntu; {_APT}")
    told = subprocess.run([apt, "dumpavail"], capture_output=True, text=True, encoding="utf-8", check=True).stdout
    found = packages(told)
    if len(found) < 1000:
        raise SystemExit(f"apt knows {len(found)} packages: {_APT}")
    return found


def packages(dump: str) -> list[Package]:
    """Of a list in Debian's control format: stanzas between empty lines."""
    by_synopsis: dict[str, Package] = {}
    stanzas = filter(None, (_fields(each) for each in dump.split("\n\n")))
    for stanza in sorted(stanzas, key=lambda each: each["Package"]):
        synopsis = next((stanza[name] for name in _SYNOPSES if name in stanza), "")
        if synopsis and "Section" in stanza:
            source = stanza.get("Source", stanza["Package"]).split(" ")[0]
            section = stanza["Section"].rpartition("/")[2]
            by_synopsis.setdefault(synopsis, Package(stanza["Package"], source, section, synopsis))
    return list(by_synopsis.values())


def _fields(stanza: str) -> dict[str, str]:
    """Name to value, the first line of each; nothing for a stanza that names no package."""
    lines = (line.partition(": ") for line in stanza.split("\n") if not line.startswith(" "))
    found = {name: value.strip() for name, colon, value in lines if colon}
    return found if "Package" in found else {}


def parted(found: Sequence[Package], share: float = 0.1) -> tuple[list[Package], list[Package]]:
    """(to train on, held out). Packages of one source fall on one side, as their synopses differ by a word."""
    kept: tuple[list[Package], list[Package]] = ([], [])
    for each in found:
        drawn = int.from_bytes(hashlib.sha256(each.source.encode()).digest()[:4], "big") / 2**32
        kept[drawn < share].append(each)
    return kept


def spaced(found: Sequence[T], count: int) -> list[T]:
    """`count` of them at equal steps, or all where there are fewer."""
    wanted = min(count, len(found))
    return [found[index * len(found) // wanted] for index in range(wanted)]


def of_sections(found: Iterable[Package], count: int) -> list[Package]:
    """The packages of the `count` sections that have the most."""
    everything = list(found)
    largest = {name for name, _ in Counter(each.section for each in everything).most_common(count)}
    return [each for each in everything if each.section in largest]


def library_pieces(held_out: str, characters: int) -> list[str]:
    """The sources of Python's library in pieces of whole lines, none longer than `characters` but for its last line.

    Files that share more than a tenth of their longer lines with `held_out` are left out whole.
    """
    known = set(_long_lines(held_out))
    found: list[str] = []
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if not _NOT_LIBRARY & set(path.relative_to(library).parts):
            text = path.read_text(encoding="utf-8", errors="ignore")
            lines = _long_lines(text)
            if sum(line in known for line in lines) <= len(lines) / 10:
                found += pieces(text, characters)
    return list(dict.fromkeys(found))


def pieces(text: str, characters: int) -> Iterator[str]:
    """`text` cut between lines, as late as `characters` allow; what is white space alone is dropped."""
    piece = ""
    for line in text.splitlines(keepends=True):
        if piece and len(piece) + len(line) > characters:
            if piece.strip():
                yield piece
            piece = ""
        piece += line
    if piece.strip():
        yield piece


def _long_lines(text: str) -> list[str]:
    return [stripped for line in text.splitlines() if len(stripped := line.strip()) >= _LINE_CHARS]
