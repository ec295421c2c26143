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
    for find in (_space_after_special, _strips_every_mark):
        habit = find(source, text)
        if habit is not None:
            return habit
    return None


def _space_after_special(source: Source, text: str) -> Habit | None:
    """The engine puts a space after every special token; prepend_scheme "first" puts one before the whole text only."""
    step: Mapping[str, Any] = source.content.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers") or [step]
    if not any(inner.get("prepend_scheme") == "first" for inner in steps):
        return None
    inside = [token["content"] for token in source.added if token["content"] in text]
    if not inside:
        return None
    first = min(text.index(content) for content in inside)
    return Habit("after a special token the engine puts a space that the source does not", text[:first])


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
