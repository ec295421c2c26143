"""benchmarks/harness/corpora.py: what package lists and sources become, and that nothing held out is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import corpora
from harness.corpora import Package, library_pieces, of_sections, packages, parted, pieces, spaced
from hypothesis import given
from hypothesis import strategies as st

DUMP = """Package: zlib-tools
Source: zlib (1:1.2)
Section: contrib/utils
Description: compression
 of several lines: more

Package: alpha
Section: net
Description-en: speaks to others
Depends: libc6 (>= 2.34),
 libx: y

Package: beta
Section: net
Description: compression

Package: no-section
Description: something

Package: no-description
Section: net
"""


def made(count: int, per_source: int = 3) -> list[Package]:
    return [Package(f"p{n}", f"s{n // per_source}", f"section{n % 5}", f"text {n}") for n in range(count)]


def test_a_control_file_is_read_field_by_field_and_equal_synopses_are_told_once() -> None:
    assert packages(DUMP) == [
        Package("alpha", "alpha", "net", "speaks to others"),
        Package("beta", "beta", "net", "compression"),
    ]


def test_the_area_of_the_archive_and_the_version_of_the_source_are_left_out() -> None:
    found = packages(DUMP.replace("Package: beta\nSection: net\nDescription: compression\n", ""))
    assert Package("zlib-tools", "zlib", "utils", "compression") in found


def test_packages_of_one_source_fall_on_one_side() -> None:
    train, held = parted(made(3000))
    assert not {each.source for each in train} & {each.source for each in held}
    assert 200 < len(held) < 400
    assert sorted(train + held, key=lambda each: each.name) == sorted(made(3000), key=lambda each: each.name)


def test_which_side_does_not_depend_on_the_other_packages() -> None:
    held = set(parted(made(3000))[1])
    assert set(parted(made(3000)[::2])[1]) == {each for each in made(3000)[::2] if each in held}


def test_the_largest_sections_are_kept() -> None:
    found = [Package("a", "a", "net", "1"), Package("b", "b", "web", "2"), Package("c", "c", "net", "3")]
    assert of_sections(found, 1) == [found[0], found[2]]


@given(st.integers(0, 200), st.integers(1, 300))
def test_spaced_takes_as_many_as_there_are_in_their_order(have: int, want: int) -> None:
    found = spaced(list(range(have)), want)
    assert len(found) == min(have, want)
    assert found == sorted(set(found))


@given(st.lists(st.text("ab \t", max_size=30), max_size=30), st.integers(1, 60))
def test_pieces_are_whole_lines_and_lose_only_white_space(lines: list[str], characters: int) -> None:
    text = "\n".join(lines)
    found = list(pieces(text, characters))
    assert "".join(found).split() == text.split()
    for each in found:
        assert len(each) <= characters or each.count("\n", 0, -1) == 0


def test_sources_that_share_their_lines_with_the_held_out_text_are_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"the line of number {number} is long enough\n" for number in range(40)]
    (tmp_path / "kept.py").write_text("".join(lines[:20]))
    (tmp_path / "known.py").write_text("".join(lines[18:]))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text("a test of the library, which is not the library\n")
    monkeypatch.setattr(corpora.sysconfig, "get_path", lambda _: str(tmp_path))
    assert library_pieces("".join(lines[18:]), 10_000) == ["".join(lines[:20])]
    assert library_pieces("".join(lines[20:23]), 10_000) == ["".join(lines[:20])]
    assert len(library_pieces("", 10_000)) == 2
    with_three = library_pieces("".join(lines[17:20]), 10_000)
    assert "".join(lines[:20]) not in with_three
