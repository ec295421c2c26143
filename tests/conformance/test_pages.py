"""Pages in a real browser, on a phone and on a desk, light and dark: none scrolls sideways, every text can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.browser import looked_at
from fixtures.manifests import minimal
from fixtures.reports import emulated_report, full_report

from edgekit import html
from edgekit.comparison import Column, side_by_side
from edgekit.manifest import Manifest
from edgekit.report import Report

PHONE, DESK = 360, 1280
LONG = "a_name_without_a_single_place_to_break_it_" * 4


def compared(reports: list[Report]) -> str:
    columns = [Column(chr(65 + index), f"bundle-{index}", each) for index, each in enumerate(reports)]
    return html.comparison_page(side_by_side(columns))


def hostile_report() -> Report:
    plain = full_report(cosine=0.9)
    rows = tuple(each.model_copy(update={"where": LONG}) for each in plain.rows)
    changes = {"model": LONG, "strategy": LONG, "device": LONG, "reference": LONG, "notes": (LONG,), "rows": rows}
    return plain.model_copy(update=changes)


def pages() -> dict[str, str]:
    many = [full_report(0.99 - 0.001 * n, 1.0 + n, 10.0 + n, model_sha256=f"{n:064x}") for n in range(12)]
    decoder = full_report(
        task="causal-lm", device_is_host=True, series={"decode step": (1.0, 2.0, 30.0), "KL": (0.0, 1e-6, 0.02, 3.0)}
    )
    return {
        "embedding": html.page(full_report(), Manifest.model_validate(minimal())),
        "failed, of long names": html.page(hostile_report()),
        "emulated": html.page(emulated_report()),
        "decoder": html.page(decoder),
        "compared": compared(many[:3]),
        "compared, many": compared(many),
        "compared, of long names": compared([hostile_report(), full_report()]),
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_fit_and_can_be_read(tmp_path: Path, dark: bool) -> None:
    seen = looked_at(pages(), (PHONE, DESK), tmp_path, dark=dark)
    assert len(seen) == 2 * len(pages())
    for (name, width), found in seen.items():
        assert found["window"] == width
        assert found["width"] <= width, f"{name} at {width} px scrolls sideways: {found['width']} px"
        assert found["outside"] == [], f"{name} at {width} px"
        assert found["faint"] == [], f"{name} at {width} px"
        assert found["requests"] == []
        assert found["texts"] > 40
        assert (found["background"] == "rgb(15, 18, 20)") is dark


def test_the_test_sees_what_is_wrong(tmp_path: Path) -> None:
    wrong = '<!doctype html><body style="background:#fff"><p style="width:900px;color:#999">far too wide</p></body>'
    found = looked_at({"wrong": wrong}, (PHONE,), tmp_path, dark=False)["wrong", PHONE]
    assert found["width"] > PHONE
    assert found["faint"] == ["far too wide: 2.85"]
