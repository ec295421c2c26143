"""How a probe ended, in words."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import NoSpace
from edgekit.targets import endings

TOLD = '{"error": "LoadFailed", "message": "no such file"}\n'


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (TOLD, "LoadFailed: no such file"),
        (f"warming up\n{TOLD}a library says farewell\n", "LoadFailed: no such file"),
        ("Traceback\nValueError: 7\n\n", "ValueError: 7"),
        ('{"message": "half"}\n', '{"message": "half"}'),
        ("{" * 2000, "{" * 300),
        ("\033[31mred\n", "[31mred"),
        ("", "it said nothing"),
    ],
)
def test_last_words(told: str, words: str) -> None:
    assert endings.last_words(told) == words


@given(st.text())
def test_whatever_is_said_becomes_one_short_line(told: str) -> None:
    assert endings.last_words(told).isprintable()
    assert len(endings.last_words(told)) <= 500


@pytest.mark.parametrize(
    ("code", "told", "place", "line"),
    [
        (1, TOLD, "", r"runtime \(exit status 1\): LoadFailed: no such file - another strategy may work"),
        (-9, "", "ssh:pi", r"runtime on ssh:pi \(killed by signal 9\): it said nothing - it may lack memory there"),
        (1, '{"error": "UnsupportedDevice", "message": "no avx2: pack again"}', "", r"UnsupportedDevice: .* again$"),
    ],
)
def test_a_failure_says_how_where_and_what_helps(code: int, told: str, place: str, line: str) -> None:
    with pytest.raises(Exception, match=line):
        raise endings.failure(code, told, place)


@pytest.mark.parametrize(
    ("code", "told", "full"),
    [
        (1, f'{{"error": "OSError", "message": "[Errno {errno.ENOSPC}] No space"}}', True),
        (1, f'{{"error": "OSError", "message": "[Errno {errno.EDQUOT}] Quota"}}', True),
        (1, '{"error": "OSError", "message": "9000 requested and 4096 written"}', True),
        (1, f'{{"error": "OSError", "message": "[Errno {errno.ENOENT}] No such file"}}', False),
        (-signal.SIGBUS, "", False),  # there is room: something else was wrong
    ],
)
def test_a_full_disk_is_told_from_other_failures(code: int, told: str, full: bool, tmp_path: Path) -> None:
    if full:
        with pytest.raises(NoSpace, match=f"no space left while measuring in {tmp_path}"):
            endings.check_disk(code, told, tmp_path)
    else:
        endings.check_disk(code, told, tmp_path)
