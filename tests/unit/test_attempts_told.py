"""What was not tried is told once a reason, and no longer than people read."""

from __future__ import annotations

from edgekit.attempts import reasons
from edgekit.strategies import Rejection


def test_reasons_are_told_once_after_the_first_of_many() -> None:
    few = [Rejection(name, "is too large") for name in ("a", "b", "c", "d", "e")]
    assert reasons([*few, Rejection("f", "is slow")]) == "a, b, c, d, e: is too large; f: is slow"
    many = [*few, Rejection("g", "is too large")]
    assert reasons(many) == "a, b, c, d and 2 more: is too large"
