"""What is cut is what was chosen: nothing removed changes nothing, and what did nothing is removed without a change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.students import TEACHERS, Teacher, teacher_of
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import UnsupportedModel, UsageError
from edgekit.students.cutting import module_family
from edgekit.students.depth import dearest_layers, layers_to_keep, shallower
from edgekit.students.families import place_of
from edgekit.students.importance import importance
from edgekit.students.own_loss import own_loss
from edgekit.students.width import narrower

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", params=list(TEACHERS))
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return teacher_of(request.param, tmp_path_factory.mktemp("teacher") / "model")


def silenced(teacher: Teacher, layer: int, module: str, columns: slice) -> torch.nn.Module:
    """The teacher's module with columns of one layer's matrix at zero: what they read does nothing any more."""
    import copy

    changed = copy.deepcopy(teacher.module)
    family, _ = module_family(changed)
    for name, parameter in changed.named_parameters():
        place = place_of(family, name, parameter.ndim)
        if place is not None and (place.layer, place.module) == (layer, module) and parameter.ndim == 2:
            with torch.no_grad():
                parameter[:, columns] = 0.0
    return changed


def test_a_student_of_all_layers_is_its_teacher_bit_for_bit(teacher: Teacher) -> None:
    _, shape = module_family(teacher.module)
    student = shallower(teacher.module, shape.layers)
    assert type(student) is type(teacher.module)
    assert torch.equal(teacher.outputs(student), teacher.outputs())
    theirs = teacher.module.state_dict()
    assert {name: torch.equal(each, theirs[name]) for name, each in student.state_dict().items()} == dict.fromkeys(
        theirs, True
    )


def test_a_student_that_keeps_every_head_and_channel_is_its_teacher_bit_for_bit(teacher: Teacher) -> None:
    _, shape = module_family(teacher.module)
    scores = importance(teacher.module, teacher.batches[:1], own_loss(teacher.model))
    student = narrower(teacher.module, scores, heads=shape.heads, intermediate=shape.inner, hidden=shape.hidden)
    assert torch.equal(teacher.outputs(student), teacher.outputs())


def test_the_teacher_is_left_as_it_was(teacher: Teacher) -> None:
    before = {name: each.clone() for name, each in teacher.module.state_dict().items()}
    config, state = teacher.module.config.to_dict(), torch.random.get_rng_state()
    scores = importance(teacher.module, teacher.batches, own_loss(teacher.model))
    narrower(teacher.module, scores, intermediate=32)
    shallower(teacher.module, 1)
    assert teacher.module.config.to_dict() == config
    assert all(torch.equal(each, before[name]) for name, each in teacher.module.state_dict().items())
    assert all(each.requires_grad and each.grad is None for each in teacher.module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["taylor", "activation"])
def test_channels_that_do_nothing_go_first_and_without_a_change(teacher: Teacher, kind: str) -> None:
    family, shape = module_family(teacher.module)
    gone = 32
    silent = silenced(teacher, 0, family.narrowed, slice(8, 8 + gone))
    scores = importance(silent, teacher.batches, own_loss(teacher.model), kind)  # type: ignore[arg-type]
    assert scores.inner[0][8 : 8 + gone].max() == 0.0
    assert (np.delete(scores.inner[0], np.s_[8 : 8 + gone]) > 0).all()
    scores.inner[1:, :gone] = 0.0  # of the other layers as many go, and change the answers
    whole = silenced(Teacher(teacher.model, silent, teacher.batches), 1, family.narrowed, slice(0, gone))
    for layer in range(2, shape.layers):
        whole = silenced(Teacher(teacher.model, whole, teacher.batches), layer, family.narrowed, slice(0, gone))
    student = narrower(whole, scores, intermediate=shape.inner - gone)
    torch.testing.assert_close(teacher.outputs(student), teacher.outputs(whole), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["taylor", "activation"])
def test_heads_that_do_nothing_go_first_and_without_a_change(teacher: Teacher, kind: str) -> None:
    family, shape = module_family(teacher.module)
    group = shape.heads // shape.kv_heads
    columns = slice(0, group * shape.head_size)
    silent = teacher.module
    for layer in range(shape.layers):
        silent = silenced(Teacher(teacher.model, silent, teacher.batches), layer, family.attended, columns)
    scores = importance(silent, teacher.batches, own_loss(teacher.model), kind)  # type: ignore[arg-type]
    assert scores.heads[:, :group].max() == 0.0
    assert scores.heads[:, group:].min() > 0.0
    if family.shares_heads:
        with pytest.raises(UsageError, match="share a table"):
            narrower(silent, scores, heads=shape.heads - group)
        return
    student = narrower(silent, scores, heads=shape.heads - group)
    assert sum(each.numel() for each in student.parameters()) < sum(each.numel() for each in silent.parameters())
    torch.testing.assert_close(teacher.outputs(student), teacher.outputs(silent), rtol=1e-4, atol=1e-4)


def test_a_layer_that_does_nothing_is_worth_nothing(tmp_path: Path) -> None:
    teacher = teacher_of("llama", tmp_path / "model")
    silent = silenced(teacher, 0, "self_attn.o_proj", slice(None))
    silent = silenced(Teacher(teacher.model, silent, teacher.batches), 0, "mlp.down_proj", slice(None))
    for kind in ("taylor", "activation"):
        scores = importance(silent, teacher.batches, own_loss(teacher.model), kind)  # type: ignore[arg-type]
        assert scores.layers[0] == 0.0
        assert scores.layers[1] > 0.0
        assert dearest_layers(silent, 1, scores.layers) == (1,)
    student = shallower(silent, 1, (1,))
    torch.testing.assert_close(teacher.outputs(student), teacher.outputs(silent), rtol=1e-5, atol=1e-5)


def test_smaller_heads_ask_with_the_scale_they_had(tmp_path: Path) -> None:
    """Channels of queries and values that are zero go, and what is left is divided by the same number."""
    teacher = teacher_of("bert", tmp_path / "model")
    _, shape = module_family(teacher.module)
    scores = importance(teacher.module, teacher.batches, own_loss(teacher.model))
    half = shape.head_size // 2
    query = np.zeros((shape.layers, shape.heads, shape.head_size))
    query[..., :half] = 1.0
    student = narrower(teacher.module, replace(scores, query=query, value=query), hidden=shape.hidden // 2, heads=4)
    hidden = np.sort(np.argsort(-scores.hidden, kind="stable")[: shape.hidden // 2])
    before = teacher.module.get_parameter("encoder.layer.0.attention.self.query.weight").reshape(4, -1, shape.hidden)
    after = student.get_parameter("encoder.layer.0.attention.self.query.weight").reshape(4, half, -1)
    torch.testing.assert_close(after, before[:, :half][:, :, torch.from_numpy(hidden)] * 0.5**0.5)


def test_layers_of_a_kind_take_places_of_that_kind(tmp_path: Path) -> None:
    """Gemma 3: every sixth layer sees all tokens, with a rotary base of its own."""
    teacher = teacher_of("gemma3", tmp_path / "model")
    kinds = teacher.module.config.layer_types
    assert kinds[5] == "full_attention"
    student = shallower(teacher.module, 3)
    assert student.config.layer_types == kinds[:3] == ["sliding_attention"] * 3
    assert layers_to_keep(teacher.module, 3) in ((0, 2, 4), (0, 3, 4))
    assert layers_to_keep(teacher.module, 6) == tuple(range(6))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return teacher_of("bert", tmp_path_factory.mktemp("bert") / "model")


@settings(max_examples=12, deadline=None)
@given(layers=st.integers(1, 2), heads=st.integers(1, 4), inner=st.integers(1, 128), seed=st.integers(0, 3))
def test_any_shape_answers(bert: Teacher, layers: int, heads: int, inner: int, seed: int) -> None:
    scores = importance(bert.module, bert.batches[:1], own_loss(bert.model, seed))
    student = shallower(narrower(bert.module, scores, intermediate=inner), layers)
    if layers == 2:
        student = narrower(bert.module, scores, heads=heads, intermediate=inner)
    outputs = bert.outputs(student)
    assert outputs.shape == bert.outputs().shape
    assert torch.isfinite(outputs).all()
    assert torch.equal(outputs, bert.outputs()) == (layers == 2 and heads == 4 and inner == 128)


def test_more_layers_than_there_are_is_refused(tmp_path: Path) -> None:
    teacher = teacher_of("bert", tmp_path / "model")
    with pytest.raises(UsageError, match="3 layers is asked for, the model has 2"):
        shallower(teacher.module, 3)


def test_a_module_of_no_known_family_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="a nameless model"):
        shallower(torch.nn.Linear(2, 2), 1)
