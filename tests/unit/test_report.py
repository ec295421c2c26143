"""Rows judge themselves; nothing unmeasured passes a limit; the page and the table show the same figures."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from edgekit import html
from edgekit.grid import PAGE_COLUMNS
from edgekit.manifest import Considered, Interval, PlanSummary, Rejected, Tried
from edgekit.report import Host, Report, Row, is_within, judged, off, show, show_interval, to_text


def row(measured: float | None, bound: str | None, limit: float | None, **more: object) -> Row:
    return Row.model_validate(
        {
            "name": "mean cosine",
            "unit": "",
            "measured": measured,
            "where": "here",
            "bound": bound,
            "limit": limit,
            **more,
        }
    )


def report(*rows: Row, **changes: object) -> Report:
    base = Report(
        model="<m>",
        task="embedding",
        strategy="onnx-int8",
        device="pi",
        device_is_host=False,
        status="passed",
        reference="torch",
        evaluated_on="texts",
        baseline="fp32",
        host=Host(cpu="Some CPU", isa=("avx2",), threads=2, system="Linux"),
        model_sha256="0" * 64,
        rows=rows,
        series={"latency": (1.0, 2.0, 2.5), "latency of fp32": (3.0, 4.0), "cosine": (0.99, 1.0)},
        notes=("a note",),
        created_utc="2026-01-01T00:00:00+00:00",
    )
    return base.model_copy(update=changes)


@pytest.mark.parametrize(
    ("measured", "bound", "limit", "passed"),
    [
        (0.98, "min", 0.98, True),
        (0.9799, "min", 0.98, False),
        (1.0, "max", 1.0, True),
        (1.01, "max", 1.0, False),
        (None, "max", 1.0, False),
        (5.0, None, None, None),
        (5.0, "max", None, None),
    ],
)
def test_judging(measured: float | None, bound: str | None, limit: float | None, passed: bool | None) -> None:
    assert judged(row(measured, bound, limit)).passed is passed


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "ms", "unknown"),
        (1536, "bytes", "1.5 KiB"),
        (3 * 2**30, "bytes", "3.0 GiB"),
        (12, "bytes", "12 bytes"),
        (0.99189, "", "0.9919"),
        (2.2e-8, "nats", "2.2e-08 nats"),
        (123456, "tokens/s", "123,456 tokens/s"),
    ],
)
def test_showing(value: float | None, unit: str, shown: str) -> None:
    assert show(value, unit) == shown


def test_text_says_where_and_that_it_was_not_the_device() -> None:
    missed = judged(row(0.5, "min", 0.98, estimate_low=0.9, estimate_high=0.99))
    told = to_text(report(missed, status="failed"))
    assert "MISSED" in told
    assert ">= 0.98" in told
    assert "0.9 to 0.99" in told
    assert "not on pi itself" in told
    assert "not on" not in to_text(report(missed, device_is_host=True))


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_asks_for_nothing() -> None:
    rows = (
        judged(row(0.99, "min", 0.98)),
        Row(name="peak RSS", unit="bytes", measured=5e7, where="here", bound="max", limit=1e8, passed=True),
        Row(name="model file", unit="bytes", measured=2e7, where="file"),
    )
    page = html.page(report(*rows))
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.links == []
    assert "&lt;m&gt;" in page
    assert "<m>" not in page
    for each in rows:
        assert show(each.measured, each.unit) in page
    assert "grey: the fp32 original" in page


def test_json_round_trip() -> None:
    made = report(judged(row(0.99, "min", 0.98)))
    assert Report.model_validate(json.loads(made.to_json())) == made


@pytest.mark.parametrize(
    ("measured", "low", "high", "share", "within"),
    [
        (2.0, 1.0, 4.0, 0.0, True),
        (4.0, 1.0, 4.0, 1.0, True),
        (4.1, 1.0, 4.0, 1.05, False),
        (1.0, 1.0, 4.0, -0.5, True),
        (None, 1.0, 4.0, None, False),
        (1.0, None, None, None, False),
        (0.0, 0.0, 4.0, None, True),
    ],
)
def test_how_far_off_an_estimate_was(
    measured: float | None, low: float | None, high: float | None, share: float | None, within: bool
) -> None:
    made = row(measured, None, None, estimate_low=low, estimate_high=high)
    assert off(made) == (None if share is None else pytest.approx(share))
    assert is_within(made) is within


def plan_of_three() -> PlanSummary:
    def considered(name: str, latency: Interval | None = None, speed: Interval | None = None) -> Considered:
        size = Interval(low=2**20, high=2**21)
        return Considered(candidate=name, disk_bytes=size, ram_bytes=size, latency_ms=latency, tokens_per_s=speed)

    return PlanSummary(
        chosen="onnx-int8",
        tried=(Tried(candidate="onnx-int8", passed=True, missed=()),),
        rejected=(
            Rejected(candidate="gguf F16", reason="too <large>", measured=2**30, limit=2**20, unit="bytes", remedy="x"),
        ),
        considered=(
            considered("onnx-int8", Interval(low=1.5, high=2.5)),
            considered("gguf F16", speed=Interval(low=7, high=9)),
            considered("onnx-fp32"),
        ),
        remarks=("Pi: no VNNI",),
        advice=("a student",),
    )


def test_the_page_shows_the_plan_with_what_was_expected_of_every_candidate() -> None:
    page = html.page(report(judged(row(0.99, "min", 0.98)), plan=plan_of_three()))
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    for told in ("1.5 ms to 2.5 ms", "7 tokens/s to 9 tokens/s", "1.0 MiB to 2.0 MiB", "unknown", "passed",
                 "too &lt;large&gt; (1.0 GiB against 1.0 MiB)", "not needed", "Pi: no VNNI", "a student"):  # fmt: skip
        assert told in page, told


def test_the_page_compares_estimates_with_what_was_measured_on_the_device_only() -> None:
    figures = judged(row(3.0, None, None, estimate_low=1.0, estimate_high=4.0))
    assert "<br>(measured +50%)" in html.page(report(figures, device_is_host=True))
    assert "(measured" not in html.page(report(figures))
    exact = judged(row(2.002, None, None, estimate_low=1.0, estimate_high=4.0))
    assert "(measured 0%)" in html.page(report(exact, device_is_host=True))
    outside = judged(row(8.0, None, None, estimate_low=1.0, estimate_high=4.0))
    assert "(measured +300%, outside)" in html.page(report(outside, device_is_host=True))


def test_an_estimate_whose_ends_read_alike_is_one_figure() -> None:
    assert show_interval(2**20, 2**20 + 1, "bytes") == "1.0 MiB"
    assert show_interval(1.0, 1.5, "ms") == "1 ms to 1.5 ms"


def test_a_long_note_is_wrapped_to_the_page() -> None:
    told = to_text(report(judged(row(0.99, "min", 0.98)), notes=("word " * 60,)))
    assert max(map(len, told.splitlines())) <= PAGE_COLUMNS


def test_counted_memory_is_drawn_against_its_limit() -> None:
    rows = (
        Row(name="peak RSS", unit="bytes", measured=9e7, where="here"),
        Row(name="counted memory", unit="bytes", measured=5e7, where="here", bound="max", limit=2**20 * 64),
    )
    page = html.page(report(*rows))
    assert "counted memory: 47.7 MiB" in page
    assert "dashed: what an app may use on the device, 64.0 MiB" in page
