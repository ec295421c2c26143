"""The measuring subprocess: what it writes, in which process, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from fixtures import bundles

pytestmark = pytest.mark.engines

LINUX = Path("/proc/self/status").exists()


def _probe(work: Path, bundle: Path, **job: Any) -> subprocess.CompletedProcess[str]:
    work.mkdir(exist_ok=True)
    settings = {"bundle": str(bundle), "threads": 1, "warmup": 1, "repeats": 5} | job
    (work / "job.json").write_text(json.dumps(settings), encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(bundles.RUNTIME)}
    command = [sys.executable, *bundles.STRICT, "-m", "edgekit_runtime.probe", str(work / "job.json")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _measured(work: Path, bundle: Path, **job: Any) -> dict[str, Any]:
    ran = _probe(work, bundle, **job)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    found: dict[str, Any] = json.loads((work / "result.json").read_text(encoding="utf-8"))
    return found


def test_an_encoder_is_measured(tmp_path: Path) -> None:
    bundle = bundles.embedding_bundle(tmp_path / "b")
    texts = ["the sky", "grass", ""]
    result = _measured(
        tmp_path / "w",
        bundle,
        latency={"text": "the sky is blue"},
        tokenize=texts,
        fidelity={"texts": texts},
        baseline={"engine": "onnxruntime", "model_file": str(bundle / "onnx" / "model.onnx")},
    )
    assert len(result["latency_ms"]) == 5
    assert min(result["latency_ms"]) <= result["p50_ms"] <= result["p90_ms"] <= result["p99_ms"]
    assert len(result["paired_latency_ms"]) == len(result["baseline_latency_ms"]) == 5
    assert 0 < result["first_ms"] < result["load_ms"]
    if LINUX:
        assert 2**20 < result["anonymous_bytes"] < result["peak_rss_bytes"] < 2**30
        assert result["anonymous_bytes"] + result["file_rss_bytes"] <= result["peak_rss_bytes"]
    assert {"numpy", "onnxruntime", "tokenizers"} <= set(result["modules"])
    assert not {"torch", "transformers", "edgekit", "llama_cpp"} & set(result["modules"])
    assert set(result["libraries"]) == {"numpy", "onnxruntime", "tokenizers"}
    assert result["threads"] == 1
    with rt.open(bundle, threads=1) as session:
        assert result["token_ids"] == [session.tokenize(text) for text in texts]
        assert np.load(tmp_path / "w" / "embeddings.npy") == pytest.approx(session.embed(texts), abs=1e-6)


def test_a_classifier_is_measured_by_its_outputs(tmp_path: Path) -> None:
    bundle = bundles.tagger_bundle(tmp_path / "b")
    _measured(tmp_path / "w", bundle, latency={"text": "red"}, fidelity={"texts": ["the sky", "red"]})
    with rt.open(bundle, threads=1) as session:
        for index, text in enumerate(["the sky", "red"]):
            with np.load(tmp_path / "w" / f"outputs-{index}.npz") as outputs:
                assert outputs["logits"] == pytest.approx(session.run(session.encode(text))["logits"], abs=1e-6)


def test_tensors_are_read_from_files(tmp_path: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    np.savez(tmp_path / "x.npz", x=np.ones((1, 4), np.float32))
    path = str(tmp_path / "x.npz")
    result = _measured(tmp_path / "w", bundle, latency={"tensors": path}, fidelity={"npz": [path, path]})
    assert result["token_ids"] == []
    with np.load(tmp_path / "w" / "outputs-1.npz") as outputs:
        assert outputs["y"].tolist() == [[2, 2, 2, 2]]


def test_a_language_model_is_measured_by_its_steps(tmp_path: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    ids = [1, *(3 + byte for byte in b"Axyz")]
    model = str(bundle / "model-F32.gguf")
    result = _measured(
        tmp_path / "w",
        bundle,
        context_tokens=64,
        latency={"ids": ids, "decode_tokens": 9},
        tokenize=["A"],
        fidelity={"ids": [ids, ids[:1]]},
        baseline={"engine": "llama.cpp", "model_file": model},
    )
    assert len(result["ttft_samples_ms"]) == 3
    assert len(result["decode_ms"]) == 3 * 8
    assert result["prompt_tokens"] == 5
    assert result["prefill_tokens_per_s"] == pytest.approx(5000 / result["ttft_ms"])
    assert result["decode_tokens_per_s"] == pytest.approx(1000 / np.median(result["decode_ms"]))
    assert len(result["paired_latency_ms"]) == len(result["baseline_latency_ms"]) == 3 * 8
    assert "p50_ms" not in result
    with rt.open(bundle, threads=1) as session:
        assert np.array_equal(np.load(tmp_path / "w" / "logits-0.npy"), session.logits(ids))
    assert np.load(tmp_path / "w" / "logits-1.npy").shape == (1, 259)


def test_memory_is_read_before_the_outputs_are_computed(tmp_path: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b", context_tokens=9_000)
    latency = {"ids": [1], "decode_tokens": 2}
    small = _measured(tmp_path / "w", bundle, latency=latency)
    many = [[1] * 8_000]  # 8 MB of logits
    large = _measured(tmp_path / "w", bundle, latency=latency, fidelity={"ids": many})
    assert (tmp_path / "w" / "logits-0.npy").stat().st_size > 8e6
    if LINUX:
        assert abs(large["peak_rss_bytes"] - small["peak_rss_bytes"]) < 3e6


def test_a_damaged_bundle_is_told_as_one_line_of_json(tmp_path: Path) -> None:
    bundle = bundles.embedding_bundle(tmp_path / "b")
    (bundle / "tokenizer.json").write_text("{}", encoding="utf-8")
    ran = _probe(tmp_path / "w", bundle, latency={"text": "red"})
    assert ran.returncode == 1
    assert json.loads(ran.stderr)["error"] == "BundleInvalid"
    assert not (tmp_path / "w" / "result.json").exists()


@pytest.mark.parametrize("job", [{}, {"latency": {}}, {"latency": {"tensors": "nowhere.npz"}}])
def test_an_incomplete_job_is_told_as_one_line_of_json(tmp_path: Path, job: dict[str, Any]) -> None:
    ran = _probe(tmp_path / "w", bundles.embedding_bundle(tmp_path / "b"), **job)
    assert ran.returncode == 1
    assert set(json.loads(ran.stderr)) == {"error", "message"}


def test_a_process_that_holds_torch_is_not_measured(tmp_path: Path) -> None:
    bundle = bundles.embedding_bundle(tmp_path / "b")
    program = f"""
import pathlib, sys, types
sys.modules["torch"] = types.ModuleType("torch")
from edgekit_runtime import probe
probe.probe({{"bundle": {str(bundle)!r}, "latency": {{"text": "red"}}}}, pathlib.Path({str(tmp_path)!r}))
"""
    environment = {"PYTHONPATH": str(bundles.RUNTIME)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "torch was imported" in ran.stderr


def test_wrong_usage(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(bundles.RUNTIME)}
    command = [sys.executable, "-m", "edgekit_runtime.probe"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.split(":")[0]) == (2, "usage")
