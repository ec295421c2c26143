"""Which weights count, where they are used, and what a configuration says of the layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.devices import device, setting
from fixtures.shaped_models import bert, picture_model, resnet, shaped, vit

from edgekit.model import SourceModel, TensorInfo, TextSetup
from edgekit.strategies.onnx import shapes
from edgekit.strategies.onnx.encode import encode_terms
from edgekit.strategies.onnx.memory import memory_terms
from edgekit.strategies.onnx.pixels import output_pixels


def matrix(name: str, rows: int = 100, columns: int = 100, dtype: str = "F32") -> TensorInfo:
    return TensorInfo(name, dtype, (rows, columns))


@pytest.mark.parametrize(
    "unused",
    ["cls.predictions.decoder.weight", "lm_head.dense.weight", "pooler.dense.weight", "bert.pooler.dense.weight"],
)
def test_tensors_that_an_embedding_graph_leaves_behind_do_not_count(unused: str) -> None:
    kept = matrix("a.weight")
    assert shapes.stored(shaped(kept, matrix(unused))) == ((kept, "product"),)


def test_a_classifier_keeps_its_pooler_and_integer_buffers_never_count() -> None:
    pooler = matrix("bert.pooler.dense.weight")
    buffers = (matrix("position_ids", dtype="I64"), TensorInfo("bn.running_mean", "F32", (4,)))
    assert shapes.stored(shaped(pooler, *buffers, task="text-classification")) == ((pooler, "product"),)


def test_a_patch_embedding_does_not_make_a_convolution_net() -> None:
    assert not shapes.is_convolutional(vit())
    assert shapes.is_convolutional(resnet())


def test_an_encoder_is_read_in_both_spellings() -> None:
    plain = shapes.encoder(bert(layers=3, width=48, inner=96, heads=6))
    spelt = {"model_type": "distilbert", "n_layers": 3, "dim": 48, "hidden_dim": 96, "n_heads": 6}
    distil = shapes.encoder(bert(layers=3, width=48, inner=96, config=spelt))
    assert plain == shapes.Encoder("bert", 3, 48, 96, 6)
    assert distil == shapes.Encoder("distilbert", 3, 48, 96, 6)


@pytest.mark.parametrize("change", [{"model_type": "deberta-v2"}, {"hidden_size": None}, {"num_attention_heads": 0}])
def test_other_families_and_missing_sizes_give_no_grounds(change: dict[str, object]) -> None:
    model = bert()
    assert shapes.encoder(replace(model, config={**model.config, **change})) is None


def test_weights_that_are_not_the_configurations_give_no_grounds() -> None:
    """A gated feed-forward block, or a graph whose embeddings are not called so, is not what is priced."""
    model = bert()
    gates = tuple(matrix(f"encoder.layer.{layer}.gate.weight", 256, 64) for layer in range(2))
    assert shapes.uses(model) is not None
    assert shapes.uses(replace(model, tensors=model.tensors + gates)) is None
    assert shapes.uses(replace(model, tensors=())) is None


def test_shared_layers_are_used_once_a_layer() -> None:
    names = ("query", "key", "value", "dense")
    group = [matrix(f"encoder.albert_layer_groups.0.albert_layers.0.attention.{n}.weight", 64, 64) for n in names]
    group += [matrix("encoder.albert_layer_groups.0.albert_layers.0.ffn.weight", 256, 64)]
    group += [matrix("encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight", 64, 256)]
    model = bert(layers=5)
    albert = replace(model, tensors=tuple(group), config={**model.config, "model_type": "albert"})
    found = shapes.uses(albert)
    assert found is not None
    assert {use.repeats for use in found} == {5}


def test_a_head_is_used_at_one_place_and_layers_at_every_token() -> None:
    model = bert(task="text-classification", kind="classifier")
    head = matrix("classifier.weight", 20, 64)
    found = shapes.uses(replace(model, tensors=(*model.tensors, head)))
    assert found is not None
    assert [use.positions for use in found] == [None] * 12 + [1]
    tagger = shapes.uses(replace(model, tensors=(*model.tensors, head), task="token-classification"))
    assert tagger is not None
    assert {use.positions for use in tagger} == {None}


def test_a_vision_transformer_works_on_its_patches() -> None:
    found = shapes.uses(vit(pixels=32, patch=8))
    assert found is not None
    convolution = next(use for use in found if use.kind == "convolution")
    assert convolution.positions == 16
    assert {use.positions for use in found if use.kind == "product"} == {17, 1}
    deit = vit(pixels=32, patch=8)
    assert shapes.picture_positions(replace(deit, config={**deit.config, "model_type": "deit"})) == 18


def test_the_strides_of_a_resnet() -> None:
    pixels = output_pixels(resnet())
    assert pixels is not None
    found = {name.removeprefix("resnet.encoder.").removesuffix(".weight"): count for name, count in pixels.items()}
    assert found == {
        "resnet.embedder.embedder.convolution": 16 * 16,
        "stages.0.layers.0.layer.0.convolution": 8 * 8,
        "stages.0.layers.0.layer.1.convolution": 8 * 8,
        "stages.1.layers.0.shortcut.convolution": 4 * 4,
        "stages.1.layers.0.layer.0.convolution": 4 * 4,
        "stages.1.layers.0.layer.1.convolution": 4 * 4,
        "classifier.1": 1,
    }


@pytest.mark.parametrize(
    ("family", "config", "scales"),
    [
        ("resnet", {"layer_type": "bottleneck"}, {"stages.1.layers.0.layer.0": 4, "stages.1.layers.0.layer.1": 8}),
        ("resnet", {"downsample_in_bottleneck": True}, {"stages.1.layers.0.layer.0": 8}),
        (
            "resnet",
            {"downsample_in_first_stage": True},
            {"stages.0.layers.0.layer.1": 8, "stages.1.layers.1.layer.0": 16},
        ),
        ("mobilenet_v1", {}, {"conv_stem": 2, "m.layer.0": 2, "m.layer.2": 4, "m.layer.24": 32, "m.layer.25": 32}),
        ("mobilenet_v2", {}, {"m.layer.0.expand_1x1": 2, "m.layer.0.conv_3x3": 4, "m.layer.15.reduce_1x1": 32}),
        ("mobilenet_v2", {"output_stride": 16}, {"m.layer.15.reduce_1x1": 16, "conv_1x1": 16}),
        ("convnext", {"patch_size": 4}, {"patch_embeddings": 4, "stages.3.layers.0.pwconv1": 32}),
    ],
)
def test_the_strides_of_known_families(family: str, config: dict[str, object], scales: dict[str, int]) -> None:
    tensors = [TensorInfo(f"{name}.weight", "F32", (8, 8, 3, 3)) for name in scales]
    found = output_pixels(picture_model(*tensors, pixels=64, config={"model_type": family, **config}))
    assert found == {f"{name}.weight": (64 // scale) ** 2 for name, scale in scales.items()}


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("resnet", "stages.x"),
        ("resnet", "stages.999999999.layers.0.layer.0"),
        ("convnext", "stages.999999999.x"),
        ("convnext", "other"),
        ("mobilenet_v1", "layer.26.x"),
        ("mobilenet_v2", "layer.16.expand"),
        ("regnet", "stages.0.layers.0.layer.0"),
    ],
)
def test_weights_of_unknown_place_give_no_grounds(family: str, name: str) -> None:
    net = picture_model(TensorInfo(f"m.{name}.weight", "F32", (8, 8, 3, 3)), config={"model_type": family})
    assert output_pixels(net) is None
    assert shapes.uses(net) is None


@pytest.mark.parametrize("size", [10**400, -1, 0, True, "12", 1e9])
@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"])
def test_sizes_nobody_can_mean_are_no_grounds_and_break_nothing(key: str, size: object) -> None:
    model = bert()
    wrong = replace(model, config={**model.config, key: size})
    assert shapes.uses(wrong) is None
    assert memory_terms(wrong, 8)


def test_an_endless_text_breaks_nothing() -> None:
    endless = bert(text=TextSetup(10**400, None))
    assert memory_terms(endless, 32)
    assert max(encode_terms(endless, setting(device("avx2")), 32)) == 512


@pytest.mark.parametrize("patch", [0, -4, 10**400, None, 2.5])
@pytest.mark.parametrize("family", ["vit", "convnext"])
def test_patches_nobody_can_mean_are_no_grounds(family: str, patch: object) -> None:
    model = vit()
    assert shapes.uses(replace(model, config={**model.config, "model_type": family, "patch_size": patch})) is None


def test_no_grounds_for_a_bare_graph_or_module() -> None:
    bare: SourceModel = shaped(matrix("w"), format="onnx", task="tensors", text=None)
    assert shapes.uses(bare) is None
