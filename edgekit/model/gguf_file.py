"""A GGUF file as a source model: a bounded reader of its header (specification: ggml docs/gguf.md)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model.config import kind_of
from edgekit.model.folder import name_of
from edgekit.model.source import Pooling, SourceModel, Task, TextSetup

_MAX_ITEMS = 1 << 16
_MAX_TEXT_BYTES = 1 << 24
_MAX_ARRAY = 1 << 24
_MAX_DEPTH = 2
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9

# ggml type: (name, weights in a block, bytes of a block), from ggml.h
_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}  # fmt: skip
_BLOCKS = {name: (weights, size) for name, weights, size in _TYPES.values()}
# general.file_type, from llama.h
_FILE_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
               12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
               19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
               26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
               36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
               39: "NVFP4", 40: "Q1_0", 41: "Q2_0"}  # fmt: skip
_ENCODERS = frozenset(
    ["bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "modern-bert", "eurobert"]
)
_NOT_LANGUAGE = frozenset(["clip", "mmproj", "wavtokenizer-dec", "t5", "t5encoder"])
_POOLINGS: Mapping[int, Pooling] = {1: "mean", 2: "cls", 3: "last"}


@dataclass(frozen=True)
class GgufHeader:
    """`values` holds every scalar and text of the metadata; of arrays, only short ones of scalars."""

    version: int
    values: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]


def open_gguf(path: Path, *, source: str, task: Task | None) -> SourceModel:
    """The model in `path`, as it is."""
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name):
        raise UnsupportedModel(f"{path} is one of several parts", "merge them first: llama-gguf-split --merge")
    header = read_gguf_header(path)
    values = header.values
    architecture = str(values.get("general.architecture", ""))
    if not architecture or architecture in _NOT_LANGUAGE:
        raise UnsupportedModel(f"{path}: architecture {architecture or 'not stated'} is no decoder or text encoder")
    pooling = _pooling(values, architecture, path)
    detected: Task = "embedding" if pooling else "causal-lm"
    if task is not None and task != detected:
        raise UnsupportedModel(f"{path}: task {task} was asked for, a {architecture} file does {detected}")
    context = values.get(f"{architecture}.context_length")
    if not isinstance(context, int) or context < 1:
        raise BadModel(f"{path}: {architecture}.context_length is {context!r}, a positive integer is expected")
    template = values.get("tokenizer.chat_template") or None
    beside = path.parent / "tokenizer.json"
    quantized = _quantized(header)
    licence = values.get("general.license")
    return SourceModel(
        name=name_of(path.with_suffix("")),
        source=source,
        format="gguf",
        task=detected,
        kind=kind_of(detected, template),
        architecture=architecture,
        folder=path.parent,
        tensors=header.tensors,
        files=(Path(path.name),),
        file=path,
        licence=str(licence) if licence else None,
        quantized=quantized,
        text=TextSetup(context, beside if beside.is_file() else None, template),
        pooling=pooling,
        normalize=pooling is not None,
        evidence=(
            f"task {detected}: general.architecture {architecture}",
            f"quantized: {quantized or 'no'} (general.file_type)",
            *(["L2-normalised, as llama.cpp does unless told otherwise"] if pooling else []),
            f"licence: {licence or 'not stated'}",
        ),
    )


def _pooling(values: Mapping[str, Any], architecture: str, path: Path) -> Pooling | None:
    kind = values.get(f"{architecture}.pooling_type")
    if kind is None or kind == 0:
        return "mean" if architecture in _ENCODERS else None
    if kind not in _POOLINGS:
        raise UnsupportedModel(
            f"{path}: pooling type {kind} (a reranker's) is not packed", "supported: mean, cls, last"
        )
    return _POOLINGS[kind]


def _quantized(header: GgufHeader) -> str | None:
    kinds = {tensor.dtype for tensor in header.tensors}
    if kinds <= {"F32", "F16", "BF16"}:
        return None
    number = header.values.get("general.file_type")
    return _FILE_TYPES.get(number, "mixed") if isinstance(number, int) else "mixed"


def read_gguf_header(path: Path) -> GgufHeader:
    """Metadata and tensor table; BadModel for anything out of bounds, naming file, expected and actual bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file, path, size)
        if reader.take(4) != b"GGUF":
            raise BadModel(f"{path}: does not begin with GGUF", "it is no GGUF file, or damaged: download it again")
        version = reader.number("<I")
        if version not in (2, 3):
            raise BadModel(f"{path}: GGUF version {version}, 2 and 3 are read", "convert it with a current llama.cpp")
        tensor_count = reader.count(_MAX_ITEMS, "tensors")
        values = {}
        for _ in range(reader.count(_MAX_ITEMS, "metadata entries")):
            key = reader.text()
            values[key] = reader.value(reader.number("<I"))
        tensors, end = _tensor_table(reader, tensor_count)
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise BadModel(f"{path}: general.alignment is {alignment!r}, a power of two is expected")
        start = -(-file.tell() // alignment) * alignment
    if tensors and size < start + end:
        raise BadModel(f"{path}: {size} bytes, its tensors need {start + end}", "it is cut short: download it again")
    return GgufHeader(version, values, tensors)


def stored_bytes(tensor: TensorInfo) -> int:
    """Bytes of a tensor whose dtype is a ggml type; KeyError for any other."""
    weights, size = _BLOCKS[tensor.dtype]
    return tensor.elements // weights * size


def _tensor_table(reader: _Reader, count: int) -> tuple[tuple[TensorInfo, ...], int]:
    """(tensors with outermost axis first, bytes of tensor data)."""
    tensors, end = [], 0
    for _ in range(count):
        name = reader.text()
        axes = reader.number("<I")
        if not 1 <= axes <= 4:
            raise BadModel(f"{reader.path}: tensor {name!r} has {axes} axes, 1 to 4 are expected")
        shape = tuple(reader.number("<Q") for _ in range(axes))
        number, offset = reader.number("<I"), reader.number("<Q")
        if number not in _TYPES:
            raise UnsupportedModel(f"{reader.path}: tensor {name!r} has the unknown type {number}")
        kind, block, block_bytes = _TYPES[number]
        info = TensorInfo(name, kind, shape[::-1])
        if shape[0] % block:
            raise BadModel(f"{reader.path}: tensor {name!r} has rows of {shape[0]}, {kind} needs multiples of {block}")
        end = max(end, offset + info.elements // block * block_bytes)
        tensors.append(info)
    return tuple(tensors), end


class _Reader:
    """Little-endian reads that never go past the end or past a limit."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.path = path
        self._file, self._size = file, size

    def take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            at = self._file.tell()
            raise BadModel(f"{self.path}: ends at byte {at} inside its header", "it is cut short: download it again")
        return data

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def count(self, limit: int, what: str) -> int:
        found = self.number("<Q")
        if found > limit:
            raise BadModel(
                f"{self.path}: its header states {found} {what}, the limit is {limit}", "the file is damaged"
            )
        return int(found)

    def text(self) -> str:
        return self.take(self.count(_MAX_TEXT_BYTES, "bytes of text")).decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        if self._file.tell() + count > self._size:
            raise BadModel(f"{self.path}: ends inside its header", "it is cut short: download it again")
        self._file.seek(count, 1)

    def value(self, kind: int, depth: int = 0) -> Any:
        """One metadata value; arrays are stepped over and None stands for them."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY or depth >= _MAX_DEPTH:
            raise BadModel(f"{self.path}: metadata of the unknown type {kind}", "the file is damaged")
        inner, count = self.number("<I"), self.count(_MAX_ARRAY, "array elements")
        if inner in _SCALARS:
            self.skip(count * struct.calcsize(_SCALARS[inner]))
            return None
        for _ in range(count):
            if inner == _TEXT:
                self.skip(self.count(_MAX_TEXT_BYTES, "bytes of text"))
            else:
                self.value(inner, depth + 1)
        return None
