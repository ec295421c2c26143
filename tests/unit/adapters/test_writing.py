"""Merged files: the base's shards, its bytes where nothing changed, values rounded to nearest even."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.tiny_adapters import QUERY, factors, plain, plain_base
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from edgekit.adapters import (
    Adapter,
    AdapterConfig,
    Base,
    Layout,
    Weighted,
    laid_out,
    sparse_weights,
    write_weights,
)
from edgekit.adapters.writing import encoded
from edgekit.checkpoint import SafetensorsCheckpoint, safetensors_header
from edgekit.checkpoint.safetensors import safetensors_files
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadAdapter
from edgekit.progress import Silent


def layout_of(base: Path, *adapters: Path, weights: tuple[float, ...] = (1.0,), **options: Any) -> Layout:
    files = safetensors_files(base)
    raw = json.loads((base / "config.json").read_text())
    shards = [(path.name, safetensors_header(path)) for path in files]
    told = Base("the base", base, SafetensorsCheckpoint(files), shards, raw, decodes=True)
    opened = [
        Adapter.open(
            path,
            AdapterConfig.parse(json.loads((path / "adapter_config.json").read_text()), path.name),
            allow_pickle=False,
        )
        for path in adapters
    ]
    return laid_out(told, [Weighted(each, w) for each, w in zip(opened, weights, strict=True)], **options)


def loaded(folder: Path) -> dict[str, np.ndarray]:
    return {name: value for path in safetensors_files(folder) for name, value in load_file(path).items()}


@pytest.mark.parametrize("shards", [1, 3])
def test_sharded_as_the_base(tmp_path: Path, shards: int) -> None:
    base, adapter, out = tmp_path / "base", tmp_path / "adapter", tmp_path / "out"
    tensors = plain_base(base, shards=shards)
    plain(adapter, str(base), factors(), r=2, lora_alpha=4)
    out.mkdir()
    write_weights(layout_of(base, adapter), out, Silent())
    assert [path.name for path in safetensors_files(out)] == [path.name for path in safetensors_files(base)]
    found, stored = loaded(out), factors()
    for name, value in tensors.items():
        change = 2 * stored[f"{QUERY}.lora_B.weight"] @ stored[f"{QUERY}.lora_A.weight"] if QUERY in name else 0
        if isinstance(change, int):
            assert found[name].tobytes() == value.tobytes()
        else:
            np.testing.assert_allclose(found[name], value + change, rtol=1e-5, atol=1e-5)
    assert set(found) == set(tensors)


def test_files_to_plan_by_have_the_headers_and_no_contents(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    plain_base(base, shards=3)
    plain(adapter, str(base), factors())
    for name in ("whole", "sparse"):
        (tmp_path / name).mkdir()
    layout = layout_of(base, adapter)
    write_weights(layout, tmp_path / "whole", Silent())
    sparse_weights(layout, tmp_path / "sparse")
    for path in (tmp_path / "whole").iterdir():
        other = tmp_path / "sparse" / path.name
        assert other.stat().st_size == path.stat().st_size
        if path.suffix == ".safetensors":
            assert safetensors_header(other) == safetensors_header(path)
            assert not any(value.any() for value in load_file(other).values())


def test_an_untied_output_is_a_tensor_more(tmp_path: Path) -> None:
    base, adapter, out = tmp_path / "base", tmp_path / "adapter", tmp_path / "out"
    tensors = plain_base(base, tied=True)
    plain(adapter, str(base), factors("lm_head"), r=2, lora_alpha=4)
    out.mkdir()
    layout = layout_of(base, adapter)
    write_weights(layout, out, Silent())
    found, stored = loaded(out), factors("lm_head")
    assert layout.unties
    embedding = tensors["model.embed_tokens.weight"]
    assert (found["model.embed_tokens.weight"] == embedding).all()
    wanted = embedding + 2 * stored["lm_head.lora_B.weight"] @ stored["lm_head.lora_A.weight"]
    np.testing.assert_allclose(found["lm_head.weight"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("same", [True, False])
def test_a_tied_output_stays_tied_where_both_are_replaced_alike(tmp_path: Path, same: bool) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    plain_base(base, tied=True)
    new = np.ones((8, 8), np.float32)
    output = new if same else new * 2
    plain(adapter, str(base), factors() | {"model.embed_tokens.weight": new, "lm_head.weight": output})
    assert layout_of(base, adapter).unties is not same


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_rounding_to_bfloat16_is_to_nearest_even(values: list[float]) -> None:
    given_values = np.array(values, np.float32)
    info = TensorInfo("w", "BF16", (len(values),))
    limit = float(np.array([0x7F7F0000], np.uint32).view(np.float32)[0]) * (1 + 2**-9)
    if np.abs(given_values).max() >= limit:
        with pytest.raises(BadAdapter, match="not finite as BF16"):
            encoded(given_values, info)
        return
    found = np.frombuffer(encoded(given_values, info), "<u2").astype(np.uint32)
    bits = given_values.view(np.uint32)
    low, rest = bits >> 16, bits & 0xFFFF
    up = (rest > 0x8000) | ((rest == 0x8000) & (low % 2 == 1))
    assert found.tolist() == (low + up).tolist()


def test_values_that_do_not_fit_their_type_are_refused() -> None:
    assert encoded(np.array([65504.0], np.float32), TensorInfo("w", "F16", (1,))) == b"\xff\x7b"
    with pytest.raises(BadAdapter, match="w holds values that are not finite as F16"):
        encoded(np.array([70000.0], np.float32), TensorInfo("w", "F16", (1,)))
