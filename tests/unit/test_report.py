"""Rows judge themselves; nothing unmeasured passes a limit; the page and the table show the same figures."""

from __future__ import annotations

import json

import pytest
from fixtures.reports import emulated_report, full_report, report, row

from edgekit.grid import REPORT_COLUMNS
from edgekit.report import Host, Report, is_within, judged, off, show, show_interval, show_limit, to_text


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


def test_an_estimate_whose_ends_read_alike_is_one_figure() -> None:
    assert show_interval(2**20, 2**20 + 1, "bytes") == "1.0 MiB"
    assert show_interval(1.0, 1.5, "ms") == "1 ms to 1.5 ms"


def test_a_long_note_is_wrapped_to_the_page() -> None:
    told = to_text(report(judged(row(0.99, "min", 0.98)), notes=("word " * 60,)))
    assert max(map(len, told.splitlines())) <= REPORT_COLUMNS


def test_a_long_name_or_figure_is_wrapped_to_the_page() -> None:
    long = judged(row(0.99, "min", 0.98, name="a figure of " + "many words " * 9, estimate_low=0.9, estimate_high=0.99))
    made = report(long, model="m" * 150, device="a-device-" * 9, strategy="s " * 70, reference="r " * 90)
    assert max(map(len, to_text(made).splitlines())) <= REPORT_COLUMNS + len("m" * 150)  # a name is never cut
    shorter = report(long, device="a-device-" * 5, strategy="s " * 70, reference="r " * 90)
    assert max(map(len, to_text(shorter).splitlines())) <= REPORT_COLUMNS


@pytest.mark.parametrize(
    ("made", "heading", "column"),
    [
        (full_report(), "measured on Some CPU, 2 threads, not on pi itself", "measured here"),
        (full_report(device_is_host=True), "measured on Some CPU, 2 threads\n", "measured here"),
        (emulated_report(), "computed on an emulated cortex-a76 (qemu-aarch64 10.0.13), not on pi", "computed there"),
        (
            full_report(host=Host(cpu="A76", isa=(), threads=1, system="Linux", target="ssh:pi@raspberrypi")),
            "measured on pi@raspberrypi (A76, 1 thread), not on pi itself",
            "measured there",
        ),
    ],
    ids=["local", "device", "emulated", "ssh"],
)
def test_the_heading_says_where(made: Report, heading: str, column: str) -> None:
    lines = to_text(made).splitlines()
    assert f"{lines[1]}\n".startswith(heading)
    assert column in lines[3]


def test_yes_and_no_are_words() -> None:
    assert (show(1.0, "yes/no"), show(0.0, "yes/no"), show(None, "yes/no")) == ("yes", "no", "unknown")
    assert show_limit(row(0.0, "min", 1.0, unit="yes/no")) == "yes"


def test_the_kernels_are_told() -> None:
    assert "kernels       int8 GEMM by SDOT" in to_text(emulated_report())
