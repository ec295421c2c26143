"""Shapes that a specification comes to, without a weight: what is left out scales, what is given must divide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.gguf_models import BERT, LLAMA, planned
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadModel, UnsupportedModel, UsageError
from edgekit.model import StudentSpec, TensorInfo
from edgekit.students.families import FAMILIES, family_of, place_of
from edgekit.students.shape import Shape, continued, resolved, settings, shape_of, shaped

ENCODER, DECODER, MPNET = family_of("bert"), family_of("llama"), family_of("mpnet")
MINILM = Shape(layers=6, hidden=384, heads=12, kv_heads=12, head_size=32, inner=1536)
QWEN = Shape(layers=24, hidden=896, heads=14, kv_heads=2, head_size=64, inner=4864)


def test_a_narrower_stream_takes_heads_and_channels_with_it() -> None:
    assert resolved(MINILM, ENCODER, StudentSpec(layers=3, hidden=256)) == Shape(3, 256, 8, 8, 32, 1024)
    assert resolved(QWEN, DECODER, StudentSpec(hidden=448)) == Shape(24, 448, 7, 1, 64, 2560)


def test_heads_are_divided_evenly_where_their_size_does_not_divide() -> None:
    assert resolved(MINILM, ENCODER, StudentSpec(hidden=300)) == replace(MINILM, hidden=300, head_size=25, inner=1216)
    assert resolved(MINILM, ENCODER, StudentSpec(hidden=192, heads=12)).head_size == 16


def test_fewer_heads_alone_are_pruned_ones() -> None:
    target = resolved(MINILM, ENCODER, StudentSpec(heads=9))
    assert target == replace(MINILM, heads=9, kv_heads=9)
    said = settings({}, ENCODER, target)
    assert said["num_attention_heads"] == 12
    assert said["pruned_heads"] == {layer: [9, 10, 11] for layer in range(6)}


def test_whole_groups_go_and_within_groups_where_only_that_divides() -> None:
    shape = Shape(2, 64, 8, 4, 16, 160)
    assert resolved(shape, DECODER, StudentSpec(heads=6)).kv_heads == 3
    assert resolved(replace(shape, kv_heads=2), DECODER, StudentSpec(heads=6)).kv_heads == 2
    with pytest.raises(UsageError, match="7 heads do not divide: 2 query heads share each of 4 key/value heads"):
        resolved(shape, DECODER, StudentSpec(heads=7))


def test_a_head_size_of_its_own_is_said() -> None:
    target = resolved(QWEN, DECODER, StudentSpec(hidden=512))
    assert settings({}, DECODER, target)["head_dim"] == 64
    assert "head_dim" not in settings({}, DECODER, resolved(QWEN, DECODER, StudentSpec(layers=2)))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (StudentSpec(layers=7), "layers=7 is asked for, the model has 6"),
        (StudentSpec(hidden=512), "hidden=512 is asked for, the model has 384"),
        (StudentSpec(heads=13), "heads=13"),
        (StudentSpec(intermediate=1537), "intermediate=1537"),
        (StudentSpec(hidden=250), "12 heads do not divide a width of 250"),
        (StudentSpec(hidden=256, heads=9), "9 heads do not divide a width of 256"),
    ],
)
def test_what_does_not_go_is_refused_with_what_does(spec: StudentSpec, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        resolved(MINILM, ENCODER, spec)
    assert refused.value.remedy.startswith("give ")


def test_layers_that_share_a_table_by_head_lose_no_heads_alone() -> None:
    with pytest.raises(UsageError, match="share a table"):
        resolved(MINILM, MPNET, StudentSpec(heads=9))
    assert resolved(MINILM, MPNET, StudentSpec(hidden=288, heads=9)).heads == 9


@given(st.integers(1, 24), st.integers(1, 16), st.sampled_from([8, 16, 32]), st.integers(1, 512), st.data())
def test_every_shape_that_is_resolved_divides_and_is_no_larger(
    layers: int, heads: int, size: int, inner: int, data: st.DataObject
) -> None:
    divisors = [each for each in range(1, heads + 1) if heads % each == 0]
    kv_heads = data.draw(st.sampled_from(divisors))
    family = data.draw(st.sampled_from([ENCODER, DECODER]))
    kv_heads = kv_heads if family is DECODER else heads
    source = Shape(layers, heads * size, heads, kv_heads, size, inner)
    spec = StudentSpec(
        layers=data.draw(st.none() | st.integers(1, layers)),
        hidden=data.draw(st.none() | st.integers(1, source.hidden)),
        heads=data.draw(st.none() | st.integers(1, heads)),
        intermediate=data.draw(st.none() | st.integers(1, inner)),
    )
    try:
        target = resolved(source, family, spec)
    except UsageError:
        assert spec.heads is not None or spec.hidden is not None
        return
    assert target.heads % target.kv_heads == 0
    for name in ("layers", "hidden", "heads", "kv_heads", "head_size", "inner"):
        assert 1 <= getattr(target, name) <= getattr(source, name), name
    if family is ENCODER:
        assert target.hidden % target.head_size == 0
        assert target.heads * target.head_size <= target.hidden
    for asked, has in ((spec.layers, target.layers), (spec.hidden, target.hidden), (spec.heads, target.heads)):
        assert asked in (None, has)


@given(st.integers(1, 40))
def test_nothing_asked_for_is_the_source_itself(layers: int) -> None:
    for family, shape in ((ENCODER, MINILM), (DECODER, QWEN), (MPNET, MINILM)):
        source = replace(shape, layers=layers)
        assert resolved(source, family, StudentSpec()) == source


def test_a_pattern_of_layers_goes_on() -> None:
    slides = ["sliding", "sliding", "full"]
    assert continued(slides * 3, 4) == [*slides, "sliding"]
    assert continued([1, 2, 3, 4], 2) == [1, 2]
    assert continued([1], 1) == [1]


def test_the_shaped_student_counts_its_parameters() -> None:
    source = planned(LLAMA | {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 8})
    student = shaped(source, StudentSpec(layers=2, hidden=64))
    assert {tensor.dtype for tensor in student.tensors} == {"F32"}
    shapes = {tensor.name: tensor.shape for tensor in student.tensors}
    assert shapes["model.embed_tokens.weight"] == (100, 64)
    assert shapes["model.layers.1.self_attn.k_proj.weight"] == (16, 64)
    assert not any(".layers.2." in name for name in shapes)
    assert student.config["num_hidden_layers"] == 2
    assert student.quantization is None


def test_heads_of_other_tasks_and_tied_outputs_are_no_part_of_it() -> None:
    encoder = shaped(planned(BERT), StudentSpec(layers=1))
    assert not any("pooler" in tensor.name for tensor in encoder.tensors)
    tied = shaped(planned(LLAMA | {"tie_word_embeddings": True}), StudentSpec(layers=1))
    assert not any("lm_head" in tensor.name for tensor in tied.tensors)
    own = shaped(planned(LLAMA), StudentSpec(layers=1))
    assert any("lm_head" in tensor.name for tensor in own.tensors)


def test_names_of_old_checkpoints_are_those_that_are_saved() -> None:
    old = TensorInfo("bert.encoder.layer.0.output.LayerNorm.gamma", "F32", (64,))
    model = replace(planned(BERT), tensors=(old, replace(old, name=old.name.replace("gamma", "beta"))))
    assert [tensor.name for tensor in shaped(model, StudentSpec(hidden=32)).tensors] == [
        "encoder.layer.0.output.LayerNorm.weight",
        "encoder.layer.0.output.LayerNorm.bias",
    ]


def test_unknown_families_and_pruned_heads_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match="a mamba model keeps its heads"):
        family_of("mamba")
    with pytest.raises(UnsupportedModel, match="pruned before"):
        shape_of(BERT | {"pruned_heads": {"0": [1]}}, ENCODER)


@pytest.mark.parametrize("config", [{}, BERT | {"hidden_size": "64"}, BERT | {"num_attention_heads": True}])
def test_configurations_that_tell_no_shape_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(BadModel, match=r"config\.json: "):
        shape_of(config, ENCODER)


@pytest.mark.parametrize("layers", [1, 3, 10**12])
def test_layers_without_weights_or_weights_without_layers_are_refused(layers: int) -> None:
    model = planned(LLAMA)
    told = replace(model, config=LLAMA | {"num_hidden_layers": layers})
    with pytest.raises(BadModel, match=f"num_hidden_layers is {layers}, the weights are of 2 layers"):
        shaped(told, StudentSpec(heads=2))


def test_heads_that_do_not_divide_their_model_are_refused() -> None:
    with pytest.raises(BadModel, match="do not divide"):
        shape_of(BERT | {"num_attention_heads": 5}, ENCODER)


def test_each_model_type_has_one_row() -> None:
    types = [name for family in FAMILIES for name in family.model_types]
    assert len(types) == len(set(types))


def test_places_are_found_under_any_prefix_and_nowhere_else() -> None:
    for name in ("bert.encoder.layer.3.output.dense.weight", "encoder.layer.3.output.dense.weight"):
        place = place_of(ENCODER, name, 2)
        assert place is not None
        assert (place.layer, place.module, place.axes) == (3, "output.dense", ("hidden", "inner"))
    bias = place_of(ENCODER, "bert.encoder.layer.0.intermediate.dense.bias", 1)
    assert bias is not None
    assert bias.axes == ("inner",)
    for name in ("bert.encoder.layer.x.output.dense.weight", "encoder.layer.0.output.dense.qweight", "cls.weight"):
        assert place_of(ENCODER, name, 2) is None
