"""What a tokenizer takes in a GGUF file and in memory, without reading every token of a large one.

Vocabulary and merges are nearly all of a tokenizer.json of tens of megabytes, and planning needs only their number and
size: they are cut out of the bytes and counted, and the small rest is read as JSON. A file that is not laid out as the
tokenizers library writes it is read whole. None of this is trusted: `make` reads every token, and proves them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgekit.errors import BadTokenizer
from edgekit.model import SourceModel
from edgekit.strategies.gguf import pretokenizers
from edgekit.strategies.gguf.file_size import metadata_bytes
from edgekit.strategies.gguf.vocabulary import MAX_TOKENIZER_BYTES, read_source, vocabularies

READ_WHOLE_BYTES = 1_000_000
"""Up to this size a tokenizer.json is said exactly: reading it takes some milliseconds."""

_UNIGRAM = re.compile(rb'"model"\s*:\s*\{\s*"type"\s*:\s*"Unigram"')
_VOCAB = re.compile(rb'"vocab"\s*:\s*\{')
_MERGES_NEXT = re.compile(rb'\}\s*,\s*"merges"\s*:\s*\[')
_VOCAB_ENDS, _MERGES_END = re.compile(rb"\}\s*\}\s*\}\s*$"), re.compile(rb"\]\s*\}\s*\}\s*$")
# How far the ends are looked for, and how much of a file that is no tokenizer's is put up with before it is read whole.
_TAIL_BYTES, _ENTRY_BYTES, _MOST_ESCAPES = 256, 1 << 16, 1 << 20
_STRING = rb'"((?:[^"\\]|\\.)*)"'
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{3}|.)")
_TOKEN = re.compile(rb"\s*" + _STRING + rb"\s*:\s*(\d+)\s*,?")
_MERGE = re.compile(rb"\s*(?:" + _STRING + rb"|\[\s*" + _STRING + rb"\s*,\s*" + _STRING + rb"\s*\])\s*,?")
# Of a GGUF file: a text's length, a token's type or score, and all other keys, with some room.
_LENGTH_BYTES, _NUMBER_BYTES, _KEYS_BYTES = 8, 4, 900


@dataclass(frozen=True)
class VocabularySize:
    """`tokens` and `merges` as the engine keeps them, `json_merges` as tokenizer.json has them. `gguf_bytes` is every
    tokenizer key of the file with its value, give or take `uncertain_bytes`. `needs_tokenizer_json` says that the
    engine's own tokenizer is known to give other ids on some texts, so that the runtime loads the tokenizers library.
    """

    tokens: int
    merges: int
    json_merges: int
    gguf_bytes: int
    uncertain_bytes: int
    needs_tokenizer_json: bool


@dataclass(frozen=True)
class _Counted:
    number: int
    text_bytes: int


def measure_vocabulary(model: SourceModel, rows: int) -> VocabularySize:
    """The size for an embedding of `rows`; BadTokenizer for what is seen at once not to go into GGUF."""
    try:
        return _measured(model, rows)
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # a part that is of another JSON type
        name = model.text.tokenizer_json if model.text is not None else None
        raise BadTokenizer(f"{name}: not laid out as the tokenizers library writes it ({error})") from error


def _measured(model: SourceModel, rows: int) -> VocabularySize:
    path = None if model.text is None else model.text.tokenizer_json
    size = path.stat().st_size if path is not None and path.is_file() else 0
    if path is None or not READ_WHOLE_BYTES < size <= MAX_TOKENIZER_BYTES:
        return _said(model, rows)
    cut = _cut_file(path, path.stat().st_mtime_ns, size)
    if cut is None:
        return _said(model, rows)
    rest, tokens, merges = cut
    if tokens.number > rows:
        raise BadTokenizer(f"{path.name}: {tokens.number} tokens, the model has {rows} embeddings")
    return _counted(model, rows, rest, tokens, merges)


def _said(model: SourceModel, rows: int) -> VocabularySize:
    """By the likeliest way of saying the tokenizer, unproven."""
    source = read_source(model, rows)
    metadata = next(vocabularies(source, (), ())).metadata
    merges = metadata.get("tokenizer.ggml.merges", ())
    json_merges = len(source.content["model"].get("merges") or ())
    return VocabularySize(rows, len(merges), json_merges, metadata_bytes(metadata), 0, _differs(source.content))


def _counted(
    model: SourceModel, rows: int, rest: Mapping[str, Any], tokens: _Counted, merges: _Counted
) -> VocabularySize:
    """As `vocabulary` will say what was counted: texts and types; of byte-level BPE merges, of other BPE scores."""
    byte_level = pretokenizers.is_byte_level(rest)
    unused = (rows - tokens.number) * len("[PAD000000]")
    size = rows * (_LENGTH_BYTES + _NUMBER_BYTES) + tokens.text_bytes + unused
    if byte_level:
        size += merges.number * _LENGTH_BYTES + merges.text_bytes
    elif rest["model"].get("type") == "BPE":
        size += rows * _NUMBER_BYTES
    template = model.text.chat_template if model.text is not None else None
    return VocabularySize(
        tokens=rows,
        merges=merges.number if byte_level else 0,
        json_merges=merges.number,
        gguf_bytes=size + _KEYS_BYTES + len((template or "").encode()),
        uncertain_bytes=size // 100 + _KEYS_BYTES,
        needs_tokenizer_json=_differs(rest),
    )


def _differs(content: Mapping[str, Any]) -> bool:
    """Whether one of the engine's `habits` shows under this tokenizer."""
    step = content.get("pre_tokenizer") or {}
    if any(inner.get("type") == "Metaspace" for inner in step.get("pretokenizers") or [step]):
        return True
    normalizer = content.get("normalizer") or {}
    strips = normalizer.get("strip_accents")
    lowers = normalizer.get("lowercase") if strips is None else strips
    return content["model"].get("type") == "WordPiece" and bool(lowers)


