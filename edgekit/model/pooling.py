"""sentence-transformers' modules.json: which modules follow the encoder, and what they do to its hidden state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model.config import MAX_JSON_BYTES, read_json
from edgekit.model.source import Pooling

_MODES: Mapping[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
_FLAGS: Mapping[str, str] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


@dataclass(frozen=True)
class SentenceSetup:
    """What modules.json adds to an encoder. `encoder` is its folder; `files` are relative to the opened folder."""

    encoder: Path
    pooling: Pooling
    normalize: bool
    max_tokens: int | None
    lowercase: bool
    files: tuple[Path, ...]
    evidence: tuple[str, ...]


def read_sentence_setup(folder: Path) -> SentenceSetup | None:
    """The setup in `folder`/modules.json, None without that file; UnsupportedModel names a module nobody here packs."""
    path = folder / "modules.json"
    if not path.is_file():
        return None
    modules = _read_modules(path)
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        odd = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
        raise UnsupportedModel(
            f"{path}: {'module ' + odd[0] if odd else 'the order ' + ', '.join(kinds)} is not packed",
            "supported: Transformer, Pooling, then an optional Normalize",
        )
    encoder, pooling_folder = folder / modules[0][1], folder / modules[1][1]
    pooling_file = pooling_folder / "config.json"
    if not pooling_file.is_file():
        raise BadModel(f"{pooling_file} is missing: modules.json names it", "download the whole folder again")
    pooling = _read_pooling(pooling_file)
    text_file = encoder / "sentence_bert_config.json"
    text = read_json(text_file) if text_file.is_file() else {}
    prompt_file = folder / "config_sentence_transformers.json"
    evidence = [f"pooling {pooling}{', L2-normalised' if len(kinds) == 3 else ''}: modules.json"]
    evidence += _prompt_evidence(prompt_file)
    files = [path, pooling_file, *(file for file in (text_file, prompt_file) if file.is_file())]
    return SentenceSetup(
        encoder=encoder,
        pooling=pooling,
        normalize=len(kinds) == 3,
        max_tokens=_max_tokens(text, text_file),
        lowercase=bool(text.get("do_lower_case", False)),
        files=tuple(file.relative_to(folder) for file in files),
        evidence=tuple(evidence),
    )


def _read_modules(path: Path) -> list[tuple[str, str]]:
    """(kind, folder) of each module; the kind is the last part of its dotted class name."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BadModel(f"{path}: {path.stat().st_size} bytes, the limit is {MAX_JSON_BYTES}")
    try:
        rows: Any = json.loads(path.read_bytes())
        modules = [(str(row["type"]).rsplit(".", 1)[-1], str(row["path"])) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadModel(f"{path}: not a list of modules with type and path") from error
    for _, sub in modules:
        if Path(sub).is_absolute() or ".." in Path(sub).parts:
            raise BadModel(f"{path}: the module path {sub!r} leaves the folder")
    return modules


def _read_pooling(path: Path) -> Pooling:
    config = read_json(path)
    mode = config.get("pooling_mode")
    modes = [str(mode)] if mode else [name for flag, name in _FLAGS.items() if config.get(flag)]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise UnsupportedModel(
            f"{path}: pooling {' + '.join(modes) or 'none'} is not packed",
            "supported: one of mean, cls, max, last token",
        )
    return _MODES[modes[0]]


def _max_tokens(text: Mapping[str, Any], path: Path) -> int | None:
    value = text.get("max_seq_length")
    if value is None:
        return None
    if not isinstance(value, int) or value < 1:
        raise BadModel(f"{path}: max_seq_length is {value!r}, a positive integer is expected")
    return value


def _prompt_evidence(path: Path) -> list[str]:
    """A model that wants a prompt before its texts says so; the app has to put it there."""
    if not path.is_file():
        return []
    prompts = read_json(path).get("prompts") or {}
    said = {name: text for name, text in prompts.items() if text} if isinstance(prompts, dict) else {}
    return [f"prompts the app must put before its texts: {json.dumps(said, ensure_ascii=False)}"] if said else []
