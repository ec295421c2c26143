"""The page shows what the report says, whole and escaped, and never a figure of one machine as another's."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from fixtures.manifests import minimal
from fixtures.reports import MIB, emulated_report, full_report, report, row

from edgekit import html
from edgekit.manifest import Manifest
from edgekit.report import Report, Row, judged, show, show_limit

_VOID = ("meta", "rect", "line")


class Read(HTMLParser):
    """A page taken apart: text by element, links, attributes; end tags must match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.words.append(data.strip())

    def labels(self) -> list[str]:
        return [str(attributes["aria-label"]) for _, attributes in self.tags if "aria-label" in attributes]


def read(made: Report, manifest: Manifest | None = None) -> Read:
    page = Read(html.page(made, manifest))
    assert page.open == []
    return page


@pytest.mark.parametrize("made", [full_report(), full_report(cosine=0.9), emulated_report()], ids=lambda r: r.status)
def test_every_figure_is_on_the_page_and_nothing_is_asked_of_the_network(made: Report) -> None:
    page = read(made)
    for each in made.rows:
        assert show(each.measured, each.unit) in page.text
        assert show_limit(each).replace(">=", "≥").replace("<=", "≤") in page.text
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "object")]
    assert not [attributes for _, attributes in page.tags if {"src", "href"} & set(attributes)]
    assert "url(" not in html.page(made)
    assert "@import" not in html.page(made)


def test_hostile_text_stays_text() -> None:
    hostile = "<script>alert(1)</script>\" onload='x' &amp; \x00"
    plain = full_report()
    rows = tuple(each.model_copy(update={"name": each.name + hostile, "where": hostile}) for each in plain.rows)
    changes = {"model": hostile, "device": hostile, "reference": hostile, "notes": (hostile,), "strategy": hostile}
    page = read(plain.model_copy(update=changes | {"rows": rows}))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in read(plain).tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "\x00" not in html.page(plain.model_copy(update=changes))


def test_a_host_s_figures_are_never_shown_as_the_device_s() -> None:
    there = read(full_report())
    assert "Measured on Some CPU, 2 threads, not on pi" in there.text
    assert "Not held against one another: latency p50, peak RSS" in there.text
    assert not [label for label in there.labels() if label.startswith("latency p50") and "estimated" in label]
    here = read(full_report(device_is_host=True))
    assert "the device itself" in here.text
    assert "not on pi" not in here.text
    assert "Not held against" not in here.text
    assert [label for label in here.labels() if label.startswith("latency p50: measured 2 ms, estimated 1 ms to 9 ms")]


def test_a_report_from_ssh_says_which_machine() -> None:
    made = full_report()
    host = made.host.model_copy(update={"target": "ssh:pi@raspberrypi"})
    page = read(made.model_copy(update={"host": host}))
    assert "Measured on pi@raspberrypi (Some CPU, 2 threads), not on pi" in page.text


def test_an_emulated_report_says_what_it_has_not() -> None:
    page = read(emulated_report())
    assert "Computed on an emulated cortex-a76 (qemu-aarch64 10.0.13), not on pi" in page.text
    assert "No time and no memory was measured" in page.text
    assert "int8 GEMM by SDOT" in page.text
    assert "goldens that fail" in page.text
    assert not [label for label in page.labels() if "timings" in label or "RSS" in label]


def test_a_missed_limit_is_named_at_the_top() -> None:
    page = read(full_report(cosine=0.9))
    assert "mean cosine is 0.9, ≥ 0.98 asked" in page.text
    assert "All" not in page.text.split("mean cosine is")[0]


def test_the_plan_is_there_with_what_was_expected_of_every_candidate() -> None:
    text = read(full_report()).text
    for told in ("1.5 ms to 2.5 ms", "7 ms to 9 ms", "1.0 MiB to 2.0 MiB", "unknown", "held every limit",
                 "too <large> (1.0 GiB against 1.0 MiB); x", "not needed", "Pi: no VNNI", "a student"):  # fmt: skip
        assert told in text, told
    assert "its plan is in edgekit.json" in read(full_report(plan=None)).text


def test_estimates_are_held_against_what_was_measured_on_the_device_only() -> None:
    figures = judged(row(3.0, None, None, estimate_low=1.0, estimate_high=4.0))
    assert "measured +50%" in read(report(figures, device_is_host=True)).text
    assert "measured +" not in read(report(figures)).text
    outside = judged(row(8.0, None, None, estimate_low=1.0, estimate_high=4.0))
    assert "measured +300%, outside" in read(report(outside, device_is_host=True)).text


def test_a_far_limit_is_told_and_a_near_one_drawn() -> None:
    def with_limit(limit_mib: float) -> Read:
        rows = (
            Row(name="peak RSS", unit="bytes", measured=90.0 * MIB, where="here"),
            Row(
                name="counted memory",
                unit="bytes",
                measured=50.0 * MIB,
                where="here",
                bound="max",
                limit=limit_mib * MIB,
            ),
        )
        return read(report(*rows))

    assert "The line is the limit, 64.0 MiB, that counted memory is held to." in with_limit(64).text
    assert "6.0 GiB, is 123 times what was measured" in with_limit(6144).text


