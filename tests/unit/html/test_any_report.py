"""Whatever figures a report holds, the page and the comparison are drawn, inside their plots."""

from __future__ import annotations

import re

from fixtures.reports import full_report, plan_of_three
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit import html
from edgekit.comparison import Column, side_by_side
from edgekit.comparison_table import comparison_text
from edgekit.manifest import Considered, Interval
from edgekit.report import Report, Row, Size, judged, to_text

FIGURES = st.one_of(
    st.floats(-1e18, 1e18), st.floats(0, 1), st.sampled_from([0.0, -0.0, 1.0, 1e-300, 5e-324, -1.0, 1e18, 2.0**30])
)
NAMES = (
    "mean cosine", "mean KL", "agreement", "latency p50", "latency p99", "decode speed", "latency over fp32",
    "peak RSS", "anonymous memory", "counted memory", "KV cache", "model file", "goldens that fail",
    "runs within the memory limit",
)  # fmt: skip
UNITS = st.sampled_from(["", "ms", "bytes", "x", "nats", "tokens/s", "yes/no"])


@st.composite
def rows(draw: st.DrawFn, name: str) -> Row:
    low, high = sorted([draw(FIGURES), draw(FIGURES)])
    has_estimate = draw(st.booleans())
    made = Row(
        name=name,
        unit=draw(UNITS),
        measured=draw(st.none() | FIGURES),
        where="here",
        bound=draw(st.sampled_from([None, "min", "max"])),
        limit=draw(st.none() | FIGURES),
        flag=draw(st.sampled_from(["", "--max-ram", "--max-disk", "--max-latency-ms"])),
        estimate_low=low if has_estimate else None,
        estimate_high=high if has_estimate else None,
    )
    return judged(made)


@st.composite
def intervals(draw: st.DrawFn) -> Interval | None:
    low, high = sorted([draw(FIGURES), draw(FIGURES)])
    return Interval(low=low, high=high) if draw(st.booleans()) else None


@st.composite
def reports(draw: st.DrawFn) -> Report:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    samples = st.lists(FIGURES, max_size=5).map(tuple)
    kinds = ("cosine", "KL", "latency", "latency of fp32", "decode step")
    series = {name: draw(samples) for name in kinds if draw(st.booleans())}
    considered = Considered(
        candidate="onnx-int8", disk_bytes=draw(intervals()), ram_bytes=draw(intervals()), latency_ms=draw(intervals()),
        tokens_per_s=draw(intervals()),
    )  # fmt: skip
    sizes = draw(
        st.lists(st.builds(Size, group=st.sampled_from(["a", "b", "c"]), dtype=st.just("F32"),
                           tensors=st.integers(0, 9), size_bytes=st.integers(0, 2**50)), max_size=12)
    )  # fmt: skip
    return full_report(
        rows=tuple(draw(rows(name)) for name in names),
        series=series,
        sizes=tuple(sizes),
        plan=plan_of_three().model_copy(update={"considered": (considered,)}),
        device_is_host=draw(st.booleans()),
        task=draw(st.sampled_from(["embedding", "causal-lm", "tensors"])),
        model_sha256=f"{draw(st.integers(0, 99)):064x}",
    )


def places(page: str) -> list[float]:
    """Every place and size on a page, in percent."""
    body = page.partition("</style>")[2]
    numbers = re.findall(r' (?:x|y|x1|x2|y1|y2|width|height)="([^"]*)"', body)
    numbers += re.findall(r"(?:left|right|bottom):([^%]*)%", body)
    return [float(number) for number in numbers]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reports())
def test_any_report_is_drawn_inside_its_plots(made: Report) -> None:
    page = html.page(made)
    assert [place for place in places(page) if not 0 <= place <= 100] == []
    assert to_text(made)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(reports(), min_size=2, max_size=4))
def test_any_reports_are_compared(made: list[Report]) -> None:
    same = [each.model_copy(update={"task": made[0].task}) for each in made]
    found = side_by_side([Column(chr(65 + index), f"b{index}", each) for index, each in enumerate(same)])
    assert [place for place in places(html.comparison_page(found)) if not 0 <= place <= 100] == []
    assert comparison_text(found)
