"""A folder in the Hugging Face layout for a shape: configuration, random weights, tokenizer or image processor."""

from __future__ import annotations

import json
import math
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.quiet import quiet_transformers
from harness.shapes import Shape
from harness.vocabularies import byte_pairs, word_pieces

# Weights repeat after so many values: 600M of them are written in a second. Each tensor begins elsewhere, or exporters
# would store those that are the same once.
_DRAWN = 1 << 22
_STEP = 7919
_COUNTER = "num_batches_tracked"
_PREPROCESSOR = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def write_checkpoint(shape: Shape, folder: Path, *, headers_only: bool = False) -> Path:
    """`folder`, filled. Decoders are stored as bfloat16, the others as float32. With `headers_only` the file of weights
    is as long as it should be, with a hole where they would be: enough to plan with.
    """
    folder.mkdir(parents=True)
    config, tensors = _described(shape)
    dtype = "BF16" if shape.kind == "decoder" else "F32"
    _write_json(folder / "config.json", config | {"torch_dtype": "bfloat16" if dtype == "BF16" else "float32"})
    _write_weights(folder / "model.safetensors", tensors, dtype, headers_only)
    vocabulary = int(config.get("vocab_size", 0))
    if shape.kind == "decoder":
        byte_pairs(folder, vocabulary, shape.model)
    elif shape.kind == "picture":
        edge = int(shape.config.get("image_size", 224))
        # ViT's processor with a square size resizes directly, whatever the net behind it.
        size = {"size": {"height": edge, "width": edge}, "image_processor_type": "ViTImageProcessor"}
        _write_json(folder / "preprocessor_config.json", _PREPROCESSOR | size)
    else:
        word_pieces(folder, vocabulary)
        _write_sentence_encoder(folder, config)
    return folder


def _described(shape: Shape) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The whole configuration, and the shape of every tensor that is stored; counters of batches have none: ()."""
    import torch
    import transformers

    config = getattr(transformers, f"{shape.model}Config")(**shape.config)
    with quiet_transformers(), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, shape.architecture)(config)
    tied = set(model._tied_weights_keys or ()) if config.tie_word_embeddings else set()
    described = config.to_dict() | {"architectures": [shape.architecture]}
    return described, {name: tuple(each.shape) for name, each in model.state_dict().items() if name not in tied}


def _write_weights(path: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str, headers_only: bool) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in tensors.items():
        own = "I64" if name.endswith(_COUNTER) else dtype
        size = {"F32": 4, "BF16": 2, "I64": 8}[own] * math.prod(shape)
        header[name] = {"dtype": own, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    raw = json.dumps(header).encode()
    drawn = np.random.default_rng(0).standard_normal(_DRAWN, np.float32)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        if headers_only:
            file.truncate(8 + len(raw) + position)
            return
        for number, (name, shape) in enumerate(tensors.items()):
            if name.endswith(_COUNTER):
                file.write(bytes(8))
                continue
            values = _values(name, shape, np.roll(drawn, number * _STEP))
            count = math.prod(shape)
            for first in range(0, count, _DRAWN):
                piece = values[: min(_DRAWN, count - first)]
                file.write(piece.tobytes() if dtype == "F32" else (piece.view(np.uint32) >> 16).astype("<u2").tobytes())


def _values(name: str, shape: tuple[int, ...], drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first values of the tensor. Scaled so that activations stay near 1: no denormals, no overflow."""
    if "embedding" in name.lower() and len(shape) == 2:
        return drawn * np.float32(0.15)
    if len(shape) >= 2:
        return drawn * np.float32(1.2 / math.sqrt(max(1, math.prod(shape[1:]))))
    if name.endswith("running_var"):
        return np.ones_like(drawn)
    return drawn * np.float32(0.05) + np.float32(0.0 if "bias" in name or "mean" in name else 1.0)


def _write_sentence_encoder(folder: Path, config: Mapping[str, Any]) -> None:
    """What makes sentence-transformers, and edgekit, take an encoder for an embedding model with mean pooling."""
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _write_json(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": config["hidden_size"], "pooling_mode_mean_tokens": True}
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": config["max_position_embeddings"]})


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
