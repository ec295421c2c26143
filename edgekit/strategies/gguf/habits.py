"""Where llama.cpp's tokenizers differ from the originals whatever the vocabulary says, and where exactly that shows.

A habit excuses a difference only in the words it can touch; the rest of the text must still agree.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.strategies.gguf.vocabulary import Source


@dataclass(frozen=True)
class Habit:
    """`untouched` is the text without what the habit can change."""

    note: str
    untouched: str


def find_habit(source: Source, text: str) -> Habit | None:
    """The habit that can touch `text` under this tokenizer, if there is one."""
    for find in (_space_before, _strips_every_mark):
        habit = find(source, text)
        if habit is not None:
            return habit
    return None


def _space_before(source: Source, text: str) -> Habit | None:
    """The engine puts a space before the text and after every special token.

    The pre-tokenizer Metaspace puts none where there is one already, and with "first" as its scheme none but the first.
    """
    step: Mapping[str, Any] = source.content.get("pre_tokenizer") or {}
    if not any(inner.get("type") == "Metaspace" for inner in step.get("pretokenizers") or [step]):
        return None
    inside = [text.index(token["content"]) for token in source.added if token["content"] in text]
    untouched = text[: min(inside, default=len(text))].lstrip(" ")
    note = "the engine puts a space before a text that starts with one, and after special tokens; the source does not"
    return None if untouched == text else Habit(note, untouched)


def _strips_every_mark(source: Source, text: str) -> Habit | None:
    """Where accents are stripped, the engine drops every mark and all of a Hangul block but its first letter.

    The original drops nonspacing marks (Mn) alone and keeps the letters of Hangul.
    """
    normalizer = source.content.get("normalizer") or {}
    strips = normalizer.get("strip_accents")
    if source.content["model"].get("type") != "WordPiece" or not (
        normalizer.get("lowercase") if strips is None else strips
    ):
        return None
    words = text.split()
    kept = [word for word in words if not any(_is_overstripped(character) for character in word)]
    if len(kept) == len(words):
        return None
    return Habit("the engine strips vowel signs (Hindi, Thai, ...), Hangul vowels and enclosing marks", " ".join(kept))


def _is_overstripped(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3" or unicodedata.category(character) in ("Mc", "Me")
