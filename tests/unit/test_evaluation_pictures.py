"""Pictures to measure or train on are refused before they are read where memory would not hold them prepared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.shaped_models import vit
from PIL import Image

from edgekit import evaluation
from edgekit.device import detect
from edgekit.errors import BadEvalData
from edgekit.evaluation import read_eval
from edgekit.model import SourceModel
from edgekit.training_data import read_training

PREPARED_BYTES = 4 * 3 * 32 * 32


def listed(folder: Path, count: int) -> Path:
    """Rows whose pictures all are the one file."""
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "one.png")
    path = folder / "rows.csv"
    path.write_text("image\n" + "one.png\n" * count, encoding="utf-8")
    return path


@pytest.mark.parametrize("read", [read_eval, read_training])
def test_more_pictures_than_memory_holds_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path, SourceModel], object]
) -> None:
    path = listed(tmp_path, 1000)
    monkeypatch.setattr(evaluation, "_free_bytes", lambda: 4 * 2**20)
    monkeypatch.setattr(evaluation, "_picture", lambda *_: pytest.fail("a picture was read"))
    with pytest.raises(BadEvalData) as refused:
        read(path, vit())
    assert str(refused.value) == (
        f"{path}: 1,000 pictures of 32 x 32 take 12 MiB of memory once prepared, 4 MiB are free for them - give"
        " 341 rows or fewer, or free some memory"
    )


def test_as_many_as_fit_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = listed(tmp_path, 8)
    monkeypatch.setattr(evaluation, "_free_bytes", lambda: 8 * PREPARED_BYTES)
    found = read_eval(path, vit())
    assert sum(each["pixel_values"].nbytes for each in found.arrays) == 8 * PREPARED_BYTES
    monkeypatch.setattr(evaluation, "_free_bytes", lambda: 8 * PREPARED_BYTES - 1)
    with pytest.raises(BadEvalData, match="give 7 rows or fewer"):
        read_eval(path, vit())
    monkeypatch.setattr(evaluation, "_free_bytes", lambda: None)
    assert len(read_eval(path, vit())) == 8


def test_what_is_free_is_the_less_of_what_is_available_and_what_an_app_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = detect(measure=False).ram_budget_bytes
    assert budget is not None
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:       16000000 kB\nMemAvailable:      40000 kB\nBuffers: 3 kB\n", encoding="ascii")
    assert evaluation._free_bytes(told) == 30_000 * 1024
    told.write_text(f"MemAvailable: {2**50} kB\n", encoding="ascii")
    assert evaluation._free_bytes(told) == budget
    assert evaluation._free_bytes(tmp_path / "none") == budget
    monkeypatch.setattr(evaluation, "detect", lambda **_: detect(measure=False).model_copy(update={"ram": unknown()}))
    assert evaluation._free_bytes(tmp_path / "none") is None


def unknown() -> object:
    from edgekit.device import Figure, Ram

    figure = Figure(status="unknown")
    return Ram(total_bytes=figure, app_bytes=figure)
