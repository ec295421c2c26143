"""What a bundle is measured with again."""

from __future__ import annotations

import os

import pytest

from edgekit.device import load_profile
from edgekit.revalidate import _threads


@pytest.mark.parametrize(
    ("kind", "asked", "packed", "expected"),
    [
        ("local", None, None, (2, 2)),
        ("ssh", None, None, (2, 4)),
        ("adb", None, None, (2, 4)),
        ("local", 1, None, (1, 1)),
        ("ssh", 3, None, (3, 3)),
        ("local", None, 1, (1, 1)),
        ("local", None, 3, (2, 2)),
        ("ssh", None, 3, (2, 3)),
        ("ssh", 1, 3, (1, 1)),
    ],
)
def test_another_machine_is_not_held_to_the_cores_of_this_one(
    monkeypatch: pytest.MonkeyPatch, kind: str, asked: int | None, packed: int | None, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert _threads(kind, asked, load_profile("raspberry-pi-5-8gb"), packed) == expected
