"""The student that is planned is the largest that is expected to fit; where none is, the refusal says by how much."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.plans import asked
from fixtures.shaped_models import bert
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.costs import Setting
from edgekit.device import load_profile
from edgekit.errors import NoStudentFits, UnsupportedModel
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel, StudentSpec, Training
from edgekit.planner import fitting_spec, student_that_fits
from edgekit.planner.sizing import _Sizing, _spec, _widths
from edgekit.setting import setting_for

TEACHER = replace(
    bert(layers=6, width=256, inner=1024, heads=4, vocabulary=2000), training=Training("rows", texts=("a",) * 200)
)


def sized(limits: Limits = Limits(), model: SourceModel = TEACHER, where: Setting | None = None) -> StudentSpec:  # noqa: B008
    return fitting_spec(model, where or asked(), limits, Preferences())


def test_where_the_source_itself_fits_the_student_has_half_the_layers() -> None:
    assert sized() == StudentSpec(layers=3)


def test_layers_go_first_and_the_width_where_they_are_not_enough() -> None:
    by_disk = [sized(Limits(max_disk_bytes=size)) for size in (5_500_000, 4_500_000, 3_000_000, 1_700_000)]
    widths = [spec.hidden or 256 for spec in by_disk]
    assert by_disk[0] == StudentSpec(layers=5)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 256
    assert all((spec.layers or 0) >= 2 for spec in by_disk)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1_200_000, 6_000_000))
def test_what_is_chosen_holds_and_nothing_larger_does(size: int) -> None:
    limits = Limits(max_disk_bytes=size)
    sizing = _Sizing(TEACHER, asked(), limits, Preferences())
    shapes = [_spec(TEACHER, layers, hidden) for hidden, depths in _widths(TEACHER) for layers in depths]
    chosen = sized(limits)
    assert sizing.holds(chosen)
    if not sizing.source_holds():
        assert not any(sizing.holds(each) for each in shapes[: shapes.index(chosen)])


def test_a_limit_on_latency_asks_for_a_smaller_student() -> None:
    where = setting_for(load_profile("raspberry-pi-5-8gb"), Limits(), Preferences())
    sizing = _Sizing(TEACHER, where, Limits(), Preferences())
    (whole,) = (each for each in sizing._packed(StudentSpec(layers=6)) if each.label.startswith("distill onnx-int8"))
    assert whole.latency_ms is not None
    limits = Limits(max_latency_ms=0.6 * whole.latency_ms.mid)
    chosen = sized(limits, where=where)
    assert chosen.layers is not None
    assert 2 <= chosen.layers <= 4


def test_where_nothing_fits_the_smallest_is_told_with_its_figure() -> None:
    with pytest.raises(NoStudentFits) as caught:
        sized(Limits(max_disk_bytes=100_000))
    assert "the smallest, 2 of 6 layers, 128 wide (from 256)" in caught.value.message
    assert "disk of an estimated" in caught.value.message
    assert "against 97.7 KiB" in caught.value.message


def test_a_source_of_an_unknown_family_has_no_student() -> None:
    with pytest.raises(UnsupportedModel, match="rwkv"):
        sized(model=replace(TEACHER, config={**TEACHER.config, "model_type": "rwkv"}))


def proposed(limits: Limits, model: SourceModel = TEACHER) -> str | None:
    found = student_that_fits(replace(model, training=None), asked(), limits, Preferences())
    return found and found.label


@pytest.mark.parametrize("size", [5_500_000, 3_000_000, 1_700_000])
def test_what_is_proposed_without_rows_is_what_would_be_planned_with_them(size: int) -> None:
    limits = Limits(max_disk_bytes=size)
    label = proposed(limits)
    assert label is not None
    assert label.endswith(f" {sized(limits).label}")


def test_no_student_is_proposed_where_the_source_fits_or_none_can_be_made() -> None:
    assert proposed(Limits()) is None
    assert proposed(Limits(max_disk_bytes=100_000)) is None
    unknown = replace(TEACHER, config={**TEACHER.config, "model_type": "rwkv"})
    assert proposed(Limits(max_disk_bytes=3_000_000), unknown) is None
