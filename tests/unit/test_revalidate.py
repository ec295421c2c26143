"""What a bundle is measured with again."""

from __future__ import annotations

import os

import pytest

from edgekit.device import load_profile
from edgekit.revalidate import _threads


@pytest.mark.parametrize(
    ("kind", "asked", "expected"),
    [("local", None, (2, 2)), ("ssh", None, (2, 4)), ("adb", None, (2, 4)), ("local", 1, (1, 1)), ("ssh", 3, (3, 3))],
)
def test_another_machine_is_not_held_to_the_cores_of_this_one(
    monkeypatch: pytest.MonkeyPatch, kind: str, asked: int | None, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert _threads(kind, asked, load_profile("raspberry-pi-5-8gb")) == expected
