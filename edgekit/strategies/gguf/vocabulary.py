"""tokenizer.json said in GGUF: tokens, types, merges or scores, special ids, flags, chat template.

llama.cpp aborts the process on what it takes for granted (unique tokens, byte tokens, special ids that exist), so that
is checked here. Whether the result tokenizes as the source does is proven in `parity`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgekit.errors import BadTokenizer
from edgekit.model import SourceModel
from edgekit.strategies.gguf import pretokenizers
from edgekit.strategies.gguf.rope import Metadata

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
MAX_TOKENIZER_BYTES = 200_000_000
_SPACE = "▁"
# The engine reads habits from a model's name: one that holds "phi-3" strips white space after special tokens, and needs
# these tokens. So that name is given where it is meant, and withheld where it is not.
_STRIPPING = {"</s>", "<unk>", "<s>", "<|endoftext|>"}
_NAMED_HABITS = re.compile(r"(phi|modern)-?(3|bert)", re.IGNORECASE)


@dataclass(frozen=True)
class Vocabulary:
    """One way of saying the tokenizer. `label` names it in messages; `metadata` holds every tokenizer.* key."""

    label: str
    metadata: Metadata

    def named(self, pre: str) -> Vocabulary:
        return replace(self, label=pre, metadata=self.metadata | {"tokenizer.ggml.pre": pre})


@dataclass(frozen=True)
class Source:
    """The files: `content` is tokenizer.json, `config` tokenizer_config.json; `size` counts the embedding's rows."""

    name: str
    path: Path
    content: Mapping[str, Any]
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    model_config: Mapping[str, Any]
    chat_template: str | None
    size: int

    @property
    def added(self) -> list[Mapping[str, Any]]:
        return list(self.content.get("added_tokens") or [])

    @cached_property
    def ids(self) -> dict[str, int]:
        """Every token's id."""
        vocab = self.content["model"]["vocab"]
        known = dict(vocab) if isinstance(vocab, dict) else {piece: index for index, (piece, _) in enumerate(vocab)}
        return known | {token["content"]: token["id"] for token in self.added}


def read_source(model: SourceModel, size: int) -> Source:
    """BadTokenizer where there is no tokenizer.json, or it is not one, or it names ids beyond the embedding."""
    path = None if model.text is None else model.text.tokenizer_json
    if path is None or not path.is_file():
        raise BadTokenizer(f"{model.source}: no tokenizer.json", "save the tokenizer with transformers' fast class")
    content = _read_json(path)
    source = Source(
        name=model.name,
        path=path,
        content=content,
        config=_read_json(path.with_name("tokenizer_config.json")),
        generation=_read_json(model.folder / "generation_config.json") if model.folder else {},
        model_config=model.config,
        chat_template=None if model.text is None else model.text.chat_template,
        size=size,
    )
    if not isinstance(content.get("model"), dict) or "vocab" not in content["model"]:
        raise BadTokenizer(f"{path.name}: has no model with a vocabulary")
    highest = max(source.ids.values(), default=-1)
    if highest >= size:
        raise BadTokenizer(f"{path.name}: token id {highest} is beyond the model's {size} embeddings")
    return source


