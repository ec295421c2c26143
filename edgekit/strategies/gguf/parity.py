"""The proof that a GGUF vocabulary tokenizes as the source's tokenizer.json does, before any weight is written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import BadTokenizer
from edgekit.samples import AWKWARD_TEXTS, DECOMPOSED_TEXT
from edgekit.strategies.gguf.engine import EngineVocabulary
from edgekit.strategies.gguf.habits import find_habit
from edgekit.strategies.gguf.rope import Metadata
from edgekit.strategies.gguf.vocabulary import Source, Vocabulary, vocabularies
from edgekit.strategies.gguf.writer import write_header_only

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHOWN_IDS = 12


@dataclass(frozen=True)
class Mismatch:
    """A text on which the two differ, from the first id that does."""

    vocabulary: str
    text: str
    expected: list[int]
    actual: list[int]

    def __str__(self) -> str:
        pairs = zip(self.expected, self.actual, strict=False)
        same = next(
            (at for at, (one, other) in enumerate(pairs) if one != other), min(len(self.expected), len(self.actual))
        )
        shown = [ids[same : same + _SHOWN_IDS] for ids in (self.expected, self.actual)]
        return f"{self.text[:60]!r} from id {same}: {shown[0]} expected, {shown[1]} as {self.vocabulary}"


@dataclass(frozen=True)
class Proven:
    """The vocabulary, and where the engine's use of it still differs: `exact` says that it gives the source's ids on
    every text, once that is composed (NFC) if `composes`.
    """

    vocabulary: Vocabulary
    notes: tuple[str, ...]
    exact: bool
    composes: bool


def prove(source: Source, architecture: Metadata, workdir: Path) -> Proven:
    """The first way of saying the tokenizer that gives the source's ids on every text.

    BadTokenizer, naming the text and both lists of ids for the likeliest one, if there is none. Differences that a
    known habit of the engine explains are named in the notes, and the bundle then tokenizes with tokenizer.json.
    `workdir` holds vocabulary-only files meanwhile.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(source.path))
    except Exception as error:  # the binding raises bare Exception
        raise BadTokenizer(f"{source.path.name}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    start = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
    prefix, suffix = tuple(whole[:start]), tuple(whole[start + len(bare) :])
    texts = [*AWKWARD_TEXTS, *_around_added_tokens(source)]
    first: Mismatch | str | None = None
    for vocabulary in vocabularies(source, prefix, suffix):
        found = _try(vocabulary, architecture, tokenizer, texts, workdir / "vocabulary.gguf", source)
        if isinstance(found, Proven):
            return found
        first = first or found
    raise BadTokenizer(
        f"{source.path.name}: llama.cpp has no pre-tokenizer that gives the same ids: {first}",
        "pack with an ONNX strategy, which ships the tokenizer itself",
    )


def _try(
    vocabulary: Vocabulary, architecture: Metadata, tokenizer: Tokenizer, texts: list[str], path: Path, source: Source
) -> Proven | Mismatch | str:
    """The vocabulary with what is to be known of it, or what speaks against it."""
    write_header_only(path, architecture | vocabulary.metadata)
    notes: dict[str, str] = {}
    try:
        with EngineVocabulary(path) as engine:
            for text in texts:
                mismatch = _compare(vocabulary, tokenizer, engine, text)
                if mismatch is None:
                    continue
                habit = find_habit(source, text)
                if habit is None:
                    return mismatch
                still = _compare(vocabulary, tokenizer, engine, habit.untouched)
                if still is not None:
                    return still
                notes.setdefault(habit.note, f"{habit.note}: {mismatch}")
            differs = _compare(vocabulary, tokenizer, engine, DECOMPOSED_TEXT) is not None
    except BadTokenizer as error:
        return error.message
    finally:
        path.unlink()
    composes = differs and _composes(tokenizer)
    exact = not notes and differs == composes
    if differs:
        note = "decomposed letters (NFD) are other ids in the engine's tokenizer: pass composed text (NFC)"
        notes.setdefault(note, note)
    return Proven(vocabulary, tuple(notes.values()), exact, composes)


def _composes(tokenizer: Tokenizer) -> bool:
    """Whether the source reads decomposed letters as the composed ones."""
    composed = unicodedata.normalize("NFC", DECOMPOSED_TEXT)
    return bool(tokenizer.encode(composed).ids == tokenizer.encode(DECOMPOSED_TEXT).ids)


def _compare(vocabulary: Vocabulary, tokenizer: Tokenizer, engine: EngineVocabulary, text: str) -> Mismatch | None:
    expected, actual = list(tokenizer.encode(text).ids), engine.tokenize(text)
    return None if expected == actual else Mismatch(vocabulary.label, text, expected, actual)


def _around_added_tokens(source: Source) -> Iterator[str]:
    """Texts with the added tokens inside: the first and last eight, and those that strip white space.

    White space stands beside a token only where the source does not strip it before the token: no engine does that, and
    the tokens concerned (<mask>) are not for prompts.
    """
    added = source.added
    chosen = {token["content"]: token for token in [*added[:8], *added[-8:]]}
    chosen |= {token["content"]: token for token in added if token.get("rstrip")}
    for text, token in chosen.items():
        before = "" if token.get("lstrip") else " "
        yield f"a{text}b"
        yield f"x{before}{text} y"
        yield f"{text}\n{text}"
