"""Side by side: the best of a row only among figures on one scale, and what no other column beats."""

from __future__ import annotations

import pytest
from fixtures.reports import emulated_report, full_report
from hypothesis import given
from hypothesis import strategies as st

from edgekit.comparison import Column, Comparison, side_by_side, told
from edgekit.comparison_table import comparison_text
from edgekit.grid import REPORT_COLUMNS
from edgekit.report import Host, Report, Row

ELSEWHERE = Host(cpu="Cortex-A76", isa=("asimd",), threads=4, system="Linux", target="ssh:pi@raspberrypi")


def compared(*reports: Report) -> Comparison:
    return side_by_side([Column(chr(65 + index), f"bundle-{index}", each) for index, each in enumerate(reports)])


def bundle(number: int, cosine: float = 0.99, p50_ms: float = 2.0, model_mib: float = 20, **changes: object) -> Report:
    return full_report(cosine, p50_ms, model_mib, **({"model_sha256": f"{number:064x}"} | changes))


def best(found: Comparison, name: str) -> list[str]:
    line = next(line for line in found.lines if line.name == name)
    return [found.columns[index].key for index in sorted(line.best)]


def test_the_best_of_a_row_is_the_right_end() -> None:
    found = compared(bundle(1, 0.99, 2.0, 20), bundle(2, 0.995, 3.0, 30), bundle(3, 0.995, 4.0, 10))
    assert best(found, "mean cosine") == ["B", "C"]  # a limit of at least: more is better
    assert best(found, "latency p50") == ["A"]  # a limit of at most: less is better
    assert best(found, "model file") == ["C"]
    assert best(found, "peak RSS") == []  # all alike


def test_figures_that_read_alike_are_alike() -> None:
    found = compared(bundle(1, p50_ms=2.00001), bundle(2, p50_ms=2.00002), bundle(3, p50_ms=3))
    assert best(found, "latency p50") == ["A", "B"]


def test_times_of_two_machines_are_never_held_against_one_another() -> None:
    found = compared(bundle(1, p50_ms=2.0), bundle(2, p50_ms=9.0, host=ELSEWHERE))
    assert best(found, "latency p50") == []
    assert best(found, "peak RSS") == []
    assert not found.is_one_machine
    assert found.frontier is not None
    assert [each.row for each in found.frontier.objectives] == ["mean cosine", "model file"]
    assert "no chart puts them on one scale" in " ".join(told(found))
    same = compared(bundle(1, p50_ms=2.0), bundle(2, p50_ms=9.0), bundle(3, p50_ms=1.0, host=ELSEWHERE))
    assert best(same, "latency p50") == ["A"]  # of its machine's two; the third has nothing to be held against


def test_a_bundle_s_report_from_elsewhere_leaves_the_others_on_one_scale() -> None:
    found = compared(bundle(1), bundle(2, 0.999, 5.0, 40), bundle(1, p50_ms=70.0, host=ELSEWHERE))
    assert found.frontier is not None
    assert [each.row for each in found.frontier.objectives] == ["mean cosine", "latency p50", "model file"]
    assert found.frontier.columns == (0, 1)
    assert found.frontier.left_out == {2: "it was measured on another machine"}


def test_a_bundle_measured_twice_does_not_beat_itself() -> None:
    found = compared(bundle(1, p50_ms=3.0), bundle(2, 0.999, 5.0, 40), bundle(1, p50_ms=2.0))
    assert found.frontier is not None
    assert found.frontier.columns == (0, 1)
    assert found.frontier.left_out == {2: "its model file is that of A, and where their times differ the machine did"}


def test_of_one_bundle_measured_twice_neither_is_the_better() -> None:
    found = compared(bundle(1, p50_ms=2.0), bundle(1, p50_ms=3.0))
    assert best(found, "latency p50") == []


def test_fidelity_on_other_questions_is_not_ranked() -> None:
    found = compared(bundle(1, 0.99), bundle(2, 0.999, evaluated_on="the first 8 of 66 inputs"))
    assert best(found, "mean cosine") == []
    assert "Not every column was asked the same inputs" in " ".join(told(found))


def test_ratios_to_different_baselines_are_not_ranked() -> None:
    def with_ratio(number: int, ratio: float, baseline: str) -> Report:
        made = bundle(number, baseline=baseline)
        rows = (each.model_copy(update={"measured": ratio} if each.unit == "x" else {}) for each in made.rows)
        return made.model_copy(update={"rows": tuple(rows)})

    assert best(compared(with_ratio(1, 0.5, "torch"), with_ratio(2, 0.7, "fp32 in ORT")), "latency over fp32") == []
    assert best(compared(with_ratio(1, 0.5, "torch"), with_ratio(2, 0.7, "torch")), "latency over fp32") == ["A"]


