"""The one-pass writer: complete or absent, in order, whatever the chunks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from edgekit.errors import BadModel
from edgekit.model import TensorInfo
from edgekit.progress import Silent
from edgekit.strategies.gguf import writer as module
from edgekit.strategies.gguf.presets import GgmlType
from edgekit.strategies.gguf.targets import Target, permute_rotary
from edgekit.strategies.gguf.writer import write_header_only, write_tensors

pytestmark = pytest.mark.engines

METADATA = {"general.architecture": "llama", "a.int": 7, "a.bool": True, "a.float": 0.5, "a.text": "é", "a.list": ["x"]}


class Arrays:
    """A checkpoint in memory that counts the rows it was asked for at once."""

    def __init__(self, arrays: Mapping[str, np.ndarray], fail_at: str = "") -> None:
        self._arrays, self._fail_at, self.largest = arrays, fail_at, 0

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return {name: TensorInfo(name, "F32", array.shape) for name, array in self._arrays.items()}

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        if name == self._fail_at:
            raise BadModel(f"tensor {name!r} holds 1 NaN")
        values = self._arrays[name][rows if rows is not None else slice(None)].astype(np.float32)
        self.largest = max(self.largest, values.size)
        return values

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        pass


class Counter(Silent):
    done = 0.0

    def advance(self, done: float) -> None:
        self.done += done


def float32(_target: Target) -> GgmlType:
    return "F32"


def read_back(path: Path) -> dict[str, np.ndarray]:
    from gguf import GGUFReader

    return {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}


def test_tensors_and_metadata_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gguf import GGUFReader

    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 24)
    rng = np.random.default_rng(0)
    arrays = {"wide": rng.normal(size=(3, 40)), "q": rng.normal(size=(16, 6)), "v": rng.normal(size=7)}
    targets = (
        Target("wide.weight", (3, 40), "wide"),
        Target("blk.0.attn_q.weight", (16, 6), "q", permute_rotary(8), 8),
        Target("tail.weight", (2, 40), "wide", first_row=1),
        Target("v.bias", (7,), "v"),
        Target("rope_freqs.weight", (3,), values=(1.0, 2.0, 8.0)),
    )
    checkpoint, progress = Arrays(arrays), Counter()
    path = tmp_path / "model.gguf"
    write_tensors(path, METADATA, targets, float32, checkpoint, progress)
    found = read_back(path)
    np.testing.assert_array_equal(found["wide.weight"], arrays["wide"].astype(np.float32))
    np.testing.assert_array_equal(found["tail.weight"], arrays["wide"][1:].astype(np.float32))
    np.testing.assert_array_equal(found["blk.0.attn_q.weight"], permute_rotary(8)(arrays["q"].astype(np.float32)))
    np.testing.assert_array_equal(found["v.bias"], arrays["v"].astype(np.float32))
    np.testing.assert_array_equal(found["rope_freqs.weight"], np.array([1, 2, 8], np.float32))
    fields = GGUFReader(path).fields
    assert {key: fields[key].contents() for key in METADATA} == METADATA
    assert progress.done == 4 * (120 + 96 + 80 + 7 + 3)
    assert checkpoint.largest == 48  # a granule of 8 rows at least, one row at most otherwise


def test_few_rows_are_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 64)
    checkpoint = Arrays({"w": np.ones((1000, 32))})
    targets = (Target("w.weight", (1000, 32), "w"),)
    write_tensors(tmp_path / "model.gguf", METADATA, targets, lambda _: "Q8_0", checkpoint, Silent())
    assert checkpoint.largest == 64


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    arrays = {"a": np.ones((4, 4)), "b": np.ones((4, 4))}
    targets = (Target("a.weight", (4, 4), "a"), Target("b.weight", (4, 4), "b"))
    before = threading.active_count()
    with pytest.raises(BadModel, match="'b' holds 1 NaN"):
        write_tensors(tmp_path / "model.gguf", METADATA, targets, float32, Arrays(arrays, fail_at="b"), Silent())
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_a_file_that_was_there_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"before")
    targets = (Target("a.weight", (4, 4), "a"),)
    with pytest.raises(BadModel):
        write_tensors(path, METADATA, targets, float32, Arrays({"a": np.ones((4, 4))}, fail_at="a"), Silent())
    assert path.read_bytes() == b"before"
    write_tensors(path, METADATA, targets, float32, Arrays({"a": np.ones((4, 4))}), Silent())
    assert path.read_bytes()[:4] == b"GGUF"


def test_a_value_without_a_gguf_type_is_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a: dict has no GGUF type"):
        write_header_only(tmp_path / "a.gguf", {"general.architecture": "llama", "a": {}})
