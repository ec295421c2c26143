"""From token pieces to text: UTF-8 buffered across tokens, stop strings held back. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence

from ._text import check_text
from .errors import BadInput


def decode_utf8(pieces: Iterable[bytes]) -> Iterator[str]:
    """Text as soon as its bytes are complete; bytes that can never be text become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
    if tail := decoder.decode(b"", final=True):
        yield tail


def until_stop(texts: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """The text before the stop string that is completed first; nothing of it is emitted, however the text is cut."""
    held = ""
    for text in texts:
        held += text
        ends = [(held.index(stop) + len(stop), held.index(stop)) for stop in stops if stop in held]
        if ends:
            if before := held[: min(ends)[1]]:
                yield before
            return
        safe = len(held) - _possible_stop(held, stops)
        if safe:
            yield held[:safe]
            held = held[safe:]
    if held:
        yield held


def _possible_stop(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of `text` with which a stop string may begin."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest


def check_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    """`stop` as a tuple of non-empty strings."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list | tuple) else (None,)
    if not all(isinstance(one, str) and one for one in stops):
        raise BadInput(f"stop is {stop!r}: one or more non-empty strings are expected")
    for one in stops:
        check_text(one)
    return stops
