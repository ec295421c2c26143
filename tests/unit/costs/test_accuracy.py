"""benchmarks/harness: what planner_accuracy.py makes of predictions and measurements."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.costing import machine
from fixtures.devices import device
from harness.accuracy import Row, targets
from harness.accuracy_page import SERIES, page, panels, picture, told_row
from harness.points import Point, median_rates, read_points, terms_of, write_points
from harness.scatter import alone
from harness.shapes import FIT_SHAPES, TEST_SHAPES, Shape

from edgekit.costs import MemoryTerm, Term, Work

FILE = Row("S", "onnx-int8", 1, "file", 0, 100.0, 100.5, 100.0, 101.0)
MEMORY = Row("S", "onnx-int8", 1, "peak RSS", 0, 200.0, 219.0, 180.0, 260.0)
LATENCY = Row("S", "onnx-int8", 2, "latency", 128, 10.0, 11.5, 9.0, 14.0)
DECODE = Row("S <b>", "gguf Q8_0", 1, "decode", 128, 20.0, 18.0, 15.0, 22.0)
FACTS = {
    "cpu": "a CPU", "cores": 2, "date": "2026-01-01", "system": "Linux", "python": "3.11", "other_load": "2%",
    "versions": {"onnxruntime": "1.0", "torch": None},
}  # fmt: skip


def reached(*rows: Row) -> dict[str, bool]:
    return {target.name: target.reached for target in targets(rows)}


def test_targets_are_reached_at_their_limits() -> None:
    rows = (FILE, MEMORY, LATENCY, DECODE)
    assert all(reached(*rows).values())
    assert [each.found for each in targets(rows)][:2] == ["0.5% of 1", "9.5% of 1"]


def test_each_target_can_be_missed() -> None:
    far = replace(FILE, predicted=102.0)
    assert not reached(far, MEMORY, LATENCY)["file bytes, worst"]
    wide = [MEMORY, replace(MEMORY, predicted=200.0), replace(MEMORY, predicted=150.0)]
    assert reached(*wide)["peak RSS, median"]
    assert not reached(*wide)["peak RSS, worst"]
    slow = replace(LATENCY, measured=15.0)
    assert not reached(slow)["latency and tokens/s, median"]
    assert not reached(slow)["latency and tokens/s, inside the interval"]


def test_nothing_measured_reaches_nothing() -> None:
    assert not any(reached().values())


def test_what_was_not_predicted_counts_as_missed() -> None:
    unknown = replace(LATENCY, predicted=None, low=None, high=None)
    assert unknown.error is None
    assert not reached(unknown)["latency and tokens/s, median"]
    assert told_row(unknown)[6] == "unknown"
    assert len(panels([unknown, LATENCY])[1].dots) == 1


def test_the_plot_is_well_formed_and_says_every_figure() -> None:
    drawn = picture([MEMORY, LATENCY, DECODE])
    root = ET.fromstring(drawn)
    titles = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 3
    assert titles[1] == "S, onnx-int8, 2 threads, 128 tokens: predicted 11.5 (9 to 14), measured 10 ms"


def test_a_panel_without_figures_is_drawn_empty() -> None:
    assert "<circle" not in alone(panels([])[0], SERIES)


def test_the_page_escapes_and_reaches_for_nothing() -> None:
    text = page([MEMORY, LATENCY, DECODE], targets([LATENCY]), (), FACTS)
    assert "S &lt;b&gt;" in text
    assert "<b>decode" not in text
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "missed" in text


def test_one_lucky_burst_does_not_move_the_rates() -> None:
    machines = [machine(bytes_per_s=each) for each in (36e9, 66e9, 37e9)]
    assert median_rates(machines, 2) == pytest.approx({"flops": 100e9, "int8_ops": 400e9, "bytes": 37e9})
    assert median_rates([device("avx2")], 2) == {}


def test_terms_are_those_of_the_phase_and_length() -> None:
    both = {16: (Term("a", 1.0, "flops"), Term("none", 0.0, "bytes")), 128: (Term("a", 8.0, "flops"),)}
    work = Work((MemoryTerm("file", 5.0, "file"),), {"encode": both, "decode": {200: (Term("b", 2.0, "bytes"),)}})
    assert terms_of(work, "encode", 16) == (("a", 1.0, "flops"),)
    assert terms_of(work, "encode", 64) == ()
    assert terms_of(work, "decode", 128) == (("b", 2.0, "bytes"),)
    assert terms_of(work, "memory", 128) == (("file", 5.0, "bytes"),)
    assert terms_of(None, "memory", 128) == ()


def test_no_shape_is_both_fitted_on_and_tested() -> None:
    assert not {str(shape.config) for shape in FIT_SHAPES} & {str(shape.config) for shape in TEST_SHAPES}
    assert 2 * sum(len(shape.strategies) for shape in TEST_SHAPES) >= 24


def test_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    point = Point("S", "s", "e", 1, "encode", 16, (("a", 1.5, "flops"),), {"flops": 1e9}, 0.5, 0.4, 0.6)
    write_points(tmp_path / "points.json", {"date": "today"}, [point, point])
    assert read_points(tmp_path / "points.json") == ({"date": "today"}, [point, point])


@pytest.mark.parametrize("shape", [*FIT_SHAPES, *TEST_SHAPES], ids=lambda shape: shape.name)
def test_heads_divide_the_width(shape: Shape) -> None:
    heads = shape.config.get("num_attention_heads", 1)
    assert shape.config.get("hidden_size", heads) % heads == 0
    assert heads % shape.config.get("num_key_value_heads", 1) == 0
