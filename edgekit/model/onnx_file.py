"""An ONNX file as a source model: its initializers by header; external data is located, not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, MissingEngine, UnsupportedModel
from edgekit.model.config import kind_of, labels_of, max_tokens_of, normalise_config, read_json
from edgekit.model.folder import name_of
from edgekit.model.image import read_image_setup
from edgekit.model.licence import read_licence
from edgekit.model.pooling import read_sentence_setup
from edgekit.model.source import SourceModel, Task, TextSetup
from edgekit.model.tokenizer import tokenizer_json

_DTYPES = {1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16", 11: "F64",
           12: "U32", 13: "U64", 16: "BF16", 17: "F8_E4M3", 19: "F8_E5M2", 21: "U4", 22: "I4"}  # fmt: skip


def open_onnx(path: Path, *, source: str, task: Task | None, cache: Path) -> SourceModel:
    """The model in `path`. Without `task` it maps tensors to tensors; with one, the files of a model folder beside it
    (or in the folder above, when it lies in onnx/) say how text or pictures become its inputs."""
    graph = read_onnx_graph(path)
    tensors = tuple(
        TensorInfo(tensor.name, _DTYPES.get(tensor.data_type, f"type {tensor.data_type}"), tuple(tensor.dims))
        for tensor in graph.initializer
    )
    if not graph.node:
        raise BadModel(f"{path}: the graph has no nodes")
    files = (Path(path.name), *_external_files(graph, path))
    chosen: Task = task or "tensors"
    home = path.parent.parent if path.parent.name == "onnx" else path.parent
    setup = _setup(path, home, chosen, cache)
    licence, licence_evidence = read_licence(home)
    return SourceModel(
        name=name_of(path.with_suffix("") if path.stem not in ("model", "model_quantized") else home),
        source=source,
        format="onnx",
        task=chosen,
        kind=kind_of(chosen, None),
        architecture="onnx",
        folder=path.parent,
        tensors=tensors,
        files=tuple(sorted(files)),
        file=path,
        licence=licence,
        evidence=(f"task {chosen}: {'as asked for' if task else 'no --task was given'}", *licence_evidence),
        **setup,
    )


def read_onnx_graph(path: Path) -> Any:
    """The onnx.GraphProto, without the external data. Raises MissingEngine or BadModel."""
    try:
        import onnx
    except ImportError as error:
        raise MissingEngine(f"{path}: reading ONNX needs onnx", "pip install onnx") from error
    try:
        return onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's DecodeError has a different class for each backend
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadModel(
            f"{path}: not a readable ONNX file of {path.stat().st_size} bytes: {reason}",
            "it is cut short or damaged: export it again",
        ) from error


def _external_files(graph: Any, path: Path) -> set[Path]:
    """External data of the initializers, relative to the file's folder; BadModel if one climbs out or is too short."""
    needed: dict[str, int] = {}
    for tensor in graph.initializer:
        entry = {item.key: item.value for item in tensor.external_data}
        if "location" in entry:
            end = int(entry.get("offset", 0)) + int(entry.get("length", 0))
            needed[entry["location"]] = max(needed.get(entry["location"], 0), end)
    for location, end in needed.items():
        relative = Path(location)
        target = path.parent / relative
        if relative.is_absolute() or ".." in relative.parts or "\\" in location:
            raise BadModel(f"{path}: its external data {location!r} leaves the folder")
        if not target.is_file():
            raise BadModel(f"{target} is missing: {path.name} keeps its weights there", "copy both files")
        if target.stat().st_size < end:
            raise BadModel(
                f"{target}: {target.stat().st_size} bytes, {path.name} reads up to byte {end}",
                "it is cut short: copy it again",
            )
    return {Path(location) for location in needed}


def _setup(path: Path, home: Path, task: Task, cache: Path) -> dict[str, Any]:
    """The fields of SourceModel that a task needs beyond the graph."""
    if task == "tensors":
        return {}
    if task == "causal-lm":
        raise UnsupportedModel(f"{path}: decoders are not packed from ONNX", "give the model folder, or a GGUF file")
    config_file, tokenizer_file = home / "config.json", home / "tokenizer_config.json"
    if not config_file.is_file():
        raise BadModel(
            f"{path}: --task {task} needs {config_file} beside it", "leave --task out to pack the bare graph"
        )
    config = normalise_config(read_json(config_file))
    setup: dict[str, Any] = {"config": config}
    if task.endswith("classification"):
        setup["labels"] = labels_of(config)
    if task == "image-classification":
        return {**setup, "image": read_image_setup(home, config)}
    sentence = read_sentence_setup(home) if task == "embedding" else None
    limit = max_tokens_of(config, read_json(tokenizer_file) if tokenizer_file.is_file() else {})
    tokenizer, _ = tokenizer_json(home, cache, lowercase=bool(sentence and sentence.lowercase))
    setup["text"] = TextSetup(min(limit, (sentence and sentence.max_tokens) or limit), tokenizer)
    if task == "embedding":
        setup["pooling"] = sentence.pooling if sentence else "mean"
        setup["normalize"] = bool(sentence and sentence.normalize)
    return setup
