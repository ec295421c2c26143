"""The proof that a GGUF vocabulary tokenizes as the source's tokenizer.json does, before any weight is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BadTokenizer
from edgekit.samples import AWKWARD_TEXTS, DECOMPOSED_TEXT
from edgekit.strategies.gguf.engine import EngineVocabulary
from edgekit.strategies.gguf.rope import Metadata
from edgekit.strategies.gguf.vocabulary import Source, Vocabulary, vocabularies
from edgekit.strategies.gguf.writer import write_header_only

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
    vocabulary: Vocabulary
    notes: tuple[str, ...]


def prove(source: Source, architecture: Metadata, workdir: Path) -> Proven:
    """The first way of saying the tokenizer that gives the source's ids on every text.

    BadTokenizer, naming the text and both lists of ids for the likeliest one, if there is none. `workdir` holds the
    vocabulary-only files for the moment.
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
    expected = {text: list(tokenizer.encode(text).ids) for text in [*texts, DECOMPOSED_TEXT]}
    first: Mismatch | str | None = None
    for vocabulary in vocabularies(source, prefix, suffix):
        fault, notes = _try(vocabulary, architecture, expected, texts, workdir / "vocabulary.gguf", source)
        if fault is None:
            return Proven(vocabulary, notes)
        first = first or fault
    raise BadTokenizer(
        f"{source.path.name}: llama.cpp has no pre-tokenizer that gives the same ids: {first}",
        "pack with an ONNX strategy, which ships the tokenizer itself",
    )


def _try(
    vocabulary: Vocabulary,
    architecture: Metadata,
    expected: Mapping[str, list[int]],
    texts: list[str],
    path: Path,
    source: Source,
) -> tuple[Mismatch | str | None, tuple[str, ...]]:
    write_header_only(path, architecture | vocabulary.metadata)
    notes: list[str] = []
    try:
        with EngineVocabulary(path) as engine:
            for text in texts:
                actual = engine.tokenize(text)
                if actual == expected[text]:
                    continue
                mismatch = Mismatch(vocabulary.label, text, expected[text], actual)
                if not _is_space_after_special(source, text):
                    return mismatch, ()
                if not notes:
                    notes.append(f"after a special token the engine puts a space that the source does not: {mismatch}")
            if engine.tokenize(DECOMPOSED_TEXT) != expected[DECOMPOSED_TEXT]:
                notes.append("the source's tokenizer composes text (NFC) and the engine does not: pass composed text")
    except BadTokenizer as error:
        return str(error), ()
    finally:
        path.unlink()
    return None, tuple(notes)


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


def _is_space_after_special(source: Source, text: str) -> bool:
    """Whether a habit of the engine explains a difference: it puts a space after every special token.

    Tokenizers with prepend_scheme "first" put theirs before the very first piece only.
    """
    step: Mapping[str, Any] = source.content.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers") or [step]
    is_first_only = any(inner.get("prepend_scheme") == "first" for inner in steps)
    return is_first_only and any(token["content"] in text for token in source.added)
