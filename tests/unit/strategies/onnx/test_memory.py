"""Where peak memory goes, by hand and by what must hold for any shape."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.shaped_models import bert, picture_model, resnet, vit
from hypothesis import given
from hypothesis import strategies as st

from edgekit.model import SourceModel, TensorInfo, TextSetup
from edgekit.strategies.onnx.disk import fp32_disk_bytes, int8_disk_bytes
from edgekit.strategies.onnx.memory import memory_terms

MIB = 2**20


def parts(model: SourceModel, bits: int) -> dict[str, float]:
    return {term.name: term.bytes for term in memory_terms(model, bits)}


def test_an_encoder_keeps_its_file_what_it_repacked_and_the_widest_scores() -> None:
    model = bert(layers=2, width=512, inner=2048, heads=8, vocabulary=100, max_tokens=512)
    found = parts(model, 32)
    assert found["weights"] == fp32_disk_bytes(model).mid
    assert found["activations"] == 2 * MIB + 4 * 2 * 8 * 512**2 + 4 * 1.5 * 2048 * 512
    assert "loading" not in found
    assert "reordered convolutions" not in found


def test_a_large_vocabulary_is_there_twice_while_it_loads() -> None:
    model = bert(vocabulary=100_000, width=64, max_tokens=16)
    found = parts(model, 32)
    assert found["loading"] == 4 * 64 * 100_000 - found["activations"]
    assert parts(model, 8)["loading"] < found["loading"]


def test_attention_scores_grow_with_the_square_of_the_longest_input() -> None:
    short, long = (parts(bert(max_tokens=tokens), 32)["activations"] for tokens in (256, 512))
    linear = 4 * 1.5 * 256
    assert long - 2 * MIB - 512 * linear == 4 * (short - 2 * MIB - 256 * linear)


def test_masks_spread_over_the_scores_count_twice() -> None:
    model = bert()
    distil = replace(model, config={**model.config, "model_type": "distilbert"})
    assert parts(distil, 32)["activations"] - parts(model, 32)["activations"] == 4 * 2 * 4 * 512**2


def test_convolutions_are_reordered_in_float32_only() -> None:
    net = resnet()
    wide = 4 * (8 * 3 * 49 + 2 * 8 * 8 * 9 + 16 * 8 * 9 + 16 * 16 * 9)
    assert parts(net, 32)["reordered convolutions"] == 2 * wide + 4 * 16 * 8
    assert "reordered convolutions" not in parts(net, 8)
    assert parts(vit(), 8)["reordered convolutions"] == 4 * 64 * 3 * 8 * 8


def test_pictures_need_no_tokenizer_library() -> None:
    assert parts(bert(), 8)["libraries"] - parts(vit(), 8)["libraries"] == pytest.approx(3.1 * MIB)


def test_weights_beside_the_graph_are_mapped_and_only_products_copied(tmp_path: Path) -> None:
    model = bert(vocabulary=10_000)
    for name, size in (("m.onnx", 10_000), ("m.data", 4 * model.parameters)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    files = (Path("m.onnx"), Path("m.data"))
    beside = replace(model, format="onnx", folder=tmp_path, files=files, file=tmp_path / "m.onnx")
    found = parts(beside, 32)
    assert found["packed weights"] == 4 * 2 * (4 * 64 * 64 + 2 * 64 * 256)
    assert found["mapped weights"] == pytest.approx(4 * model.parameters + 10_000 - found["packed weights"])
    assert not {"weights", "loading"} & set(found)


@pytest.mark.parametrize(("kind", "growth"), [("WordPiece", 13), ("Unigram", 19), ("BPE", 11), (None, 14)])
def test_a_tokenizer_counts_by_its_kind_and_size(tmp_path: Path, kind: str | None, growth: int) -> None:
    path = tmp_path / "tokenizer.json"
    inside = {"vocab": {str(n): n for n in range(1000)}}
    path.write_text(json.dumps({"added_tokens": [], "model": inside if kind is None else {"type": kind, **inside}}))
    model = bert(text=TextSetup(512, path))
    assert parts(model, 32)["tokenizer"] == growth * path.stat().st_size
    assert "tokenizer" not in parts(replace(model, text=TextSetup(512, tmp_path / "missing.json")), 32)


def test_a_net_of_another_family_still_has_an_estimate() -> None:
    net = picture_model(TensorInfo("conv.weight", "F32", (64, 64, 3, 3)), pixels=64)
    assert parts(net, 32)["activations"] == 2 * MIB + 4 * 3 * 64 * 64 * 64 / 4


@given(
    layers=st.integers(1, 3),
    scale=st.integers(1, 8),
    vocabulary=st.integers(1, 50_000),
    tokens=st.integers(8, 1000),
)
def test_int8_and_smaller_models_never_take_more(layers: int, scale: int, vocabulary: int, tokens: int) -> None:
    def peak(bits: int, layers: int, tokens: int) -> float:
        shape = {"width": 32 * scale, "inner": 128 * scale, "vocabulary": vocabulary}
        return sum(parts(bert(layers=layers, max_tokens=tokens, **shape), bits).values())

    assert peak(8, layers, tokens) < peak(32, layers, tokens)
    for bits in (8, 32):
        assert peak(bits, layers, tokens) < peak(bits, layers + 1, tokens)
        assert peak(bits, layers, tokens) <= peak(bits, layers, tokens + 8)


def test_int8_files_are_smaller() -> None:
    for model in (bert(), vit(), resnet()):
        assert int8_disk_bytes(model).mid < fp32_disk_bytes(model).mid
