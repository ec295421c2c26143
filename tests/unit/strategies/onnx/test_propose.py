"""What is offered for which source and device, from headers alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from fixtures.devices import device, setting

from edgekit.model import SourceModel, TensorInfo, TextSetup
from edgekit.strategies import Candidate, Rejection
from edgekit.strategies.onnx import fp32, int8

VNNI = device("avx2", "avx512_vnni")


def model(**fields: Any) -> SourceModel:
    known: dict[str, Any] = {
        "format": "hf",
        "task": "embedding",
        "kind": "embedding",
        "text": TextSetup(128, None),
        "tensors": (TensorInfo("layer.weight", "F32", (1000, 1000)),),
    }
    return SourceModel(name="m", source="m", architecture="BertModel", folder=None, **(known | fields))


def offer(strategy: Any, source: SourceModel, target: Any = VNNI) -> Candidate | Rejection:
    (only,) = strategy.propose(source, setting(target))
    return only  # type: ignore[no-any-return]


def test_both_are_offered_for_an_encoder() -> None:
    small, large = offer(int8, model()), offer(fp32, model())
    assert isinstance(small, Candidate)
    assert isinstance(large, Candidate)
    assert (small.label, large.label) == ("onnx-int8", "onnx-fp32")
    assert small.faithfulness < large.faithfulness
    assert small.disk_bytes.high < large.disk_bytes.low
    assert not small.notes


@pytest.mark.parametrize("strategy", [int8, fp32])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task": "causal-lm", "kind": "base"}, "decoders are packed by gguf"),
        ({"format": "gguf"}, "GGUF"),
        ({"quantized": "gptq"}, "already quantized (gptq)"),
    ],
)
def test_sources_without_an_onnx_graph_are_rejected_with_the_reason(
    strategy: Any, fields: dict[str, Any], reason: str
) -> None:
    rejection = offer(strategy, model(**fields))
    assert isinstance(rejection, Rejection)
    assert rejection.label == strategy.NAME
    assert reason in rejection.reason
    assert rejection.remedy


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (TensorInfo("w", "I8", (1000, 900)), "already quantized"),
        (TensorInfo("w", "U8", (1000, 400)), "already quantized"),
        (TensorInfo("w", "F16", (2000, 1000)), "16-bit floats"),
    ],
)
def test_onnx_files_that_are_not_float32_are_bundled_as_they_are(tensor: TensorInfo, reason: str) -> None:
    source = model(format="onnx", tensors=(TensorInfo("v", "F32", (1000, 1000)), tensor))
    assert isinstance(rejection := offer(int8, source), Rejection)
    assert reason in rejection.reason
    assert isinstance(candidate := offer(fp32, source), Candidate)
    assert candidate.label == "onnx-fp32 as-is"
    assert reason in candidate.notes[0]


def test_a_float_onnx_file_with_a_few_zero_points_is_not_taken_for_quantized() -> None:
    tensors = (TensorInfo("v", "F32", (1000, 1000)), TensorInfo("z", "I8", (1000,)))
    assert isinstance(offer(int8, model(format="onnx", tensors=tensors)), Candidate)


def test_convolutions_over_text_need_calibration_inputs() -> None:
    source = model(tensors=(TensorInfo("conv.weight", "F32", (64, 64, 3)),))
    assert isinstance(rejection := offer(int8, source), Rejection)
    assert "calibration" in rejection.reason


def test_a_net_too_small_for_int8_is_rejected_before_anything_is_made() -> None:
    head = TensorInfo("head.weight", "F32", (4, 100))
    assert isinstance(rejection := offer(int8, model(format="torch", tensors=(head,))), Rejection)
    assert "change nothing" in rejection.reason
    assert isinstance(offer(int8, model(format="torch", tensors=(head, TensorInfo("w", "F32", (16, 4))))), Candidate)


@pytest.mark.parametrize(
    ("target", "seven_bits"),
    [
        (device("avx2"), True),
        (device(), True),
        (device("avx2", "avx_vnni"), False),
        (VNNI, False),
        (device("neon", arch="aarch64"), False),
        (device("simd128", arch="wasm32"), False),
    ],
)
def test_only_x86_without_vnni_keeps_seven_bits(target: Any, seven_bits: bool) -> None:
    assert int8.saturates(target) is seven_bits
    candidate = offer(int8, model(), target)
    assert isinstance(candidate, Candidate)
    assert any("reduce_range" in note for note in candidate.notes) is seven_bits


def test_proposing_imports_no_engine() -> None:
    script = (
        "import sys; import edgekit.strategies.onnx.int8, edgekit.strategies.onnx.fp32;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'optimum', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
