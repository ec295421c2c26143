"""What an adapter is, from its own files: its base need not be there."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgekit.adapters import Adapter, AdapterConfig
from edgekit.adapters.config import plain_method
from edgekit.errors import BadAdapter, BadModel
from edgekit.model.adapted import CONFIG, READERS
from edgekit.model.config import read_json
from edgekit.model.folder import name_of
from edgekit.model.kinds import ModelKind


def adapter_facts(folder: Path, source: str, *, allow_pickle: bool) -> dict[str, Any]:
    """What `inspect` says of it, as plain values; under "cannot_be_merged" why, where that is so."""
    raw = read_json(folder / CONFIG)
    kind = kind_of_adapter(folder, raw)
    facts: dict[str, Any] = {
        "name": name_of(folder),
        "source": source,
        "kind": kind.name,
        "kind_evidence": list(kind.evidence),
        "deployment": list(kind.deployment),
        "base": raw.get("base_model_name_or_path"),
        "base_revision": raw.get("revision"),
        "task_type": raw.get("task_type"),
    }
    try:
        config = AdapterConfig.parse(raw, source)
        with Adapter.open(folder, config, allow_pickle=allow_pickle) as adapter:
            return facts | _measured(adapter)
    except BadAdapter as error:
        return facts | {"cannot_be_merged": str(error)}


def _measured(adapter: Adapter) -> dict[str, Any]:
    """What its tensors come to."""
    config, tensors = adapter.config, adapter.store.tensors
    dtypes: Counter[str] = Counter()
    for info in tensors.values():
        dtypes[info.dtype] += info.elements
    return {
        "parameters": sum(dtypes.values()),
        "stored_as": dict(dtypes),
        "ranks": sorted({config.rank_of(module) for module in adapter.products}),
        "scalings": sorted({round(config.scaling(module), 6) for module in adapter.products}),
        "modules_changed": len(adapter.products),
        "changes": sorted({module.rsplit(".", 1)[-1] for module in adapter.products}),
        "replaces": sorted(adapter.saved),
        "trained_rows": sum(tensors[key].shape[0] for key in adapter.tokens.values()),
        "own_tokenizer": any((Path(adapter.where) / name).is_file() for name in READERS),
    }


def kind_of_adapter(folder: Path, raw: dict[str, Any]) -> ModelKind:
    """The kind of an adapter, from adapter_config.json and the folder's card alone: its base need not be there."""
    method = str(raw.get("peft_type") or "unnamed")
    base = str(raw.get("base_model_name_or_path") or "")
    evidence = [f"adapter_config.json: peft_type {method}, base {base or 'not named'}"]
    quantized = _trained_on_quantized(folder, raw, base)
    if method != "LORA":
        elsewhere = "only LoRA adapters are merged: merge it where it was trained, and pack that"
        return ModelKind(f"adapter ({plain_method(method)})", tuple(evidence), (elsewhere,))
    variant = "DoRA" if raw.get("use_dora") else "rsLoRA" if raw.get("use_rslora") else "LoRA"
    follows = (
        "merged into its full-precision base before anything is quantized; pack and merge do it",
        "an adapter saves memory in training and no byte in deployment: the bundle is as large as the base's",
    )
    if quantized is None:
        return ModelKind(f"adapter ({variant})", tuple(evidence), follows)
    name = "QLoRA" if variant == "LoRA" else f"QLoRA, {variant}"
    note = (
        "it was trained beside rounded weights, so that on the exact ones it answers a little differently: measure it"
    )
    return ModelKind(f"adapter ({name})", (*evidence, quantized), (*follows, note))


_QUANTIZED_NAME = re.compile(r"[-_.](bnb|4bit|4-bit|8bit|int4|gptq|awq|nf4)([-_.]|$)", re.IGNORECASE)
_QUANTIZED_CARD = re.compile(r"load_in_4bit\W+true|bnb_4bit_quant_type|\bqlora\b|load_in_8bit\W+true", re.IGNORECASE)


def _trained_on_quantized(folder: Path, raw: dict[str, Any], base: str) -> str | None:
    """What says that the base was quantized while the adapter was trained, None where nothing does."""
    if raw.get("loftq_config") or raw.get("use_qalora"):
        return "adapter_config.json: it was made for a quantized base"
    if _QUANTIZED_NAME.search(base):
        return f"its base is quantized, by its name: {base}"
    path = Path(base) / "config.json" if base else None
    with suppress(BadModel, OSError):  # a name too long for a file is one
        if path is not None and path.is_file() and read_json(path).get("quantization_config"):
            return f"its base is quantized: {path}"
    card = folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            found = _QUANTIZED_CARD.search(file.read(65536))
        if found:
            return f"its card says {' '.join(found[0].split())} (README.md)"
    return None
