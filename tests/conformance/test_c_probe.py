"""What the C probe measures and tells, as the Python probe does, and the jobs it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import bundles, c_runtime

pytestmark = pytest.mark.engines

IDS = [1, *(3 + byte for byte in b"Axyz")]
ONE = np.ones((1, 4), np.float32)


def test_what_is_timed(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.image_bundle(tmp_path / "b")
    np.save(tmp_path / "x.npy", np.ones((2, 3, 4, 4), np.float32))
    latency = {"tensors": {"pixel_values": "../x.npy"}}
    ran = c_runtime.ask(
        [c_programs / "probe"], tmp_path / "w", bundle, "onnxruntime", [], latency=latency, longest=latency,
        baseline={"model_file": str(bundle / "onnx" / "model.onnx")},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    result = json.loads((tmp_path / "w" / "result.json").read_bytes())
    assert len(result["latency_ms"]) == len(result["paired_latency_ms"]) == len(result["baseline_latency_ms"]) == 5
    for rank in (50, 90, 99):
        assert result[f"p{rank}_ms"] == pytest.approx(np.percentile(result["latency_ms"], rank))
    assert 2**20 < result["anonymous_bytes"] < result["peak_rss_bytes"]
    manifest = json.loads((bundle / "edgekit.json").read_bytes())
    assert result["model_sha256"] == next(
        file["sha256"] for file in manifest["files"] if file["path"] == manifest["model_file"]
    )


def test_the_machine_is_told_as_in_python(tmp_path: Path, c_programs: Path) -> None:
    from edgekit_runtime import _machine

    bundle = bundles.chain_bundle(tmp_path / "b")
    ran = c_runtime.ask(
        [c_programs / "probe"], tmp_path / "w", bundle, "llama.cpp", [], latency={"ids": IDS, "decode_tokens": 9}
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    result = json.loads((tmp_path / "w" / "result.json").read_bytes())
    assert len(result["ttft_samples_ms"]) == 3
    assert len(result["decode_ms"]) == 3 * 8
    assert result["decode_tokens_per_s"] == pytest.approx(1000 / np.median(result["decode_ms"]))
    assert result["arch"] == _machine.arch()
    assert set(result["isa"]) == set(_machine.isa_features() or ()) & _machine.INSTRUCTION_SETS
    assert result["cores"] == _machine.physical_cores()
    assert result["cpu_parts"] == _machine.cpu_parts()
    assert result["cpu"] == _machine.cpu_model()
    assert result["ram_total_bytes"] == _machine.ram_total_bytes()


def test_little_memory_is_heeded(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    work = tmp_path / "w"
    ran = c_runtime.ask([c_programs / "probe"], work, bundle, "onnxruntime", [{"x": ONE}], low_memory=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert np.array_equal(c_runtime.outputs(work, 0)["y"], 2 * ONE)


def _npy() -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, ONE)
    return file.getvalue()


X = {"tensors": {"x": "x.npy"}}
NPY = _npy()
REFUSED: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "an input of no kind": ({"latency": {}}, NPY, "ValueError"),
    "a file that is not there": ({"latency": {"tensors": {"x": "no.npy"}}}, NPY, "OSError"),
    "a name of no file": ({"answers": [{"tensors": {"x": 3}}]}, NPY, "ValueError"),
    "an empty file": ({"answers": [X]}, b"", "OSError"),
    "half a header": ({"answers": [X]}, NPY[:20], "OSError"),
    "half an array": ({"answers": [X]}, NPY[:-1], "OSError"),
    "more than an array": ({"answers": [X]}, NPY + b"x", "OSError"),
    "a negative axis": ({"answers": [X]}, NPY.replace(b"(1, 4)", b"(1,-4)"), "OSError"),
    "axes without end": ({"answers": [X]}, NPY.replace(b"(1, 4)", b"(1, 4 "), "OSError"),
    "columns first": ({"answers": [X]}, NPY.replace(b"False", b"True "), "OSError"),
    "objects": ({"answers": [X]}, NPY.replace(b"'<f4'", b"'|O' "), "OSError"),
    "an axis as wide as can be": (
        {"answers": [X]},
        NPY.replace(b"(1, 4), }         ", b"(9223372036854775807,9), }")[: len(NPY)],
        "OSError",
    ),
    "an array of another shape": ({"answers": [X]}, NPY.replace(b"(1, 4)", b"(4, 1)"), "BadInput"),
    "ids for a graph": ({"answers": [{"ids": [1]}]}, NPY, "WrongTask"),
    "halves of ids": ({"answers": [{"ids": [1.5]}]}, NPY, "ValueError"),
    "answers that are no list": ({"answers": 3}, NPY, "ValueError"),
    "a baseline that is not there": ({"latency": X, "baseline": {"model_file": "no.onnx"}}, NPY, "LoadFailed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_job_that_cannot_be_done_is_told_as_one_line_of_json(tmp_path: Path, c_programs: Path, name: str) -> None:
    bundle, work = bundles.tensor_bundle(tmp_path / "b"), tmp_path / "w"
    work.mkdir()
    job, raw, error = REFUSED[name]
    (work / "x.npy").write_bytes(raw)
    ran = c_runtime.ask([c_programs / "probe"], work, bundle, "onnxruntime", [], **job)
    assert ran.returncode == 1
    told = json.loads(ran.stderr)
    assert (told.keys(), told["error"]) == ({"error", "message"}, error)
    assert told["message"]
    assert not list(work.glob("result.json*"))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"3", b"[" * 10_000])
def test_what_is_no_job(tmp_path: Path, c_programs: Path, text: bytes) -> None:
    (tmp_path / "job.json").write_bytes(text)
    ran = c_runtime.run_c([c_programs / "probe", tmp_path / "job.json"])
    assert ran.returncode == 1
    assert json.loads(ran.stderr).keys() == {"error", "message"}


def test_wrong_usage(c_programs: Path) -> None:
    ran = c_runtime.run_c([c_programs / "probe"])
    assert (ran.returncode, ran.stderr.split(":")[0]) == (2, "usage")