def test_what_is_beaten_is_named_with_what_beats_it() -> None:
    found = compared(bundle(1, 0.999, 2.0, 20), bundle(2, 0.99, 3.0, 30), bundle(3, 0.9999, 9.0, 80))
    assert found.frontier is not None
    assert found.frontier.optimal == (0, 2)
    assert found.frontier.beaten == {1: (0,)}
    sentences = told(found)
    assert sentences[0].startswith("Pareto-optimal in 1 - mean cosine, latency p50 and model file: A (onnx-int8), C")
    assert "B (onnx-int8) is beaten by A" in sentences[1]


def test_of_many_that_beat_one_the_first_are_named() -> None:
    worse = [full_report(0.99 - 0.001 * n, 1.0 + n, 10.0 + n, model_sha256=f"{n:064x}") for n in range(6)]
    lines = told(side_by_side([Column(chr(65 + n), f"b{n}", each) for n, each in enumerate(worse)]))
    by = [line.partition("beaten by ")[2].partition(":")[0] for line in lines if "beaten by" in line]
    assert by == ["A", "A and B", "A, B and C", "A, B, C and D", "A, B, C and 2 others"]


def test_an_emulated_column_has_no_time_and_is_told_as_emulated() -> None:
    found = compared(bundle(1), bundle(2, 0.999, 5.0, 40), emulated_report(model_sha256=f"{1:064x}"))
    text = comparison_text(found)
    assert "computed on an emulated cortex-a76 (qemu-aarch64 10.0.13)" in text
    assert "C is not held against them: an emulator has no speed." in text
    assert "different machines" not in text
    p50 = next(line for line in found.lines if line.name == "latency p50")
    assert p50.cells[2] is None


def test_one_bundle_alone_has_no_frontier() -> None:
    found = compared(bundle(1), bundle(1, host=ELSEWHERE))
    assert found.frontier is None
    assert found.value()["pareto"] is None
    assert told(found)[0] == "Every report is of the same model file, so there is nothing to weigh."
    apart = compared(bundle(1), bundle(2, evaluated_on="others"))
    assert apart.frontier is None
    assert told(apart)[0] == "No two bundles share fidelity and size on one scale, so there is nothing to weigh."


def test_the_table_marks_best_and_missed_and_keeps_to_its_width() -> None:
    long = {"strategy": "gguf with a very long name of many words", "device": "a-device-of-a-long-name-indeed-it-is"}
    many = [bundle(number, 0.97 + 0.001 * number, float(number), 20, **long) for number in range(1, 12)]
    text = comparison_text(compared(*many))
    assert max(map(len, text.splitlines())) <= REPORT_COLUMNS
    assert "0.971 MISSED" in text
    assert "0.981 *" in text
    assert "* the best of its row" in text


def test_values_for_machines_have_every_figure() -> None:
    value = compared(bundle(1, 0.99), bundle(2, 0.999)).value()
    row = next(row for row in value["rows"] if row["name"] == "mean cosine")
    assert row["measured"] == {"A": 0.99, "B": 0.999}
    assert row["best"] == ["B"]
    assert value["columns"][0]["report"]["status"] == "passed"
    assert value["pareto"]["optimal"] == ["B"]


@given(
    st.lists(
        st.tuples(
            st.floats(0.5, 1.0), st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.booleans()
        ),
        min_size=2,
        max_size=8,
    )
)  # fmt: skip
def test_the_frontier_is_what_nothing_beats(points: list[tuple[float, float, float, bool]]) -> None:
    made = [bundle(index, *point[:3]) for index, point in enumerate(points)]
    frontier = compared(*made).frontier
    assert frontier is not None
    costs = {index: (1 - points[index][0], *points[index][1:3]) for index in frontier.columns}
    for index, cost in costs.items():
        beaten = [
            o for o, other in costs.items() if other != cost and all(a <= b for a, b in zip(other, cost, strict=True))
        ]
        assert (index in frontier.optimal) == (not beaten)
        assert sorted(frontier.beaten.get(index, ())) == beaten
    assert frontier.optimal


def test_decoders_are_held_by_decoding_speed_where_more_is_better() -> None:
    def decoder(number: int, kl: float, speed: float) -> Report:
        rows = (
            Row(name="mean KL", unit="nats", measured=kl, where="here", bound="max", limit=0.1, passed=True),
            Row(name="decode speed", unit="tokens/s", measured=speed, where="here", bound="min"),
            Row(name="model file", unit="bytes", measured=1e6 * number, where="file"),
        )
        return full_report(task="causal-lm", rows=rows, model_sha256=f"{number:064x}")

    found = compared(decoder(1, 0.01, 30.0), decoder(2, 0.02, 20.0))
    assert best(found, "decode speed") == ["A"]
    assert found.frontier is not None
    assert found.frontier.optimal == (0,)


@pytest.mark.parametrize("name", ["mean cosine", "latency p50"])
def test_a_figure_that_one_report_lacks_is_a_dash(name: str) -> None:
    without = bundle(2)
    without = without.model_copy(update={"rows": tuple(each for each in without.rows if each.name != name)})
    found = compared(bundle(1), without)
    line = next(line for line in found.lines if line.name == name)
    assert line.cells[1] is None
    assert best(found, name) == []
