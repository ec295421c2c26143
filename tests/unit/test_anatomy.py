"""Tensors fall into groups by name, by the kernel that takes them, and nothing of the file is lost or counted twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import onnx_files
from fixtures.manifests import minimal

from edgekit import anatomy
from edgekit.errors import BadModel
from edgekit.manifest import Manifest


def manifest(**changes: Any) -> Manifest:
    return Manifest.model_validate(minimal() | {"model_file": "model.onnx"} | changes)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("bert.embeddings.word_embeddings.weight_quantized", "embeddings"),
        ("bert.embeddings.LayerNorm.weight", "normalization"),
        ("encoder.layer.3.attention.self.query.bias", "attention"),
        ("/encoder/layer.3/attention/self/query/MatMul_quant", "attention"),
        ("encoder.layer.3.attention.output.LayerNorm.weight", "normalization"),
        ("encoder.layer.3.intermediate.dense.bias", "feed-forward"),
        ("/encoder/layer.3/output/dense/MatMul", "feed-forward"),
        ("distilbert.transformer.layer.0.ffn.lin1.weight", "feed-forward"),
        ("model.layers.0.self_attn.q_proj.weight", "attention"),
        ("model.layers.0.mlp.down_proj.weight", "feed-forward"),
        ("transformer.h.0.ln_1.weight", "normalization"),
        ("transformer.wte.weight", "embeddings"),
        ("token_embd.weight", "embeddings"),
        ("token_embd_norm.weight", "normalization"),
        ("blk.0.attn_q.weight", "attention"),
        ("blk.0.attn_output.weight", "attention"),
        ("blk.0.attn_output_norm.weight", "normalization"),
        ("blk.0.ffn_gate_exps.weight", "feed-forward"),
        ("output_norm.weight", "normalization"),
        ("output.weight", "output"),
        ("cls.output.weight", "output"),
        ("lm_head.weight", "output"),
        ("classifier.1.weight_scale", "output"),
        ("features.0.0.conv.weight", "convolution"),
        ("resnet.embedder.embedder.activation", None),
        ("weight", None),
        ("linear_7", None),
    ],
)
def test_a_name_says_the_group(name: str, group: str | None) -> None:
    assert anatomy.group_of(name) == group


@pytest.mark.parametrize("location", [None, "weights.bin"])
def test_the_parts_are_the_whole_file_with_its_external_data(tmp_path: Path, location: str | None) -> None:
    path = onnx_files.products(tmp_path / "model.onnx", location=location)
    (tmp_path / "bystander.bin").write_bytes(b"x" * 1000)
    found = anatomy.sizes(tmp_path, manifest())
    external = (tmp_path / location).stat().st_size if location else 0
    assert sum(each.size_bytes for each in found) == path.stat().st_size + external
    tensors = 4 * (32 * 24 + 32 + 32 * 20 + 20 * 3 + 3)
    assert sum(each.size_bytes for each in found if each.group != anatomy.REST) == tensors
    assert found[-1].group == anatomy.REST


def test_a_nameless_weight_is_what_its_kernel_does(tmp_path: Path) -> None:
    onnx_files.convolutions(tmp_path / "model.onnx")
    groups = {each.group: each.tensors for each in anatomy.sizes(tmp_path, manifest())}
    assert groups["convolution"] == 2  # the weight and the bias of the Conv; the Gemm's say nothing
    assert groups["other"] == 2


def test_behind_a_dequantizer_the_kernel_that_takes_its_output_is_asked(tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("DequantizeLinear", ["onnx::MatMul_7_quantized", "s"], ["w"], name="dq"),
        helper.make_node("Transpose", ["w"], ["wt"], name="t"),
        helper.make_node("MatMul", ["x", "wt"], ["y"], name="/encoder/layer.0/attention/self/key/MatMul"),
    ]
    initializers = [
        numpy_helper.from_array(np.zeros((4, 4), np.int8), "onnx::MatMul_7_quantized"),
        numpy_helper.from_array(np.float32(1), "s"),
    ]
    x = helper.make_tensor_value_info("x", 1, [1, 4])
    y = helper.make_tensor_value_info("y", 1, [1, 4])
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y], initializers)), tmp_path / "model.onnx")
    found = {(each.group, each.dtype): each.size_bytes for each in anatomy.sizes(tmp_path, manifest())}
    assert found["attention", "int8"] == 16
    assert found["attention", "float32"] == 4


def test_a_gguf_file_is_read_by_its_header(tmp_path: Path) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_tensor("token_embd.weight", np.zeros((64, 32), np.float32))
    writer.add_tensor("blk.0.attn_norm.weight", np.zeros(32, np.float32))
    packed = np.zeros((64, 34), np.uint8)
    writer.add_tensor("blk.0.ffn_up.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = anatomy.sizes(tmp_path, manifest(engine="llama.cpp", model_file="m.gguf"))
    assert [(each.group, each.dtype, each.tensors, each.size_bytes) for each in found[:3]] == [
        ("embeddings", "F32", 1, 8192),
        ("feed-forward", "Q8_0", 1, 2176),
        ("normalization", "F32", 1, 128),
    ]
    assert sum(each.size_bytes for each in found) == (tmp_path / "m.gguf").stat().st_size


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph" * 9)
    with pytest.raises(BadModel, match="not a readable ONNX file"):
        anatomy.sizes(tmp_path, manifest())
