from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures.plain_folders import sentence_folder

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import open_model, source_sha256

pytestmark = pytest.mark.engines


def save(path: Path, location: str | None = None) -> Path:
    """y = x @ w, with w [4, 2] inside, or said to lie in `location`."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    if location is not None:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "32")):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weight],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    assert onnx.load(path, load_external_data=False).graph.name == "g"
    return path


def test_a_bare_graph_maps_tensors(tmp_path: Path) -> None:
    model = open_model(save(tmp_path / "Net.onnx"))
    assert (model.name, model.format, model.task, model.kind) == ("net", "onnx", "tensors", "module")
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in model.tensors] == [("w", "F32", (4, 2))]
    assert (model.parameters, model.files, model.text) == (8, (Path("Net.onnx"),), None)


def test_external_data_belongs_to_the_model(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(32))
    model = open_model(save(tmp_path / "net.onnx", "w.bin"))
    assert model.files == (Path("net.onnx"), Path("w.bin"))
    digest = source_sha256(model)
    (tmp_path / "w.bin").write_bytes(bytes(31) + b"\1")
    assert source_sha256(model) != digest


@pytest.mark.parametrize(
    ("location", "said"),
    [("../w.bin", "leaves the folder"), ("/etc/passwd", "leaves the folder"), ("gone.bin", "is missing"),
     ("short.bin", "31 bytes, net.onnx reads up to byte 32")],
)  # fmt: skip
def test_external_data_that_cannot_be_used(tmp_path: Path, location: str, said: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(32))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "short.bin").write_bytes(bytes(31))
    with pytest.raises(BadModel, match=said):
        open_model(save(tmp_path / "m" / "net.onnx", location))


@pytest.mark.parametrize("damage", [b"", b"not a protobuf", None])
def test_damaged_files(tmp_path: Path, damage: bytes | None) -> None:
    path = save(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    with pytest.raises(BadModel):
        open_model(path)


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_with_a_task_the_files_beside_it_count(tmp_path: Path, place: str) -> None:
    folder = sentence_folder(tmp_path / "encoder")
    model = open_model(save(folder / place), task="embedding", cache=tmp_path / "cache")
    assert (model.name, model.task, model.pooling, model.normalize) == ("encoder", "embedding", "mean", True)
    assert model.text is not None
    assert (model.text.max_tokens, model.text.tokenizer_json) == (16, folder / "tokenizer.json")


@pytest.mark.parametrize(("task", "error"), [("causal-lm", UnsupportedModel), ("embedding", BadModel)])
def test_tasks_a_bare_graph_cannot_do(tmp_path: Path, task: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_model(save(tmp_path / "net.onnx"), task=task)
