"""Which weight files a model folder has, and what tensors they hold by their headers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, UnsafeModel
from edgekit.model.config import read_json

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Weights:
    """`files` are relative to the folder."""

    tensors: tuple[TensorInfo, ...]
    files: tuple[Path, ...]


def find_weights(folder: Path, allow_pickle: bool) -> Weights:
    """The folder's weights: safetensors, or pickles if there is nothing else and they are allowed."""
    from edgekit.checkpoint import pickle_files, safetensors_header
    from edgekit.checkpoint.safetensors import safetensors_files

    shards = safetensors_files(folder)
    if shards:
        tensors = tuple(tensor for shard in shards for tensor in safetensors_header(shard))
        index = (Path(_INDEX),) if (folder / _INDEX).is_file() else ()
        if index:
            _check_index(folder, shards, {tensor.name for tensor in tensors})
        return Weights(tensors, (*index, *(Path(shard.name) for shard in shards)))
    pickles = pickle_files(folder)
    if not pickles:
        raise _no_weights(folder)
    if not allow_pickle:
        raise UnsafeModel(
            f"{folder} has its weights as a pickle only ({pickles[0].name}), which can run code when it is loaded",
            "pass --allow-pickle to load it weights-only, or save the model as safetensors",
        )
    from edgekit.checkpoint.pytorch import PickleCheckpoint

    with PickleCheckpoint(pickles) as checkpoint:
        return Weights(tuple(checkpoint.tensors.values()), tuple(Path(path.name) for path in pickles))


def _check_index(folder: Path, shards: tuple[Path, ...], stored: set[str]) -> None:
    """The index and the shards name the same tensors, and no second set of weights stands beside them."""
    index = folder / _INDEX
    missing = sorted(set(read_json(index)["weight_map"]) - stored)
    if missing:
        raise BadModel(
            f"{index} names {len(missing)} tensors that no shard holds, {missing[0]!r} first",
            "download the model again",
        )
    single = folder / "model.safetensors"
    if single.is_file() and single not in shards:
        raise BadModel(f"{folder} has both {single.name} and {index.name}", "remove the one that is not the model")


def _no_weights(folder: Path) -> BadModel:
    ending = re.compile(r"\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|gguf|onnx)$")
    others = sorted(path.name for path in folder.iterdir() if ending.search(path.name))
    if others:
        return BadModel(
            f"{folder} has no model.safetensors; it holds {', '.join(others[:4])}",
            "save the model with save_pretrained()",
        )
    return BadModel(f"{folder} has no weights", "expected model.safetensors, or its index with all shards")
