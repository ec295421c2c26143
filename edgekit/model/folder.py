"""Opening a folder in the Hugging Face layout, plain or sentence-transformers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, UnsafeModel, UnsupportedModel
from edgekit.model.config import (
    detect_task,
    kind_of,
    labels_of,
    max_tokens_of,
    normalise_config,
    read_json,
)
from edgekit.model.image import read_image_setup
from edgekit.model.licence import read_licence
from edgekit.model.pooling import SentenceSetup, read_sentence_setup
from edgekit.model.quantization import read_storage
from edgekit.model.source import ImageSetup, SourceModel, Task, TextSetup
from edgekit.model.tokenizer import TOKENIZER_FILES, read_chat_template, tokenizer_json
from edgekit.model.weights import Weights, find_weights

_IMAGE_TASKS = ("image-classification",)
_OTHER_FILES = ("config.json", "generation_config.json", "preprocessor_config.json", "README.md")


def open_folder(
    folder: Path,
    *,
    source: str,
    task: Task | None,
    allow_pickle: bool,
    trust_remote_code: bool,
    cache: Path,
    revision: str | None = None,
    name: str | None = None,
) -> SourceModel:
    """The model in `folder`, from configuration and headers; a converted tokenizer is written to `cache`."""
    sentence = read_sentence_setup(folder)
    encoder = sentence.encoder if sentence else folder
    config = _read_config(encoder)
    detected, architecture = _detect(config, sentence, task)
    evidence = [f"task {detected}: {'modules.json' if sentence else architecture or config.get('model_type')}"]
    evidence += _check_remote_code(config, encoder, architecture, trust_remote_code)
    weights = find_weights(encoder, allow_pickle)
    storage = read_storage(encoder, name or name_of(folder), config, weights.tensors)
    text, pooling, normalize = None, None, False
    image: ImageSetup | None = None
    if detected in _IMAGE_TASKS:
        image = read_image_setup(encoder, config)
    else:
        text, notes = _text_setup(encoder, config, sentence, cache)
        evidence += notes
    if detected == "embedding":
        pooling, normalize = (sentence.pooling, sentence.normalize) if sentence else ("mean", False)
        evidence += sentence.evidence if sentence else ("pooling mean, not normalised: assumed, nothing states it",)
    licence, licence_evidence = read_licence(folder)
    return SourceModel(
        name=name or name_of(folder),
        source=source,
        format="hf",
        task=detected,
        kind=kind_of(detected, text.chat_template if text else None),
        architecture=architecture,
        folder=encoder,
        config=config,
        tensors=storage.tensors,
        files=_files(encoder, folder, weights, sentence),
        revision=revision,
        licence=licence,
        quantized=storage.quantized,
        quantization=storage.quantization,
        labels=labels_of(config) if detected.endswith("classification") else (),
        text=text,
        image=image,
        pooling=pooling,
        normalize=normalize,
        evidence=(*evidence, *licence_evidence, *storage.evidence),
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )


def name_of(path: Path) -> str:
    """A name made of the folder's or file's own: lower case, letters, digits, dots, hyphens and underscores."""
    parts = [part for part in path.resolve().parts if part != path.anchor]
    chosen = parts[-1] if parts else "model"
    hub = next((part for part in reversed(parts) if part.startswith("models--")), None)
    if hub and re.fullmatch(r"[0-9a-f]{40}", chosen):
        chosen = hub.split("--")[-1]
    elif chosen in ("model", "0_Transformer") and len(parts) > 1:
        chosen = parts[-2]
    return re.sub(r"[^a-z0-9._-]+", "-", chosen.lower()).strip("-._") or "model"


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if path.is_file():
        return normalise_config(read_json(path))
    single = sorted(file.name for ending in ("*.gguf", "*.onnx", "onnx/*.onnx") for file in folder.glob(ending))
    remedy = f"open the file itself: {folder / single[0]}" if single else "a folder in the Hugging Face layout has one"
    raise BadModel(f"{folder} has no config.json", remedy)


def _detect(config: Mapping[str, Any], sentence: SentenceSetup | None, task: Task | None) -> tuple[Task, str]:
    names = config.get("architectures")
    if sentence:
        detected: Task = "embedding"
        architecture = str(names[0]) if isinstance(names, list) and names else ""
    else:
        detected, architecture = detect_task(config)
    if task is not None and task != detected:
        if task == "embedding" and detected == "causal-lm":
            raise UnsupportedModel(
                f"{architecture} as an embedding model needs modules.json, which says how it is pooled"
            )
        raise UnsupportedModel(
            f"task {task} was asked for, {architecture or 'the model'} does {detected}",
            f"leave --task out or say {detected}",
        )
    return detected, architecture


def _check_remote_code(config: Mapping[str, Any], folder: Path, architecture: str, permitted: bool) -> list[str]:
    """Evidence lines; UnsafeModel where only the model's own code could build it and nobody permitted that."""
    if not config.get("auto_map"):
        return []
    if _known_to_transformers(str(config.get("model_type", "")), architecture):
        return ["config.json names remote code: not used, transformers has this architecture itself"]
    if permitted:
        return ["remote code from the model's own folder is run, by permission"]
    remedy = "read that code, then pass --trust-remote-code"
    raise UnsafeModel(
        f"{folder}: {architecture or 'the model'} needs its own Python code (auto_map in config.json)", remedy
    )


def _known_to_transformers(model_type: str, architecture: str) -> bool:
    try:
        import transformers
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    except ImportError:
        return False
    return model_type in CONFIG_MAPPING_NAMES and hasattr(transformers, architecture)


def _text_setup(
    folder: Path, config: Mapping[str, Any], sentence: SentenceSetup | None, cache: Path
) -> tuple[TextSetup, list[str]]:
    path = folder / "tokenizer_config.json"
    tokenizer_config = read_json(path) if path.is_file() else {}
    limit = max_tokens_of(config, tokenizer_config)
    if sentence and sentence.max_tokens:
        limit = min(limit, sentence.max_tokens)
    tokenizer, notes = tokenizer_json(folder, cache, lowercase=sentence.lowercase if sentence else False)
    return TextSetup(limit, tokenizer, read_chat_template(folder, tokenizer_config)), notes


def _files(encoder: Path, folder: Path, weights: Weights, sentence: SentenceSetup | None) -> tuple[Path, ...]:
    """What defines the model, relative to `encoder`, sorted."""
    own = [Path(name) for name in (*_OTHER_FILES, *TOKENIZER_FILES) if (encoder / name).is_file()]
    modules = [Path(os.path.relpath(folder / file, encoder)) for file in sentence.files] if sentence else []
    return tuple(sorted({*own, *weights.files, *modules}))
