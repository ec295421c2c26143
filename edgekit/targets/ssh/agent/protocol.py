"""How the agent hears edgekit and answers it: lines of JSON on standard input and output, and bytes after some."""

from __future__ import annotations

import errno
import json
import select
import signal
import sys
from collections.abc import Mapping
from io import BufferedReader
from typing import Any, cast

MAGIC = b"EDGEKIT-AGENT 1\n"
CHUNK_BYTES = 2**18
SILENCE_S = 120
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STOPS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Gone(Exception):
    """edgekit, or the connection to it, is gone."""


class Refused(Exception):
    """What edgekit is told instead of an answer: a reason in a word, a message, and figures."""

    def __init__(self, reason: str, message: str, **figures: Any) -> None:
        super().__init__(message)
        self.told = {"refused": reason, "message": " ".join(message.split()), **figures}


def listen() -> None:
    """From now on Gone is raised when edgekit stops this program, or says nothing for long."""
    signal.signal(signal.SIGALRM, _silent)
    for number in _STOPS:
        signal.signal(number, _gone)
    heard()


def stop_listening() -> None:
    """Nothing interrupts what follows."""
    for number in (signal.SIGALRM, *_STOPS):
        signal.signal(number, signal.SIG_IGN)


def stdin() -> BufferedReader:
    return cast(BufferedReader, sys.stdin.buffer)


def heard() -> None:
    signal.alarm(SILENCE_S)


def tell(answer: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def _gone(*_: object) -> None:
    raise Gone


def _silent(*_: object) -> None:
    """Nothing was read for long. If something waits to be, this end was busy, and the other may well be there."""
    if not select.select([0], [], [], 0)[0]:
        raise Gone
    heard()
