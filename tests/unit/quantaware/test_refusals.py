"""What is not trained for its quantization, and why; and what is said of one that was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixtures.plans import model

from edgekit.cli import main
from edgekit.errors import EdgekitError, NoData, UnsupportedModel, UsageError
from edgekit.model import Training
from edgekit.quantaware.comparison import recovered
from edgekit.quantaware.deployed import DEPLOYMENTS, Deployment
from edgekit.quantaware.finetuning import checked

ROWS = Training("made up", texts=("a", "b"))


@pytest.mark.parametrize(
    ("deployment", "changes", "reason"),
    [
        ("onnx-int8", {"format": "onnx"}, "a model of format onnx is not trained"),
        ("gguf-Q4_0", {"format": "gguf"}, "a model of format gguf"),
        ("onnx-int8", {"task": "tensors"}, "a model for tensors"),
        ("gguf-Q4_0", {"quantized": "gptq"}, "is quantized already (gptq)"),
        ("onnx-int8", {"task": "causal-lm"}, "give --for gguf-Q4_0"),
    ],
)
def test_models_that_are_not_trained(deployment: Deployment, changes: dict[str, Any], reason: str) -> None:
    fields = {"format": "hf", "training": ROWS, "task": "embedding"} | changes
    with pytest.raises(UnsupportedModel) as raised:
        checked(replace(model(fields.pop("task")), **fields), deployment)
    assert reason in str(raised.value)


def test_without_rows_there_is_nothing_to_train_on() -> None:
    with pytest.raises(NoData):
        checked(replace(model("embedding"), format="hf"), "onnx-int8")
    assert checked(replace(model("embedding"), format="hf", training=ROWS), "onnx-int8") is ROWS


@pytest.mark.parametrize(
    ("words", "told", "error"),
    [
        ([], "--for onnx-int8 or --for gguf-Q4_0", UsageError),
        (["--for", "q8"], "onnx-int8", UsageError),
        (["--for", "onnx-int8"], "needs rows to train on", NoData),
        (["--for", "onnx-int8", "--data", "t.jsonl", "--budget", "soon"], "--budget is 'soon'", UsageError),
        (["--for", "onnx-int8", "--data", "t.jsonl", "--seed", "x"], "--seed", UsageError),
    ],
)
def test_flags_are_refused_before_anything_is_opened(
    words: list[str], told: str, error: type[EdgekitError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["qat", "no-such-model", *words]) == error.exit_code
    assert told in capsys.readouterr().err


def test_the_commands_deployments_are_those_there_are() -> None:
    assert DEPLOYMENTS == ("onnx-int8", "gguf-Q4_0")


def test_the_share_that_came_back_is_of_what_was_lost() -> None:
    rng = np.random.default_rng(1)
    plain = rng.random(200) + 0.5
    found = recovered(np.stack([plain, plain / 4]), "mean KL")
    assert found.share == pytest.approx(0.75)
    assert found.low == pytest.approx(0.75)
    assert found.high == pytest.approx(0.75)
    noisy = recovered(np.stack([plain, rng.permutation(plain) / 4]), "mean KL")
    assert noisy.low < noisy.share < noisy.high
    assert "75% recovered" in found.told


def test_where_rounding_takes_nothing_nothing_can_come_back() -> None:
    found = recovered(np.zeros((2, 8)), "1 - cosine")
    assert (found.plain, found.trained, found.share, found.low, found.high) == (0, 0, 0, 0, 0)
