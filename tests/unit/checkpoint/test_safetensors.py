"""Reading safetensors: what is stored comes back, and nothing unsound is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from edgekit.checkpoint import SafetensorsCheckpoint, open_checkpoint, safetensors_header
from edgekit.errors import BadModel, UnsafeModel, UnsupportedModel
from edgekit.model import SourceModel


def model_in(folder: Path, **fields: Any) -> SourceModel:
    return SourceModel("m", str(folder), "hf", "causal-lm", "base", "LlamaForCausalLM", folder, **fields)


def write(path: Path, header: object, data: bytes, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read_one(path: Path, name: str = "w") -> np.ndarray:
    with SafetensorsCheckpoint((path,)) as checkpoint:
        return checkpoint.read(name)


@settings(max_examples=60, deadline=None)
@given(
    tensors=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(["<f4", "<f2", "<f8"]), st.lists(st.integers(0, 5), max_size=3)),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 2**16),
)
def test_what_the_reference_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, tuple[str, list[int]]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=shape).astype(dtype) for name, (dtype, shape) in tensors.items()}
    path = tmp_path_factory.mktemp("st") / "model.safetensors"
    save_file({name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}, path)
    assert {info.name: info.shape for info in safetensors_header(path)} == {n: a.shape for n, a in arrays.items()}
    with SafetensorsCheckpoint((path,)) as checkpoint:
        for name, array in arrays.items():
            np.testing.assert_array_equal(checkpoint.read(name), array.astype(np.float32), strict=True)


def test_rows_are_a_slice_of_the_whole(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
    save_file({"w": array}, tmp_path / "model.safetensors")
    with open_checkpoint(model_in(tmp_path)) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("w", slice(3, 7)), array[3:7])
        np.testing.assert_array_equal(checkpoint.read("w", slice(8, 99)), array[8:])


def test_bf16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.0e38, 1e-40, 0.0], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    path = write(tmp_path / "a.safetensors", {"w": entry([5], 0, 10, "BF16")}, upper.tobytes())
    np.testing.assert_array_equal(read_one(path).view(np.uint32), upper.astype(np.uint32) << 16)


def test_e4m3_against_the_format_s_landmarks(tmp_path: Path) -> None:
    codes = bytes([0x00, 0x01, 0x08, 0x38, 0x7E, 0xB8, 0x80])
    path = write(tmp_path / "a.safetensors", {"w": entry([7], 0, 7, "F8_E4M3")}, codes)
    np.testing.assert_array_equal(read_one(path), np.array([0, 2**-9, 2**-6, 1, 448, -1, -0.0], np.float32))


def test_f8_with_a_scale_is_refused(tmp_path: Path) -> None:
    header = {"w": entry([4], 0, 4, "F8_E4M3"), "w_scale_inv": entry([1], 4, 8)}
    path = write(tmp_path / "a.safetensors", header, bytes(8))
    with pytest.raises(UnsupportedModel, match="w_scale_inv"):
        read_one(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path, bad: float) -> None:
    array = np.zeros((4, 4), np.float32)
    array[2, 1] = bad
    save_file({"model.norm.weight": array}, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=r"'model\.norm\.weight' holds 1 NaN or infinite values of 16"):
        read_one(tmp_path / "model.safetensors", "model.norm.weight")


def test_an_f64_beyond_float32_is_refused(tmp_path: Path) -> None:
    save_file({"w": np.array([1e300])}, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match="infinite"):
        read_one(tmp_path / "model.safetensors")


def test_integers_are_not_weights(tmp_path: Path) -> None:
    save_file({"w": np.array([1, 2])}, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedModel, match="I64"):
        read_one(tmp_path / "model.safetensors")


UNSOUND: dict[str, tuple[object, bytes, int | None, str]] = {
    "shorter than its prefix": (b"", b"", None, ""),
    "header beyond the file": ({}, b"", 1 << 20, r"truncated: the header needs 1048584 bytes, the file has 10"),
    "header beyond the limit": ({}, b"", 1 << 60, r"a header of 1152921504606846976 bytes, the limit is 100000000"),
    "not JSON": (b"{{{{", b"", None, "not valid JSON"),
    "deep JSON": (b"[" * 60_000, b"", None, "not valid JSON"),
    "a list": ([], b"", None, "not a JSON object"),
    "a name twice": (b'{"w":{},"w":{}}', b"", None, "twice"),
    "no offsets": ({"w": {"dtype": "F32", "shape": [1]}}, b"", None, "'w' lacks dtype, shape or data_offsets"),
    "unknown dtype": ({"w": entry([1], 0, 4, "F99")}, bytes(4), None, "unknown dtype 'F99'"),
    "negative axis": ({"w": entry([-1], 0, 4)}, bytes(4), None, "not sizes"),
    "float axis": ({"w": entry([1.0], 0, 4)}, bytes(4), None, "not sizes"),  # type: ignore[list-item]
    "true axis": ({"w": entry([True], 0, 4)}, bytes(4), None, "not sizes"),
    "huge axes": ({"w": entry([2**62, 2**62], 0, 4)}, bytes(4), None, "needs .* bytes, its offsets hold 4"),
    "wrong length": ({"w": entry([2], 0, 4)}, bytes(4), None, "needs 8 bytes, its offsets hold 4"),
    "reversed offsets": ({"w": entry([1], 4, 0)}, bytes(4), None, "its offsets hold -4"),
    "overlap": ({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, bytes(8), None, "'b' starts at byte 4, inside"),
    "gap": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12), None, "bytes 4 to 8 belong to no tensor"),
    "truncated": ({"w": entry([4], 0, 16)}, bytes(15), None, "the tensors need 16 bytes, the file has 15"),
    "trailing": ({"w": entry([1], 0, 4)}, bytes(9), None, "5 bytes after the last tensor"),
}


@pytest.mark.parametrize("case", UNSOUND, ids=str)
def test_an_unsound_file_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    header, data, length, message = UNSOUND[case]
    path = tmp_path / "model.safetensors"
    if case == "shorter than its prefix":
        path.write_bytes(b"abc")
        message = "3 bytes, a safetensors file has at least 8"
    else:
        write(path, header, data, length)
    with pytest.raises(BadModel, match=message) as caught:
        safetensors_header(path)
    assert str(caught.value).startswith("model.safetensors: ")
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 260))
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    path = tmp_path_factory.mktemp("st") / "model.safetensors"
    save_file({"w": np.zeros((2, 3), np.float32), "v": np.zeros(4, np.float16)}, path)
    sound = path.read_bytes()
    path.write_bytes(sound[:at] + noise + sound[at + len(noise) :])
    try:
        infos = safetensors_header(path)
    except BadModel:
        return
    assert sum(info.elements for info in infos) <= path.stat().st_size


def shard(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": np.zeros(3, np.float32)}, tmp_path / "model-00002-of-00002.safetensors")
    shard(tmp_path, {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})
    with open_checkpoint(model_in(tmp_path)) as checkpoint:
        assert set(checkpoint.tensors) == {"a", "b"}
        assert checkpoint.read("b").shape == (3,)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../model.safetensors"}, "not a safetensors file beside it"),
        ({"a": "/etc/passwd"}, "not a safetensors file beside it"),
        ({"a": 3}, "not a safetensors file beside it"),
        ({"a": "absent.safetensors"}, "absent.safetensors, which is missing"),
        ({}, "names no file"),
        ([], "not an index"),
    ],
)
def test_an_index_that_climbs_out_or_names_nothing_is_refused(tmp_path: Path, weight_map: object, message: str) -> None:
    shard(tmp_path, weight_map)
    with pytest.raises(BadModel, match=message):
        open_checkpoint(model_in(tmp_path))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("one.safetensors", "two.safetensors"):
        save_file({"a": np.ones(2, np.float32)}, tmp_path / name)
    shard(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(BadModel, match=r"'a' is in one\.safetensors too"):
        open_checkpoint(model_in(tmp_path))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no weights found"):
        open_checkpoint(model_in(tmp_path))


def test_pickle_needs_permission_by_name(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeModel, match="--allow-pickle"):
        open_checkpoint(model_in(tmp_path))
