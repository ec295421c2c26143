"""What is offered for which source and device, from headers alone."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from fixtures import costing
from fixtures.devices import device, setting
from fixtures.shaped_models import bert, resnet, vit

from edgekit.costs import Estimate, Setting
from edgekit.device.profile import Figure
from edgekit.model import SourceModel, TensorInfo, TextSetup
from edgekit.strategies import Candidate, Rejection
from edgekit.strategies.onnx import fp32, int8

VNNI = device("avx2", "avx512_vnni")
ENCODE_FACTORS = {
    **dict.fromkeys(("fp32 products", "int8 products", "attention products", "softmax", "elementwise"), 1.5),
    **dict.fromkeys(("convolutions", "int8 convolutions", "features", "int8 features", "weights read"), 1.5),
    "calls": 5e-6,
    "hand-overs": 2e-6,
    "tokens": 1e-6,
}


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


def notes(source: SourceModel) -> str:
    candidate = offer(int8, source)
    assert isinstance(candidate, Candidate)
    return " ".join(candidate.notes)


def test_convolutions_are_never_quantized_dynamically_and_the_note_says_so() -> None:
    assert "static QDQ" in notes(resnet())
    assert "convolutions stay in float32" in notes(vit())
    assert "convolution" not in notes(bert())


def test_where_embeddings_dominate_the_note_says_what_int8_does_to_them() -> None:
    assert "79% of the weights are embeddings" in notes(bert(layers=1, width=64, vocabulary=2500, max_tokens=512))
    assert "embeddings" not in notes(bert(layers=4, width=64, vocabulary=512, max_tokens=128))


def test_every_estimate_is_an_interval_and_tells_its_basis() -> None:
    here = costing.setting(costing.row(ENCODE_FACTORS), threads=1)
    for strategy in (int8, fp32):
        for source in (bert(), vit(), resnet()):
            (candidate,) = strategy.propose(source, here)
            assert isinstance(candidate, Candidate)
            assert candidate.latency_ms is not None
            found = (candidate.disk_bytes, candidate.ram_bytes, candidate.latency_ms, *candidate.latency_at.values())
            assert all(0 < each.low < each.high and each.basis for each in found)


def test_longer_texts_take_longer_and_the_timed_length_is_the_one_told() -> None:
    (candidate,) = fp32.propose(bert(), costing.setting(costing.row(ENCODE_FACTORS)))
    assert isinstance(candidate, Candidate)
    times = [candidate.latency_at[tokens].mid for tokens in (16, 128, 512)]
    assert times == sorted(times)
    assert candidate.latency_ms == candidate.latency_at[128]


def test_latency_is_unknown_without_a_rate_or_without_the_work() -> None:
    row = costing.row(ENCODE_FACTORS)
    deberta = replace(bert(), config={**bert().config, "model_type": "deberta-v2"})
    assert latency(int8, bert(), costing.setting(row)) is not None
    assert latency(int8, deberta, costing.setting(row)) is None
    profile = costing.machine()
    blind = profile.model_copy(
        update={"cpu": profile.cpu.model_copy(update={"int8_ops_per_s": Figure(status="unknown")})}
    )
    assert latency(int8, bert(), costing.setting(row, profile=blind)) is None
    assert latency(fp32, bert(), costing.setting(row, profile=blind)) is not None


def test_a_browser_is_offered_both_at_costs_that_say_where_they_come_from() -> None:
    here = costing.setting(profile=device("simd128", arch="wasm32").model_copy(update={"os": "browser"}))
    for strategy in (int8, fp32):
        (candidate,) = strategy.propose(bert(), here)
        assert isinstance(candidate, Candidate)
        assert candidate.latency_ms is None
        assert candidate.memory is not None
        assert candidate.ram_bytes == candidate.memory.peak
        assert "carried over from the Python runtime on Linux" in candidate.ram_bytes.basis
    (at_home,) = int8.propose(bert(), costing.setting())
    assert isinstance(at_home, Candidate)
    assert "carried over" not in at_home.ram_bytes.basis


def test_proposing_takes_milliseconds() -> None:
    source, here = bert(layers=6, width=384, inner=1536, heads=12, vocabulary=30522), setting(VNNI)
    offer(int8, source)
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        int8.propose(source, here)
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.005


def latency(strategy: Any, source: SourceModel, here: Setting) -> Estimate | None:
    (candidate,) = strategy.propose(source, here)
    assert isinstance(candidate, Candidate)
    return candidate.latency_ms


def test_proposing_imports_no_engine() -> None:
    script = (
        "import sys; import edgekit.strategies.onnx.int8, edgekit.strategies.onnx.fp32;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'optimum', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