def _read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; empty if there is no such file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise BadTokenizer(f"{path.name}: {path.stat().st_size} bytes, the limit is {MAX_TOKENIZER_BYTES}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadTokenizer(f"{path.name}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadTokenizer(f"{path.name}: not a JSON object")
    return value


def vocabularies(source: Source, prefix: tuple[int, ...], suffix: tuple[int, ...]) -> Iterator[Vocabulary]:
    """Ways to say the tokenizer, likeliest first. `prefix` and `suffix` are the ids it puts around a text."""
    kind = source.content["model"].get("type")
    common = _special_metadata(source, prefix, suffix)
    if kind == "WordPiece":
        yield _wordpiece(source, common)
    elif kind == "BPE" and pretokenizers.is_byte_level(source.content):
        base = _byte_level(source, common)
        for name in pretokenizers.candidates(source.content):
            yield base.named(name)
    elif kind == "BPE":
        pieces = _sentencepiece(source, common)
        yield pieces
        if source.ids.keys() >= _STRIPPING and any(token.get("rstrip") for token in source.added):
            yield Vocabulary(
                "SentencePiece, stripping after special tokens",
                pieces.metadata | {"general.name": f"phi-3 {source.name}"},
            )
        yield _merged_pieces(source, common)
    else:
        raise BadTokenizer(
            f"{source.path.name}: a {kind} tokenizer cannot be written as GGUF here",
            "byte-level BPE, SentencePiece-style BPE and WordPiece can",
        )


def _special_metadata(source: Source, prefix: tuple[int, ...], suffix: tuple[int, ...]) -> Metadata:
    """Special ids and what is put around a text, which is measured rather than read: configurations contradict it."""
    if len(prefix) > 1 or len(suffix) > 1:
        raise BadTokenizer(
            f"{source.path.name}: puts ids {list(prefix)} before and {list(suffix)} after a text, the engine one each"
        )
    ids = {name: _special_id(source, name) for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")}
    wordpiece = source.content["model"].get("type") == "WordPiece"
    if prefix:
        ids["bos"] = prefix[0]
    if suffix:
        ids["sep" if wordpiece else "eos"] = suffix[0]
    if wordpiece:
        ids["bos"] = ids["bos"] if ids["bos"] is not None else ids["cls"]
        ids["eos"] = ids["eos"] if ids["eos"] is not None else ids["sep"]
    stops = source.generation.get("eos_token_id", source.model_config.get("eos_token_id"))
    others = [stop for stop in (stops if isinstance(stops, list) else [stops]) if isinstance(stop, int)]
    others = [stop for stop in others if stop != ids["eos"]]
    metadata: Metadata = {"general.name": _NAMED_HABITS.sub(r"\1 \2", source.name)}
    metadata |= {"tokenizer.ggml.add_bos_token": bool(prefix), "tokenizer.ggml.add_eos_token": bool(suffix)}
    if wordpiece:
        metadata |= {"tokenizer.ggml.add_eos_token": False, "tokenizer.ggml.add_sep_token": bool(suffix)}
    keys = {"unk": "unknown", "sep": "seperator", "pad": "padding"}  # "seperator" is how GGUF spells it
    for name, number in (ids | dict(zip(("eot", "eom"), others, strict=False))).items():
        if number is not None:
            metadata[f"tokenizer.ggml.{keys.get(name, name)}_token_id"] = _in_range(source, name, number)
    if source.chat_template:
        metadata["tokenizer.chat_template"] = source.chat_template
    return metadata


def _special_id(source: Source, name: str) -> int | None:
    """The id by the tokenizer's configuration, else by the model's."""
    token = source.config.get(f"{name}_token")
    text = token.get("content") if isinstance(token, dict) else token
    if isinstance(text, str) and text in source.ids:
        return source.ids[text]
    if name == "unk" and isinstance(source.content["model"].get("unk_token"), str):
        return source.ids.get(source.content["model"]["unk_token"])
    number = source.model_config.get(f"{name}_token_id")
    number = number[0] if isinstance(number, list) and number else number
    return number if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < source.size else None


def _in_range(source: Source, name: str, number: int) -> int:
    if not 0 <= number < source.size:
        raise BadTokenizer(f"{name} token id {number} is beyond the model's {source.size} embeddings")
    return number


def _tokens(source: Source) -> tuple[list[str], list[int]]:
    """Token texts by id, and their types; ids without a token are filled as unused."""
    texts: list[str | None] = [None] * source.size
    types = [UNUSED] * source.size
    for text, number in source.ids.items():
        texts[number], types[number] = text, NORMAL
    for token in source.added:
        types[token["id"]] = CONTROL if token.get("special") else USER_DEFINED
    filled = [f"[PAD{number}]" if text is None else text for number, text in enumerate(texts)]
    return filled, types


def _with_tokens(source: Source, metadata: Metadata, tokens: list[str], types: list[int]) -> Metadata:
    seen: dict[str, int] = {}
    for number, text in enumerate(tokens):
        if text in seen:  # would abort the engine's process
            raise BadTokenizer(
                f"{source.path.name}: tokens {seen[text]} and {number} are both {text!r} as the engine would store them"
            )
        seen[text] = number
    return metadata | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}


def _merges(source: Source) -> list[tuple[str, str]]:
    pairs = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in _raw_merges(source)]
    if any(len(pair) != 2 for pair in pairs):
        raise BadTokenizer(f"{source.path.name}: a merge that is not of two tokens")
    return [(str(pair[0]), str(pair[1])) for pair in pairs]


