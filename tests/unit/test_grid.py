"""Tables keep to their width, and lose no word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.grid import fitted

WORDS = st.text("abcdefghij ", max_size=60)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=5), st.integers(20, 120))
def test_a_fitted_table_keeps_to_its_width_and_loses_no_letter(rows: list[tuple[str, str, str]], columns: int) -> None:
    told = fitted(("figure", "measured", ""), rows, columns)
    assert max(map(len, told.splitlines())) <= columns
    letters = sorted(letter for row in rows for cell in row for letter in cell if letter != " ")
    body = told.split("-\n", 1)[-1] if rows else ""
    assert sorted(body.replace(" ", "").replace("\n", "")) == letters or not letters


def test_a_table_with_room_is_left_alone() -> None:
    assert fitted(("a", "b"), [("x", "yy")], 80) == "a  b\n-  --\nx  yy"