def test_running_within_the_limit_is_a_yes_or_no() -> None:
    ran = Row(name="runs within the memory limit", unit="yes/no", measured=0.0, where="here", bound="min", limit=1.0)
    peak = Row(name="peak RSS", unit="bytes", measured=1e6, where="here")
    text = read(report(judged(ran), peak, status="failed")).text
    assert "Confined to the limit, the bundle did not run ." in text
    assert "runs within the memory limit is no, yes asked" in text


def test_the_manifest_adds_title_source_licence_and_tools() -> None:
    raw = minimal() | {"device": {"name": "pi", "title": "Pi <5>", "ram_budget_bytes": None}}
    raw["provenance"] = dict(raw["provenance"], licence="MIT", tools={"onnx": "1.2"}, source="org/m")  # type: ignore[call-overload]
    text = read(full_report(), Manifest.model_validate(raw)).text
    for told in ("onnx-int8 for Pi <5>", "MIT", "onnx 1.2", "org/m", "x86_64: any"):
        assert told in text, told


@pytest.mark.parametrize(
    "series",
    [
        {"cosine": (1.0, 1.0, 1.0)},
        {"KL": (0.0, 0.0)},
        {"KL": (0.0, 1e-300, 5.0)},
        {"KL": (0.0, 0.0, 1e-9)},
        {"cosine": (-1.0, 1.0)},
        {"latency": (0.0, 0.0)},
        {"latency": (1e-9, 1e12), "latency of fp32": (3.0, 3.0)},
        {"decode step": (5.0, 5.0, 5.0)},
    ],
)
def test_samples_of_any_shape_are_drawn(series: dict[str, tuple[float, ...]]) -> None:
    page = read(full_report(series=series))
    places = [
        word
        for _, attributes in page.tags
        for key in ("x", "x1", "width", "height", "style")
        if (word := attributes.get(key))
    ]
    assert places
    assert not [word for word in places if "nan" in word or "inf" in word]
    numbers = [float(attributes[key] or "") for tag, attributes in page.tags if tag == "rect" for key in ("x", "y")]
    assert all(0 <= number <= 100 for number in numbers)


def test_what_is_nearly_one_is_not_told_as_one() -> None:
    text = read(full_report(cosine=0.99998, series={"cosine": (0.99998, 0.99999)})).text
    assert "mean 0.99998" in text
    assert "worst 0.99998" in text


def test_samples_too_near_to_be_drawn_are_told_by_their_ends() -> None:
    kinds = {"task": "text-classification", "rows": (row(2e-14, "max", 0.1, name="mean KL", unit="nats"),)}
    text = read(full_report(series={"KL": (0.0, 2e-14, 2.06e-13)}, **kinds)).text
    assert "All 3 samples lie between 0 nats and 2.06e-13 nats." in text
    assert "All 2 samples are 1." in read(full_report(series={"cosine": (1.0, 1.0)})).text


def test_the_first_bar_is_told_as_closely_as_its_end_is_near_one() -> None:
    near = tuple(0.99995 + 1e-6 * (index % 20) for index in range(60))
    text = read(full_report(0.99996, series={"cosine": (*near, 0.99921)})).text
    assert "1 sample below 0.9999" in text
    assert "down to 0.99921, in the first bar" in text


def test_what_was_timed_in_turn_with_fp32_is_not_mixed_with_what_was_timed_alone() -> None:
    alone, in_turn, fp32 = (1.0, 1.1, 1.2), (2.0, 2.1, 2.2), (4.0, 4.1, 4.2)
    both = {"latency": alone, "latency in turn with fp32": in_turn, "latency of fp32": fp32}
    labels = read(full_report(p50_ms=1.1, series=both)).labels()
    told = [each.partition(", p90")[0] for each in labels if "timings" in each]
    assert told == [
        "this bundle: 3 timings, p50 1.1 ms",
        "this bundle, in turn with fp32: 3 timings, p50 2.1 ms",
        "fp32, in turn with this bundle: 3 timings, p50 4.1 ms",
    ]
    before = read(full_report(p50_ms=1.1, series={"latency": alone, "latency of fp32": fp32})).labels()
    assert [each.partition(":")[0] for each in before if "timings" in each] == ["this bundle", "fp32"]


def test_without_limits_none_is_said_to_have_held() -> None:
    assert "No limit was asked." in read(report(row(0.9, None, None))).text


def test_outliers_do_not_squash_the_histogram_and_are_counted() -> None:
    near = tuple(0.99 + 0.0001 * (index % 20) for index in range(60))
    text = read(full_report(series={"cosine": (*near, 0.2, -0.4)})).text
    assert "2 samples below 0.9" in text
    assert "down to -0.4, in the first bar" in text


def test_every_drawing_is_told_in_words_and_every_table_has_headers() -> None:
    page = read(full_report())
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes.get("role") == "img" or attributes.get("aria-hidden") == "true"
        if attributes.get("role") == "img":
            assert attributes.get("aria-label")
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