def _raw_merges(source: Source) -> list[Any]:
    return list(source.content["model"].get("merges") or [])


def _byte_level(source: Source, common: Metadata) -> Vocabulary:
    tokens, types = _tokens(source)
    metadata = _with_tokens(source, common, tokens, types)
    metadata["tokenizer.ggml.model"] = "gpt2"
    metadata["tokenizer.ggml.merges"] = [f"{left} {right}" for left, right in _merges(source)] or [" "]
    return Vocabulary("", metadata)


def _sentencepiece(source: Source, common: Metadata) -> Vocabulary:
    """llama.cpp merges the pair with the best score of its result; a merge's rank says the same order."""
    tokens, types = _tokens(source)
    for byte in range(256):
        name = f"<0x{byte:02X}>"
        if name in source.ids:
            types[source.ids[name]] = BYTE
        elif byte > 127 or chr(byte) not in source.ids:
            raise BadTokenizer(f"{source.path.name}: the byte token {name} is missing, the engine needs all 256")
    merges = _merges(source)
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    tokens = [
        text.replace(_SPACE, " ") if kind == USER_DEFINED else text for text, kind in zip(tokens, types, strict=True)
    ]
    metadata = _with_tokens(source, common, tokens, types)
    metadata |= {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": [-float(ranks.get(text, len(merges))) for text in tokens],
        "tokenizer.ggml.add_space_prefix": _prepends_space(source.content),
    }
    return Vocabulary("SentencePiece", metadata)


def _merged_pieces(source: Source, common: Metadata) -> Vocabulary:
    """The same pieces with their merges as ranked pairs, which llama.cpp knows for Gemma 4; no space is put before."""
    metadata = dict(_sentencepiece(source, common).metadata)
    del metadata["tokenizer.ggml.scores"]
    metadata |= {
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.pre": "gemma4",
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in _merges(source)] or [" "],
        "tokenizer.ggml.add_space_prefix": False,
    }
    return Vocabulary("ranked merges of pieces", metadata)


def _prepends_space(content: Mapping[str, Any]) -> bool:
    """Whether a space is put before the text, by the normalizer or by a Metaspace pre-tokenizer."""
    for part in (content.get("normalizer"), content.get("pre_tokenizer")):
        steps = (part or {}).get("normalizers") or (part or {}).get("pretokenizers") or [part or {}]
        for step in steps:
            if step.get("type") == "Prepend" and step.get("prepend") == _SPACE:
                return True
            if step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") != "never":
                return bool(step.get("add_prefix_space", True))
    return False


def _wordpiece(source: Source, common: Metadata) -> Vocabulary:
    """Word starts carry the space, continuations lose their ##."""
    tokens, types = _tokens(source)
    prefix = str(source.content["model"].get("continuing_subword_prefix", "##"))
    for number, text in enumerate(tokens):
        if types[number] == NORMAL:
            tokens[number] = text.removeprefix(prefix) if text.startswith(prefix) else _SPACE + text
            tokens[number] = tokens[number] or f"[EMPTY{number}]"
    metadata = _with_tokens(source, common, tokens, types)
    for key in ("bos", "seperator", "unknown"):
        if f"tokenizer.ggml.{key}_token_id" not in metadata:
            raise BadTokenizer(f"{source.path.name}: no {key} token, which the engine's WordPiece needs")
    metadata |= {"tokenizer.ggml.model": "bert", "tokenizer.ggml.pre": "default"}
    normalizer = source.content.get("normalizer") or {}
    for key in ("lowercase", "strip_accents"):
        if isinstance(normalizer.get(key), bool):
            metadata[f"tokenizer.ggml.normalizer.{key}"] = normalizer[key]
    return Vocabulary("WordPiece", metadata)
