"""A student's figures as a terminal shows them."""

from __future__ import annotations

from fixtures.teaching import compared, record

from edgekit.distilled_table import distilled_text


def test_what_was_lost_and_gained_is_told_with_its_interval_and_how() -> None:
    told = distilled_text(record(compared=(compared(),), remarks=("over-fitting after step 10",)))
    (line,) = (line for line in told.splitlines() if line.startswith("latency"))
    assert line.split("  ")[0] == "latency"
    assert "12 ms" in line
    assert "1.9 x to 2.1 x" in line
    assert "latency: medians of 40 runs" in told
    assert "note: over-fitting after step 10" in told
    assert "64 rows that training never saw" in told
    assert max(map(len, told.splitlines())) <= 100
