"""How a probe's process ended, in words: its exit status, the last it said, and whether its disk was full."""

from __future__ import annotations

import errno
import json
import re
import shutil
import signal
from pathlib import Path

from edgekit.errors import NoSpace, ValidationFailed, plain

_FULL_BELOW_BYTES = 2**20
# As the system says it, and as numpy does of a file that could not grow.
_FULL = re.compile(rf"OSError: (\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EFBIG})\]|\d+ requested and \d+ written)")


def failure(code: int, told: str, place: str = "") -> ValidationFailed:
    """The error for an exit status other than 0; `told` is what was said on standard error, `place` a target's name."""
    ended = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    where, words = f" on {place}" if place else "", last_words(told)
    remedy = "another strategy may work; --debug keeps the traceback"
    if code == -signal.SIGKILL:
        remedy = "it may lack memory there"
    elif words.startswith("UnsupportedDevice"):  # the runtime says itself what helps
        remedy = ""
    return ValidationFailed(f"the bundle failed in its own runtime{where} ({ended}): {words}", remedy)


def last_words(told: str) -> str:
    """The probe's one JSON line about its error, or else the last line that is said."""
    lines = [line for line in told.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                error = json.loads(line)
                return plain(f"{error['error']}: {error['message']}")[:500]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return plain(lines[-1])[:300] if lines else "it said nothing"


def check_disk(code: int, told: str, folder: Path) -> None:
    """NoSpace where the process ended for want of space in `folder`: by the error's number, or by the signal that ends
    whoever writes to a mapped file which cannot grow.
    """
    mapped = code == -signal.SIGBUS and shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
    if mapped or _FULL.match(last_words(told)):
        raise NoSpace(f"no space left while measuring in {folder}", "free some space; nothing was written")