@lru_cache(maxsize=16)
def _cut_file(path: Path, _changed_ns: int, _size: int) -> tuple[dict[str, Any], _Counted, _Counted] | None:
    raw = path.read_bytes()
    if _UNIGRAM.search(raw):
        raise BadTokenizer(
            f"{path.name}: a Unigram tokenizer cannot be written as GGUF here",
            "byte-level BPE, SentencePiece-style BPE and WordPiece can",
        )
    return cut(raw)


def cut(raw: bytes) -> tuple[dict[str, Any], _Counted, _Counted] | None:
    """(the JSON without vocabulary and merges, what these hold); None where the layout is not the usual one.

    Quotes inside JSON's strings are escaped, so a bare one ends a string; and what is left must be JSON with nothing
    missing but the vocabulary.
    """
    start = _VOCAB.search(raw)
    if start is None:
        return None
    between = _MERGES_NEXT.search(raw, start.end())
    ends = _VOCAB_ENDS if between is None else _MERGES_END
    last = ends.search(raw, max(len(raw) - _TAIL_BYTES, start.end()))
    if last is None:
        return None
    if between is None:
        vocab, gap, pairs = raw[start.end() : last.start()], b"", b""
    else:
        vocab, gap, pairs = raw[start.end() : between.start()], between[0], raw[between.end() : last.start()]
    try:
        rest = json.loads(raw[: start.end()] + gap + last[0])
    except (ValueError, RecursionError):
        return None
    if max(vocab.count(b"\\"), pairs.count(b"\\")) > _MOST_ESCAPES:
        return None
    tokens, merges = _count_tokens(vocab), _count_merges(pairs)
    model = rest.get("model") if isinstance(rest, dict) else None
    if not isinstance(model, dict) or model.get("vocab") != {} or model.get("type") not in ("BPE", "WordPiece"):
        return None
    if model.get("merges"):  # before the vocabulary
        return None
    return None if tokens is None or merges is None else (rest, tokens, merges)


def _count_tokens(span: bytes) -> _Counted | None:
    entry, escapes = _typical(_TOKEN, span), Counter(_ESCAPE.findall(span))
    if entry is None:
        return None
    number = (span.count(b'"') - escapes[b'"']) // 2
    ids = number + sum(number - 10**length for length in range(1, 8) if number > 10**length)  # characters of the ids
    punctuation = number * (len(entry[0]) - len(entry[1]) - len(entry[2]))
    return _Counted(number, _utf8_bytes(len(span) - punctuation - ids, escapes))


def _count_merges(span: bytes) -> _Counted | None:
    """As texts or as pairs; GGUF joins a pair by a space."""
    if not span.strip():
        return _Counted(0, 0)
    entry, escapes = _typical(_MERGE, span), Counter(_ESCAPE.findall(span))
    if entry is None:
        return None
    texts = [text for text in entry.groups() if text is not None]
    number = (span.count(b'"') - escapes[b'"']) // (2 * len(texts))
    punctuation = number * (len(entry[0]) - sum(len(text) for text in texts) - (len(texts) - 1))
    return _Counted(number, _utf8_bytes(len(span) - punctuation, escapes))


def _typical(entry: re.Pattern[bytes], span: bytes) -> re.Match[bytes] | None:
    """The second entry, which has the punctuation and white space of all that follow; the first if it is alone."""
    head = span[:_ENTRY_BYTES]
    first = entry.match(head)
    return None if first is None else entry.match(head, first.end()) or first


def _utf8_bytes(json_bytes: int, escapes: Mapping[bytes, int]) -> int:
    """Of texts that take `json_bytes` in JSON, where an escape is two bytes or six."""
    return max(json_bytes - sum(count * _saved(escape) for escape, count in escapes.items()), 0)


def _saved(escape: bytes) -> int:
    if len(escape) == 1:
        return 1
    code = int(escape[1:], 16) << 4  # to the last digit, which decides nothing here
    if code < 0x80:
        return 5
    return 4 if code < 0x800 or 0xD800 <= code < 0xE000 else 3
