"""The float32 graph of any source, in one folder: exported from torch, or the user's own file, unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import Format, SourceModel
from edgekit.progress import Progress
from edgekit.strategies.onnx.engine import require
from edgekit.strategies.onnx.export import export_checkpoint, export_module
from edgekit.strategies.onnx.external import external_files
from edgekit.strategies.onnx.graph import check_loads, check_operators, load, save, signatures
from edgekit.strategies.onnx.pool import append_pooling

FLOAT_FILE = "model.onnx"
"""The name transformers.js and optimum look for, in a folder `onnx`."""


@dataclass(frozen=True)
class FloatGraph:
    """`path` is the graph; what it keeps outside lies beside it."""

    path: Path
    notes: tuple[str, ...]


def write_float_graph(model: SourceModel, folder: Path, progress: Progress) -> FloatGraph:
    """Write `folder`/model.onnx, checked to load in ONNX Runtime and, if exported, to answer as torch does."""
    require("onnxruntime")
    path = folder / FLOAT_FILE
    folder.mkdir(parents=True, exist_ok=True)
    writer = _WRITERS.get(model.format)
    if writer is None:
        raise UnsupportedModel(f"a {model.format} source has no ONNX graph", "pack it with another strategy")
    progress.step(_TITLES[model.format])
    return FloatGraph(path, writer(model, path))


def _copy_file(model: SourceModel, path: Path) -> tuple[str, ...]:
    """Carry the user's file and its external data over, byte for byte, after checking both.

    Only an embedding model without pooling is changed: the copy gets it.
    """
    source = model.file
    if source is None:
        raise BadModel(f"{model.name} names no ONNX file", "open it by the path of its .onnx file")
    proto = load(source, weights=False)
    check_operators(proto, source.name)
    beside = external_files(proto, source)
    for relative in beside:
        if str(relative) == path.name:
            raise BadModel(f"{source.name}: its external data is called {relative}", "give the data another name")
        target = path.parent / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / relative, target)
    if _lacks_pooling(model, proto):
        append_pooling(proto, model.pooling or "mean", model.normalize)
        save(proto, path)
        notes: tuple[str, ...] = (f"{model.pooling or 'mean'} pooling was added to the graph's outputs",)
    else:
        shutil.copyfile(source, path)
        notes = ()
    check_loads(path)
    return notes


def _lacks_pooling(model: SourceModel, proto: Any) -> bool:
    """Whether an embedding model's graph answers with vectors per token only."""
    outputs = signatures(proto)[1]
    return model.task == "embedding" and all(len(output.shape) != 2 for output in outputs)


_WRITERS: Mapping[Format, Callable[[SourceModel, Path], tuple[str, ...]]] = {
    "hf": export_checkpoint,
    "torch": export_module,
    "onnx": _copy_file,
}
_TITLES: Mapping[Format, str] = {"hf": "export to ONNX", "torch": "export to ONNX", "onnx": "copy the ONNX file"}
