"""The generator of the C runtime's tables of characters: how it packs what it was told."""

from __future__ import annotations

import importlib.util
import unicodedata
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "unicode_tables.py"
    spec = importlib.util.spec_from_file_location("unicode_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_runs_give_every_value_back(generator: ModuleType, values: list[int]) -> None:
    runs = list(generator.runs(values))
    assert runs == sorted(runs)
    assert [[run & 0xFF for run in runs if run >> 8 <= point][-1] for point in range(len(values))] == values


def test_lower_case_runs_cover_what_changes_and_nothing_else(generator: ModuleType) -> None:
    found: dict[int, str] = {}
    for first, last, step, change in generator.lower_runs():
        points = range(first, last + 1, step)
        assert points[-1] == last
        assert found.keys().isdisjoint(points)
        found |= {point: chr(point + change) for point in points}
    for alphabet in ("ABCXYZ", "ÀÖØÞ", "ĀĂŽ", "ΑΩ", "АЯЀ", "Ａ", "Ⓐ", "ẞ"):
        assert [found[ord(letter)] for letter in alphabet] == [letter.lower() for letter in alphabet]
    assert found.keys().isdisjoint(map(ord, "abcßıſ中7İ"))


def test_decompositions_lead_to_nfd_and_compositions_back(generator: ModuleType) -> None:
    known = generator.decompositions()
    assert list(known) == sorted(known)

    def whole(point: int) -> str:
        return "".join(whole(part) for part in known[point] if part) if point in known else chr(point)

    for point in known:
        assert whole(point) == unicodedata.normalize("NFD", chr(point))
    points, order = list(known), generator.compositions(known)
    pairs = [known[points[index]] for index in order]
    assert pairs == sorted(pairs)
    assert len(set(pairs)) == len(pairs)
    for index in order:
        assert unicodedata.normalize("NFC", "".join(map(chr, known[points[index]]))) == chr(points[index])


def test_lines_are_short_and_hold_everything(generator: ModuleType) -> None:
    text = generator._lines(map(str, range(1000)))
    assert max(map(len, text.splitlines())) <= 120
    assert [int(number) for number in text.replace(",", " ").split()] == list(range(1000))
