"""The page of a training shows its curves, what they were of, and calls over-fitting out; all of it escaped."""

from __future__ import annotations

import re

import pytest
from fixtures.reports import report
from fixtures.teaching import compared, record

from edgekit import html
from edgekit.html.training import compared_table, curve_chart, student_page, training_section
from edgekit.report import CurvePoint

_FITTED = "over-fitting after step 10: the validation loss rose from 0.4 to 0.9"


def curve(*losses: tuple[float, float | None]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(step=10 * at, seconds=at, train_loss=one, validation_loss=other, learning_rate=0.1)
        for at, (one, other) in enumerate(losses)
    )


def test_the_curves_are_drawn_and_read_out() -> None:
    chart = curve_chart(record())
    assert chart is not None
    lines = re.findall(r'<polyline points="([^"]+)" class="curve (\w+)"', chart)
    assert [kind for _, kind in lines] == ["base", "value"]
    assert all(len(points.split()) == 3 for points, _ in lines)
    heights = [float(point.partition(",")[2]) for point in lines[1][0].split()]
    assert heights == sorted(heights)  # a loss that falls is drawn further and further down
    assert "validation loss from 1.1 to 0.33, best 0.33 at step 20" in chart


@pytest.mark.parametrize(
    ("points", "logarithmic"),
    [(((1.0, 1.0), (0.5, 0.6)), False), (((1.0, 1.0), (0.01, 0.02)), True), (((0.0, 0.0), (0.0, 0.0)), False)],
)
def test_the_axis_is_logarithmic_where_losses_fell_far(
    points: tuple[tuple[float, float], ...], logarithmic: bool
) -> None:
    chart = curve_chart(record(curve=curve(*points)))
    assert chart is not None
    assert ("Logarithmic axis" in chart) == logarithmic
    assert "nan" not in chart


def test_one_point_is_no_curve() -> None:
    assert curve_chart(record(curve=curve((1.0, 1.0)))) is None


def test_over_fitting_is_called_out_and_its_absence_is_not() -> None:
    assert 'class="badge warn">over-fitting' in training_section(record(remarks=(_FITTED,)))
    assert "badge warn" not in training_section(record(remarks=("a longer budget may help",)))
    assert "a longer budget may help" in training_section(record(remarks=("a longer budget may help",)))


def test_the_page_tells_data_losses_and_what_was_lost_and_gained() -> None:
    page = student_page(record(compared=(compared(), compared(name="parameters", low=None, high=None))))
    for told in ("304 trained on, 32 to stop by, 64 held out", "1 x cosine", "1.9 x to 2.1 x", "Some CPU, fp32", "2 x"):
        assert told in page
    assert "Lost and gained" not in student_page(record())


def test_what_comes_from_files_is_escaped() -> None:
    page = student_page(record(teacher="a/<b>", origin="<i>.jsonl", remarks=("<u>",), compared=(compared(how="<s>"),)))
    assert not [tag for tag in ("<b>", "<i>", "<u>", "<s>") if tag in page]
    assert "&lt;i&gt;.jsonl" in page


def test_a_bundle_of_a_student_has_the_section_and_others_do_not() -> None:
    assert "Loss by step" in html.page(report(training=record()))
    assert "Loss by step" not in html.page(report())


def test_a_figure_without_two_sides_leaves_them_empty() -> None:
    told = compared_table(
        (compared(name="mean cosine", unit="", teacher=None, student=None, value=0.97, value_unit=""),)
    )
    assert told.count('class="none"') == 2
    assert "0.97" in told
