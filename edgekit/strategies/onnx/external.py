"""Weights kept in files beside an ONNX file: where they are, and that they are what the graph says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edgekit.errors import BadModel
from edgekit.strategies.onnx.engine import require
from edgekit.strategies.onnx.graph import graphs


def external_files(proto: Any, file: Path) -> tuple[PurePosixPath, ...]:
    """The external data files of the model in `file`, relative to its folder, each checked.

    BadModel if a location leaves the folder (absolute, `..`, or through a symbolic link), is missing, is the ONNX
    file itself, or is shorter than a tensor that claims to lie in it.
    """
    ends: dict[str, int] = {}
    for tensor in _external_tensors(proto):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        _check_location(location, tensor.name, file)
        offset, length = (_count(entries.get(key, "0"), key, tensor.name, file) for key in ("offset", "length"))
        ends[location] = max(ends.get(location, 0), offset + length)
    for location, end in ends.items():
        size = (file.parent / location).stat().st_size
        if size < end:
            raise BadModel(
                f"{file.name}: its weights need {end} bytes of {location}, which has {size}", "copy the model again"
            )
    return tuple(PurePosixPath(location) for location in sorted(ends))


def _external_tensors(proto: Any) -> Iterator[Any]:
    external = require("onnx").TensorProto.EXTERNAL
    for graph in graphs(proto):
        tensors = list(graph.initializer)
        for sparse in graph.sparse_initializer:
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
        yield from (tensor for tensor in tensors if tensor.data_location == external)


def _check_location(location: str, tensor: str, file: Path) -> None:
    path = PurePosixPath(location)
    outside = path.is_absolute() or ".." in path.parts or "\\" in location or PureWindowsPath(location).drive
    if not location or outside:
        raise BadModel(
            f"{file.name}: tensor {tensor!r} keeps its data at {location!r}, outside the model's folder",
            "external data must lie beside the ONNX file or below it",
        )
    data = file.parent / location
    if not data.is_file():
        raise BadModel(f"{file.name}: its external data {location} is missing", "copy it beside the ONNX file")
    resolved = data.resolve()
    if not resolved.is_relative_to(file.parent.resolve()):
        raise BadModel(
            f"{file.name}: its external data {location} is a link that leaves the model's folder",
            "replace the link by the file itself",
        )
    if resolved == file.resolve():
        raise BadModel(f"{file.name}: tensor {tensor!r} claims its data in the ONNX file itself", "export it again")


def _count(value: str, key: str, tensor: str, file: Path) -> int:
    if not value.isdecimal():
        raise BadModel(f"{file.name}: tensor {tensor!r} has external data with {key} {value!r}", "export it again")
    return int(value)
