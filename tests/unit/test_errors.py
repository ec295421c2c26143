"""Every leaf of the tree has an exit code of its own, and the tree in the docstring is the tree."""

from __future__ import annotations

import re

from edgekit import errors
from edgekit.errors import EdgekitError


def leaves(of: type[EdgekitError]) -> list[type[EdgekitError]]:
    below = of.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [of]


def test_exit_codes_are_unique_and_drawn() -> None:
    codes = {leaf.__name__: leaf.exit_code for leaf in leaves(EdgekitError)}
    assert len(set(codes.values())) == len(codes)
    assert all(0 < code < 256 for code in codes.values())
    drawn = dict(re.findall(r"(\w+) +(\d+)", errors.__doc__ or ""))
    assert {name: int(code) for name, code in drawn.items() if name in codes} == codes


def test_an_error_is_one_line() -> None:
    assert str(EdgekitError("what\n  happened", "do\nthis")) == "what happened - do this"
