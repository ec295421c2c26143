"""UTF-8 and stop strings hold whatever the cuts between tokens are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from edgekit_runtime import BadInput
from edgekit_runtime._stream import check_stops, decode_utf8, until_stop
from hypothesis import given
from hypothesis import strategies as st

_TEXTS = st.text(st.sampled_from("ab\né🌍"), max_size=20)
_STOPS = st.lists(st.text(st.sampled_from("ab\n🌍"), min_size=1, max_size=4), max_size=3)


def _cut(text: str | bytes, cuts: Sequence[int]) -> list[str | bytes]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(edges)]


@given(st.text(max_size=30), st.lists(st.integers(0, 200), max_size=10))
def test_text_survives_any_cut_of_its_bytes(text: str, cuts: list[int]) -> None:
    whole = text.encode("utf-8")
    pieces = list(decode_utf8(_cut(whole, cuts)))  # type: ignore[arg-type]
    assert "".join(pieces) == text
    assert all(pieces)


@given(st.binary(max_size=30), st.lists(st.integers(0, 200), max_size=10))
def test_bytes_that_are_no_text_become_replacement_characters(raw: bytes, cuts: list[int]) -> None:
    assert "".join(decode_utf8(_cut(raw, cuts))) == raw.decode("utf-8", "replace")  # type: ignore[arg-type]


def test_an_unfinished_character_is_held_back_until_it_is_certain() -> None:
    stream = decode_utf8(iter([b"a\xf0\x9f", b"\x8c", b"\x8d!"]))
    assert next(stream) == "a"
    assert next(stream) == "🌍!"


@given(_TEXTS, _STOPS, st.lists(st.integers(0, 50), max_size=8))
def test_stopping_does_not_depend_on_the_cuts(text: str, stops: list[str], cuts: list[int]) -> None:
    pieces = list(until_stop(_cut(text, cuts), stops))  # type: ignore[arg-type]
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    assert "".join(pieces) == (text[: min(ends)[1]] if ends else text)
    assert all(pieces)


@given(_TEXTS, _STOPS)
def test_no_part_of_a_stop_string_is_emitted(text: str, stops: list[str]) -> None:
    emitted = "".join(until_stop(text, stops))
    assert not any(stop in emitted for stop in stops)


def test_text_is_emitted_as_soon_as_no_stop_string_can_begin_with_it() -> None:
    stream = until_stop(iter(["ab", "c"]), ["bx"])
    assert next(stream) == "a"
    assert next(stream) == "bc"


def test_nothing_is_read_after_the_stop_string() -> None:
    texts = iter(["a", "STOP", "never"])
    assert list(until_stop(texts, ["STOP"])) == ["a"]
    assert next(texts) == "never"


@pytest.mark.parametrize(("stop", "expected"), [("x", ("x",)), (["x", "y"], ("x", "y")), ((), ())])
def test_stops_may_be_one_string_or_several(stop: str | list[str], expected: tuple[str, ...]) -> None:
    assert check_stops(stop) == expected


@pytest.mark.parametrize("stop", ["", ["a", ""], [1]])
def test_a_stop_string_must_have_characters(stop: object) -> None:
    with pytest.raises(BadInput, match="stop"):
        check_stops(stop)  # type: ignore[arg-type]
