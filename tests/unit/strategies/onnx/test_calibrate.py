"""Where calibration inputs come from, and which are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadEvalData, UnsupportedModel
from edgekit.model import ImageSetup, SourceModel
from edgekit.progress import Silent
from edgekit.strategies import TensorSignature
from edgekit.strategies.onnx.calibrate import PICTURES, Reader, calibration
from edgekit.strategies.onnx.inputs import pictures

PICTURE = (TensorSignature("pixels", "float32", ("batch", 3, 12, 20)),)


def model(**fields: Any) -> SourceModel:
    return SourceModel(
        name="net",
        source="net",
        format="onnx",
        task="tensors",
        kind="module",
        architecture="Net",
        folder=None,
        **fields,
    )


def good() -> dict[str, Any]:
    return {"pixels": np.zeros((2, 3, 12, 20), np.float32)}


def test_the_users_inputs_are_used_and_nothing_else_of_them() -> None:
    given_ = good() | {"extra": np.zeros(3)}
    found = calibration(model(calibration=(given_, given_)), PICTURE)
    batches = list(found.batches)
    assert found.count == 2
    assert [list(batch) for batch in batches] == [["pixels"], ["pixels"]]
    assert "user" in found.origin


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ({}, "lacks 'pixels'"),
        ({"pixels": np.zeros((2, 3, 12, 20))}, "float64"),
        ({"pixels": np.zeros((2, 3, 12, 21), np.float32)}, "[2, 3, 12, 21]"),
        ({"pixels": np.zeros((3, 12, 20), np.float32)}, "[3, 12, 20]"),
        ({"pixels": np.full((2, 3, 12, 20), np.nan, np.float32)}, "NaN"),
    ],
)
def test_inputs_that_do_not_fit_the_graph_are_refused(batch: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadEvalData) as refused:
        calibration(model(calibration=(good(), batch)), PICTURE)
    assert "calibration input 1" in str(refused.value)
    assert reason in str(refused.value)


def test_pictures_are_drawn_where_none_are_given_and_it_is_said() -> None:
    image = ImageSetup(12, 20, (0.5,) * 3, (0.5,) * 3)
    for source in (model(), model(image=image)):
        found = calibration(source, PICTURE)
        batches = list(found.batches)
        assert len(batches) == found.count == PICTURES
        assert {batch["pixels"].shape for batch in batches} == {(1, 3, 12, 20)}
        assert "drawn" in found.origin
        assert not np.array_equal(batches[0]["pixels"], batches[1]["pixels"])


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSignature("x", "float32", ("batch", 3, "height", "width")),),
        (TensorSignature("x", "float32", ("batch", 8, 12, 20)),),
        (TensorSignature("x", "int64", ("batch", 3, 12, 20)),),
        (*PICTURE, TensorSignature("y", "float32", ("batch", 2))),
    ],
)
def test_what_cannot_be_drawn_is_refused(inputs: tuple[TensorSignature, ...]) -> None:
    with pytest.raises(UnsupportedModel, match="calibration inputs"):
        calibration(model(), inputs)


def test_the_reader_ends_with_none_and_reports_progress() -> None:
    reader = Reader(calibration(model(calibration=(good(),)), PICTURE), Silent())
    assert reader.get_next() is not None
    assert reader.get_next() is None


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_drawn_pictures_are_normalised_deterministic_and_vary(count: int, height: int, width: int, seed: int) -> None:
    drawn = pictures(count, height, width, seed)
    assert drawn.shape == (count, 3, height, width)
    assert drawn.dtype == np.float32
    assert float(np.abs(drawn).max()) < 8
    assert np.array_equal(drawn, pictures(count, height, width, seed))
    if height * width > 64:
        assert float(drawn.std()) > 0.1
