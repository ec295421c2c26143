"""The page of `edgekit qat` shows what came back and the curves; what comes from files is escaped."""

from __future__ import annotations

from typing import Any

from fixtures.teaching import record as student

from edgekit.quantaware.comparison import Recovery
from edgekit.quantaware.finetuning import Record
from edgekit.quantaware.page import page
from edgekit.report import Course


def record(**changes: Any) -> Record:
    course = {name: getattr(student(), name) for name in Course.model_fields}
    own: dict[str, Any] = {
        "deployment": "onnx-int8",
        "seven_bits": False,
        "source": "models/encoder",
        "layers": {"int8": 36, "uint8-table": 3},
        "recovered": Recovery("1 - cosine", 64, 0.0123, 0.00456, 0.63, 0.51, 0.72),
    }
    return Record(**(course | own | changes))


def test_what_came_back_and_the_curves() -> None:
    told = page(record())
    for words in ("Loss by step", "0.0123", "0.00456", "63%", "51% to 72%", "64 rows", "36 int8, 3 uint8-table layers"):
        assert words in told
    assert "encoder, trained for onnx-int8" in told
    assert "304 trained on, 32 to stop by, 64 held out; labels are not used" in told
    assert "7 bits" not in told
    assert "7 bits: the device&#x27;s CPU saturates" in page(record(seven_bits=True))


def test_over_fitting_is_called_out() -> None:
    assert "badge warn" in page(record(remarks=("over-fitting after step 10",)))


def test_what_comes_from_files_is_escaped() -> None:
    told = page(record(source="a/<b>", origin="<i>.jsonl"))
    assert "<b>" not in told
    assert "<i>" not in told
    assert "&lt;i&gt;.jsonl" in told
