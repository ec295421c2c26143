"""Weights that lie on int8 rows already: carried where the device's own grid is theirs, told where it is not."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.devices import device, setting
from fixtures.plans import BOTH, asked, candidate, model

from edgekit.limits import Limits
from edgekit.model import Quantization, SourceModel, TensorInfo, TextSetup
from edgekit.planner import plan
from edgekit.strategies import Candidate
from edgekit.strategies.onnx import int8

VNNI, SATURATING, ARM = device("avx2", "avx512_vnni"), device("avx2"), device("asimd", arch="aarch64")


def on_rows(bits: float, method: str = "qat") -> Quantization:
    return Quantization(method, bits, lossless="onnx-int8", evidence="a test")


def offer(bits: float | None, target: Any) -> Candidate:
    source = SourceModel(
        name="m",
        source="m",
        format="hf",
        task="embedding",
        kind="embedding",
        architecture="BertModel",
        folder=None,
        text=TextSetup(128, None),
        tensors=(TensorInfo("layer.weight", "F32", (1000, 1000)),),
        quantization=None if bits is None else on_rows(bits),
    )
    (only,) = int8.propose(source, setting(target))
    assert isinstance(only, Candidate)
    return only


@pytest.mark.parametrize(("bits", "target"), [(8, VNNI), (8, ARM), (7, VNNI), (7, ARM), (7, SATURATING)])
def test_weights_on_the_devices_own_grid_are_carried(bits: int, target: Any) -> None:
    found = offer(bits, target)
    assert found.faithfulness > offer(None, target).faithfulness
    assert any("carried from" in note for note in found.notes)


def test_eight_bits_are_rounded_once_more_where_products_saturate() -> None:
    found = offer(8, SATURATING)
    assert found.faithfulness == offer(None, SATURATING).faithfulness
    assert any("rounded once more, to 7" in note for note in found.notes)
    assert not any("carried from" in note for note in found.notes)


def test_the_planner_tries_what_a_checkpoint_was_trained_for_first_and_says_why() -> None:
    trained = model("embedding", quantization=on_rows(8))
    carried = candidate(int8.CARRIED_BITS, 4, "onnxruntime", strategy=int8.NAME, options={})
    offers = [candidate(16, 1), candidate(8.5, 1), carried]
    made = plan(trained, asked(), Limits(), offers, BOTH)
    assert made.candidates[0] is carried
    reasons = {remark.rule: remark.reason for remark in made.remarks}
    assert "trained for this type (a test)" in reasons["trained-for"]
    assert "a second time: only after onnx-int8" in reasons["requantize"]


def test_where_it_would_be_rounded_again_it_is_not_first() -> None:
    trained = model("embedding", quantization=on_rows(8))
    again = candidate(8, 4, "onnxruntime", strategy=int8.NAME, options={})
    floats = candidate(32, 8, "onnxruntime")
    assert plan(trained, asked(), Limits(), [again, floats], BOTH).candidates == (floats, again)
