"""A model folder's tokenizer.json (converted into the cache where only older files exist) and its chat template."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, BadTokenizer
from edgekit.model.config import normalise_tokenizer_config, read_json

# What defines a tokenizer, in the order of preference; also part of what defines the model.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
MAX_TOKENIZER_BYTES = 256 * 1024 * 1024
MAX_TEMPLATE_BYTES = 1024 * 1024


def tokenizer_json(folder: Path, cache: Path, lowercase: bool = False) -> tuple[Path, list[str]]:
    """(path, evidence). BadTokenizer where there is none, it is damaged, or older files cannot be converted.

    `lowercase` is sentence-transformers' wish that text be lowered first; it is written into the tokenizer itself.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        notes: list[str] = []
    else:
        path, notes = _converted(folder, cache)
    tokenizer = _check(path)
    if lowercase and not _lowers(tokenizer.get("normalizer")):
        return _lowered(tokenizer, cache), [*notes, "text is lowered first: sentence_bert_config.json"]
    return path, notes


def _check(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_TOKENIZER_BYTES:
        raise BadTokenizer(f"{path}: {size} bytes, the limit is {MAX_TOKENIZER_BYTES}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadTokenizer(
            f"{path}: not JSON: {error}", "the file is cut short or damaged: download it again"
        ) from error
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(model, dict) or not model.get("vocab"):
        raise BadTokenizer(f"{path}: no vocabulary in it (model.vocab)", "save the tokenizer with save_pretrained()")
    return value  # type: ignore[no-any-return]


def _converted(folder: Path, cache: Path) -> tuple[Path, list[str]]:
    """A tokenizer.json made by transformers from vocab.txt or a SentencePiece file, kept in `cache` by content."""
    found = [name for name in _VOCABULARIES if (folder / name).is_file()]
    remedy = "save it with tokenizer.save_pretrained() of transformers, use_fast=True"
    if not found:
        raise BadTokenizer(f"{folder} has no tokenizer.json and no vocabulary to make one of", remedy)
    digest = hashlib.sha256()
    for name in (*TOKENIZER_FILES, "config.json"):
        if (folder / name).is_file():
            digest.update(f"{name}\0".encode() + (folder / name).read_bytes())
    target = cache / "tokenizers" / f"{digest.hexdigest()[:32]}.json"
    if not target.is_file():
        write_atomically(target, _convert(folder, found[0], remedy))
    return target, [f"tokenizer.json made from {found[0]} by transformers"]


def _convert(folder: Path, found: str, remedy: str) -> str:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise BadTokenizer(
            f"{folder} has {found} and no tokenizer.json", f"pip install transformers, or {remedy}"
        ) from error
    from edgekit.quiet import quiet_transformers

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
        return str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # transformers raises anything here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadTokenizer(f"{folder}: {found} cannot be converted to tokenizer.json: {reason}", remedy) from error


def _lowers(normalizer: Any) -> bool:
    if not isinstance(normalizer, Mapping):
        return False
    if normalizer.get("type") == "Sequence":
        return any(_lowers(part) for part in normalizer.get("normalizers", []))
    return normalizer.get("type") == "Lowercase" or bool(normalizer.get("lowercase"))


def _lowered(tokenizer: dict[str, Any], cache: Path) -> Path:
    inner = tokenizer.get("normalizer")
    parts = [{"type": "Lowercase"}, *([inner] if inner else [])]
    text = json.dumps({**tokenizer, "normalizer": {"type": "Sequence", "normalizers": parts}}, ensure_ascii=False)
    target = cache / "tokenizers" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    if not target.is_file():
        write_atomically(target, text)
    return target


def write_atomically(target: Path, text: str) -> None:
    """Write beside `target` and rename, so that a reader sees all of it or none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)


def read_chat_template(folder: Path, tokenizer_config: Mapping[str, Any]) -> str | None:
    """The template as text: chat_template.jinja, else chat_template.json, else the one in tokenizer_config.json."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        if path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise BadModel(f"{path}: {path.stat().st_size} bytes, the limit is {MAX_TEMPLATE_BYTES}")
        return path.read_text(encoding="utf-8") or None
    other = folder / "chat_template.json"
    template = read_json(other).get("chat_template") if other.is_file() else None
    return _one_template(template or normalise_tokenizer_config(tokenizer_config).get("chat_template"), folder)


def _one_template(template: Any, folder: Path) -> str | None:
    """Several templates come as a list of {name, template}: the one named default is the chat."""
    if template is None or isinstance(template, str):
        return template or None
    try:
        named = {str(row["name"]): str(row["template"]) for row in template}
    except (KeyError, TypeError) as error:
        raise BadModel(f"{folder}: chat_template is neither text nor a list of name and template") from error
    return named.get("default")
