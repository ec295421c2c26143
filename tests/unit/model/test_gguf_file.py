from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import BadModel, EdgekitError, UnsupportedModel
from edgekit.model import TensorInfo, open_model
from edgekit.model.gguf_file import read_gguf_header

LLAMA = {"general.architecture": "llama", "llama.context_length": 64}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value_of(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<IQ", 10, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, list):
        inner = b"".join(text(item) if isinstance(item, str) else struct.pack("<I", item) for item in value)
        return struct.pack("<IIQ", 9, 8 if value and isinstance(value[0], str) else 4, len(value)) + inner
    return struct.pack("<I", 8) + text(value)


def gguf(
    path: Path,
    values: dict[str, Any] = LLAMA,
    tensors: tuple[tuple[str, tuple[int, ...], int], ...] = (("a", (32, 2), 8),),
    data: int | None = None,
) -> Path:
    """A GGUF file by hand: tensors are (name, axes innermost first, ggml type), all at offset 0."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    head += b"".join(text(key) + value_of(value) for key, value in values.items())
    for name, axes, kind in tensors:
        head += text(name) + struct.pack("<I", len(axes)) + struct.pack(f"<{len(axes)}Q", *axes)
        head += struct.pack("<IQ", kind, 0)
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(68 if data is None else data))
    return path


def test_a_decoder_file(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "general.file_type": 7,
        "general.license": "mit",
        "tokenizer.chat_template": "{{ x }}",
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.ggml.token_type": [1, 2],
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    values = LLAMA | values
    model = open_model(gguf(tmp_path / "Tiny-Q8_0.gguf", values))
    assert (model.name, model.format, model.task, model.kind) == ("tiny-q8_0", "gguf", "causal-lm", "chat")
    assert (model.architecture, model.quantized, model.licence) == ("llama", "Q8_0", "mit")
    assert model.tensors == (TensorInfo("a", "Q8_0", (2, 32)),)
    assert (model.parameters, model.text and model.text.max_tokens) == (64, 64)
    assert model.text is not None
    assert model.text.chat_template == "{{ x }}"


def test_an_unquantized_base_model(tmp_path: Path) -> None:
    model = open_model(gguf(tmp_path / "f16.gguf", LLAMA | {"general.file_type": 1}, (("a", (4,), 1),)))
    assert (model.kind, model.quantized) == ("base", None)


def test_an_encoder_file(tmp_path: Path) -> None:
    values = {"general.architecture": "bert", "bert.context_length": 512, "bert.pooling_type": 2}
    model = open_model(gguf(tmp_path / "e.gguf", values))
    assert (model.task, model.pooling, model.normalize) == ("embedding", "cls", True)


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"general.architecture": "clip"}, UnsupportedModel, "architecture clip is no decoder"),
        ({}, UnsupportedModel, "architecture not stated"),
        ({"general.architecture": "llama"}, BadModel, "llama.context_length is None"),
        (LLAMA | {"llama.pooling_type": 4}, UnsupportedModel, "reranker"),
        (LLAMA | {"general.alignment": 3}, BadModel, "alignment is 3"),
    ],
)
def test_files_nobody_packs(tmp_path: Path, values: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        open_model(gguf(tmp_path / "x.gguf", values))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ((("a", (32, 4096), 8),), "its tensors need"),
        ((("a", (31,), 8),), "rows of 31, Q8_0 needs multiples of 32"),
        ((("a", (1, 1, 1, 1, 1), 0),), "has 5 axes"),
        ((("a", (4,), 99),), "unknown type 99"),
        ((("a", (2**62, 2**62), 0),), "its tensors need"),
    ],
)
def test_tensor_tables_that_do_not_add_up(tmp_path: Path, tensors: Any, said: str) -> None:
    with pytest.raises((BadModel, UnsupportedModel), match=said):
        open_model(gguf(tmp_path / "x.gguf", LLAMA, tensors))


def test_parts_of_a_split_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="llama-gguf-split --merge"):
        open_model(gguf(tmp_path / "x-00001-of-00002.gguf"))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "ends at byte 0"),
        (b"GGML" + bytes(64), "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0), "1099511627776 tensors, the limit is 65536"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "metadata entries"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "bytes of text"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 2**60), "array elements"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 2**20), "ends inside"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77), "unknown type 77"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5,
            "unknown type 9",
        ),
    ],
)
def test_headers_that_lie(tmp_path: Path, head: bytes, said: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(head)
    with pytest.raises(BadModel, match=said):
        open_model(path)


@given(cut=st.integers(0, 250))
@settings(max_examples=60, deadline=None)
def test_every_cut_is_noticed(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = gguf(tmp_path_factory.mktemp("g") / "x.gguf", LLAMA | {"general.name": "x" * 40})
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(EdgekitError):
        read_gguf_header(path)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_noise_never_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("g") / "x.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 3) + noise)
    with suppress(EdgekitError):
        read_gguf_header(path)
