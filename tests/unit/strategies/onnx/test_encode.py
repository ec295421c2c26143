"""The terms of one input against amounts worked out by hand, and what must hold of them for any shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.devices import device, setting
from fixtures.shaped_models import bert, picture_model, resnet, vit
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Term
from edgekit.model import SourceModel, TensorInfo
from edgekit.strategies.onnx.encode import encode_terms

HERE = setting(device("avx2", "avx512_vnni"))


def amounts(model: SourceModel, bits: int, tokens: int) -> dict[str, float]:
    return {term.name: term.amount for term in encode_terms(model, HERE, bits)[tokens]}


def test_an_encoder_in_float32() -> None:
    layer = 4 * 64 * 64 + 2 * 64 * 256
    assert amounts(bert(layers=2, width=64, inner=256, heads=4), 32, 16) == {
        "fp32 products": 2 * 2 * layer * 16,
        "attention products": 4 * 2 * 64 * 16**2,
        "softmax": 20 * 2 * 4 * 16**2,
        "elementwise": 20 * 2 * (5 * 64 + 256) * 16,
        "weights read": 4 * 2 * layer,
        "calls": 20 + 5 * 12,
        "hand-overs": 20 + 5 * 12,
        "tokens": 16,
    }


def test_the_same_encoder_in_int8() -> None:
    single, quantized = amounts(bert(), 32, 16), amounts(bert(), 8, 16)
    assert quantized["int8 products"] == single["fp32 products"]
    assert quantized["weights read"] == single["weights read"] / 4
    assert quantized["elementwise"] == single["elementwise"] + 20 * 7 * 2 * 64 * 16
    unchanged = ("attention products", "softmax", "calls", "hand-overs", "tokens")
    assert [quantized[name] for name in unchanged] == [single[name] for name in unchanged]
    assert "fp32 products" not in quantized


def test_a_vision_transformer_keeps_its_patches_in_float32_and_has_no_text() -> None:
    found = amounts(vit(layers=2, width=64, patch=8, pixels=32), 8, 0)
    assert found["convolutions"] == 2 * (64 * 3 * 8 * 8) * 16
    assert found["int8 products"] == 2 * 2 * (4 * 64 * 64 + 2 * 64 * 256) * 17 + 2 * 64 * 20
    assert "tokens" not in found
    assert set(encode_terms(vit(), HERE, 8)) == {0}


def test_a_resnet_is_quantized_statically() -> None:
    operations = 2 * (8 * 3 * 49 * 256 + 2 * 8 * 8 * 9 * 64 + (16 * 8 + 16 * 8 * 9 + 16 * 16 * 9) * 16)
    single, quantized = amounts(resnet(), 32, 0), amounts(resnet(), 8, 0)
    assert single["convolutions"] == quantized["int8 convolutions"] == operations
    assert single["features"] == quantized["int8 features"] == 4 * (8 * 256 + 2 * 8 * 64 + 3 * 16 * 16)
    assert quantized["int8 products"] == 2 * 16 * 20
    assert "convolutions" not in quantized


def test_depthwise_convolutions_are_a_term_of_their_own() -> None:
    tensors = (
        TensorInfo("m.layer.0.convolution.weight", "F32", (8, 1, 3, 3)),
        TensorInfo("m.layer.1.convolution.weight", "F32", (16, 8, 1, 1)),
    )
    net = picture_model(*tensors, config={"model_type": "mobilenet_v1"})
    assert amounts(net, 32, 0)["depthwise convolutions"] == 2 * 8 * 9 * 256
    assert amounts(net, 8, 0)["int8 depthwise convolutions"] == 2 * 8 * 9 * 256


def test_a_small_head_stays_float32() -> None:
    model = bert(task="text-classification", kind="classifier")
    head = TensorInfo("classifier.weight", "F32", (2, 64))
    found = amounts(replace(model, tensors=(*model.tensors, head)), 8, 128)
    assert found["fp32 products"] == 2 * 2 * 64


def test_threads_hand_work_over_at_every_node() -> None:
    terms = {n: encode_terms(bert(), replace(HERE, threads=n), 32)[16] for n in (1, 2, 4)}
    shared = {n: sum(term.amount for term in found if term.name == "hand-overs") for n, found in terms.items()}
    assert shared == {1: 0, 2: 80, 4: 160}
    assert {term for term in terms[2] if term.name != "hand-overs"} == set(terms[1])


def test_lengths_are_cut_to_the_longest_input_and_hold_the_one_that_is_timed() -> None:
    assert set(encode_terms(bert(max_tokens=512), HERE, 8)) == {16, 128, 512}
    assert set(encode_terms(bert(max_tokens=256), HERE, 8)) == {16, 128, 256}
    assert set(encode_terms(bert(max_tokens=64), HERE, 8)) == {16, 64}
    assert set(encode_terms(bert(), replace(HERE, lengths=(32,)), 8)) == {32, 128}


@pytest.mark.parametrize("bits", [32, 8])
def test_no_terms_without_grounds(bits: int) -> None:
    model = bert()
    assert encode_terms(replace(model, config={**model.config, "model_type": "mobilebert"}), HERE, bits) == {}
    assert encode_terms(replace(model, config={}), HERE, bits) == {}


@given(
    layers=st.integers(1, 4),
    heads=st.sampled_from([1, 2, 4]),
    scale=st.integers(1, 6),
    tokens=st.integers(1, 500),
    bits=st.sampled_from([32, 8]),
)
def test_more_layers_or_tokens_never_mean_less_work(
    layers: int, heads: int, scale: int, tokens: int, bits: int
) -> None:
    shape = {"width": 16 * heads * scale, "inner": 64 * heads * scale, "heads": heads, "max_tokens": 600}
    here = replace(HERE, lengths=(tokens, tokens + 7))
    small, deep = (encode_terms(bert(layers=n, **shape), here, bits) for n in (layers, layers + 1))

    def by_name(terms: tuple[Term, ...]) -> dict[tuple[str, str], float]:
        return {(term.name, term.unit): term.amount for term in terms}

    one, longer, deeper = by_name(small[tokens]), by_name(small[tokens + 7]), by_name(deep[tokens])
    assert set(one) == set(longer) == set(deeper)
    assert all(0 < one[key] <= longer[key] and one[key] <= deeper[key] for key in one)
