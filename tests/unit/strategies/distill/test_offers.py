"""Students are offered where there is something to train them on, in every way that another strategy packs them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.plans import asked
from fixtures.shaped_models import bert
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.model import SourceModel, StudentSpec, Training
from edgekit.planner import propose
from edgekit.strategies import STRATEGIES, Candidate, Rejection, distill

ROWS = Training("rows.jsonl (200 rows)", texts=tuple(map(str, range(200))), budget_s=1200.0)
TEACHER = bert(layers=6, width=128, heads=4)


def taught(spec: StudentSpec | None, model: SourceModel = TEACHER, **training: object) -> SourceModel:
    return replace(model, training=replace(ROWS, student=spec, **training))  # type: ignore[arg-type]


def candidates(model: SourceModel) -> list[Candidate]:
    return [each for each in distill.propose(model, asked()) if isinstance(each, Candidate)]


def test_nothing_is_offered_without_rows_or_without_a_shape() -> None:
    assert list(distill.propose(TEACHER, asked())) == []
    assert list(distill.propose(taught(None), asked())) == []
    assert not [each for each in propose(TEACHER, asked()) if each.label.startswith("distill")]


def test_every_way_to_pack_the_student_is_offered_under_its_own_name() -> None:
    found = {each.label: each for each in candidates(taught(StudentSpec(layers=3)))}
    own = {each.label: each for each in propose(TEACHER, asked()) if isinstance(each, Candidate)}
    assert {f"distill {label} layers=3" for label in own} == set(found)
    for label, made in own.items():
        student = found[f"distill {label} layers=3"]
        assert student.disk_bytes.mid < made.disk_bytes.mid
        assert student.engine == made.engine
        assert student.faithfulness == made.faithfulness
        assert student.student.startswith("3 of 6 layers, 128 wide, 4 heads")
        assert student.notes[0].endswith("trained for up to 20 min on rows.jsonl (200 rows)")


def test_a_shape_that_the_teacher_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="layers=7 is asked for, the model has 6"):
        candidates(taught(StudentSpec(layers=7)))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (replace(TEACHER, format="onnx"), "no student is trained for a model of format onnx"),
        (replace(TEACHER, task="tensors"), "no student is trained for a model for tensors"),
        (replace(TEACHER, config={"model_type": "rwkv"}), "nothing is known of where a rwkv model keeps its heads"),
    ],
)
def test_a_teacher_that_no_student_is_made_of_is_rejected_with_the_reason(model: SourceModel, said: str) -> None:
    (only,) = distill.propose(taught(StudentSpec(layers=1), model), asked())
    assert isinstance(only, Rejection)
    assert only.label == "distill"
    assert said in only.reason


@given(layers=st.integers(1, 5), hidden=st.sampled_from([None, 64, 96, 128]))
def test_what_is_wrapped_is_unwrapped_again(layers: int, hidden: int | None) -> None:
    """What the inner strategy is asked to make is what it offered of the student."""
    model = taught(StudentSpec(layers=layers, hidden=hidden))
    student = distill.shaped(model, StudentSpec(layers=layers, hidden=hidden))
    inner = [
        offer
        for name in STRATEGIES
        if name != "distill"
        for offer in distill.load(name).propose(replace(student, training=None), asked())
        if isinstance(offer, Candidate)
    ]
    assert [distill._inner(each) for each in candidates(model)] == [replace(each, notes=()) for each in inner]


def test_a_given_model_is_named_by_its_folder_alone() -> None:
    spec = StudentSpec(given="/some/where/small-model")
    offer = next(each for each in propose(TEACHER, asked()) if isinstance(each, Candidate))
    assert distill._outer(offer, spec, "told", ()).label == f"distill {offer.label} small-model"
