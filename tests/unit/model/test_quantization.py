"""What a checkpoint is quantized to, and which type holds it: by its parts, proven by its values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.quantized_models import lattice_llama, quantized_llama

from edgekit.checkpoint import open_checkpoint
from edgekit.model import Quantization, open_model

pytestmark = pytest.mark.engines


def quantization(folder: Path) -> Quantization:
    found = open_model(folder).quantization
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("gptq", ("gptq", 4, 32, True, False, "Q4_0")),
        ("gptq asymmetric", ("gptq", 4, 32, False, False, "Q4_1")),
        ("gptq act-order", ("gptq", 4, 32, True, True, "")),
        ("gptq g16", ("gptq", 4, 16, True, False, "")),
        ("gptq 8-bit", ("gptq", 8, 32, True, False, "Q8_0")),
        ("gptq 3-bit", ("gptq", 3, 32, True, False, "Q4_0")),
        ("gptq 2-bit", ("gptq", 2, 32, False, False, "Q4_1")),
        ("awq", ("awq", 4, 32, False, False, "Q4_1")),
        ("auto-round", ("gptq", 4, 32, True, False, "Q4_0")),
        ("ct int4", ("compressed-tensors", 4, 32, True, False, "Q4_0")),
        ("ct int8 groups", ("compressed-tensors", 8, 32, True, False, "Q8_0")),
        ("ct int8 channel", ("compressed-tensors", 8, None, True, False, "Q8_0")),
        ("mxfp4", ("mxfp4", 4.25, 32, True, False, "MXFP4")),
        ("nf4", ("bitsandbytes", 4.5, 64, True, False, "")),
        ("llm.int8", ("bitsandbytes", 8, None, True, False, "Q8_0")),
    ],
)
def test_what_is_read_of_a_packed_checkpoint(kind: str, expected: tuple[Any, ...], tmp_path: Path) -> None:
    made = quantized_llama(tmp_path / "m", kind)
    found = quantization(made.folder)
    assert (found.method, found.bits, found.group_size, found.symmetric, found.act_order, found.lossless) == expected
    if found.lossless:
        assert found.types == dict.fromkeys(made.values, found.lossless)
        assert found.evidence == f"192 of 192 sampled blocks lie on the grid of {found.lossless}"
    else:
        assert found.types == {}
        assert "the nearest, Q8_0, changes sampled rows by a relative RMSE of 0.00" in found.evidence


def test_the_tensors_are_those_of_the_float_model(tmp_path: Path) -> None:
    packed = open_model(quantized_llama(tmp_path / "packed", "awq").folder)
    plain = open_model(tiny_models.tiny_llama(tmp_path / "plain", hidden_size=128, intermediate_size=256))
    assert {t.name: t.shape for t in packed.tensors} == {t.name: t.shape for t in plain.tensors}
    assert packed.parameters == plain.parameters
    assert (packed.quantized, plain.quantized, plain.quantization) == ("awq", None, None)


@pytest.mark.parametrize(("dtype", "group"), [("bfloat16", 32), ("float16", 32), ("float32", 128)])
def test_float_weights_on_a_grid_are_found_by_their_values(dtype: str, group: int, tmp_path: Path) -> None:
    made = lattice_llama(tmp_path / "tiny", dtype, group)
    model = open_model(made.folder)
    assert model.quantization is not None
    assert (model.quantized, model.quantization.method, model.quantization.lossless) == (None, "fake-quantized", "Q4_0")
    assert set(model.quantization.types) == set(made.values)  # and not the embeddings, which lie on none
    assert "fake-quantized weights: 192 of 192 sampled blocks lie on the grid of Q4_0" in model.evidence


@pytest.mark.parametrize("name", ["gemma-3-1b-it-qat-q4_0-unquantized", "tiny.QAT"])
def test_a_name_says_that_they_were_trained_for_it(name: str, tmp_path: Path) -> None:
    assert quantization(lattice_llama(tmp_path / name).folder).method == "qat"


def test_a_name_alone_proves_nothing(tmp_path: Path) -> None:
    model = open_model(tiny_models.tiny_llama(tmp_path / "tiny-qat-q4_0", dtype="bfloat16"))
    assert model.quantization is None
    assert "its name says QAT, and its weights lie on no grid" in model.evidence


def test_weights_of_zeros_prove_nothing(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tiny_models.tiny_llama(tmp_path / "m")
    zeros = {name: value * 0 for name, value in load_file(folder / "model.safetensors").items()}
    save_file(zeros, folder / "model.safetensors", {"format": "pt"})
    assert open_model(folder).quantization is None


def test_each_matrix_has_the_type_of_its_own_grid(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    made = lattice_llama(tmp_path / "m", "float32")
    stored = load_file(made.folder / "model.safetensors")
    shifted, noisy = "model.layers.1.mlp.down_proj.weight", "model.layers.1.mlp.up_proj.weight"
    stored[shifted] = stored[shifted] + 0.01
    stored[noisy] = stored[noisy] + 0.01 * torch.rand_like(stored[noisy])
    save_file(stored, made.folder / "model.safetensors", {"format": "pt"})
    expected = {name: "Q4_1" if name == shifted else "Q4_0" for name in made.values if name != noisy}
    assert quantization(made.folder).types == expected


def test_a_matrix_whose_rows_are_no_whole_blocks_is_not_carried(tmp_path: Path) -> None:
    made = quantized_llama(tmp_path / "m", "awq", intermediate_size=320)
    assert set(quantization(made.folder).types) == set(made.values)
    made = quantized_llama(tmp_path / "n", "ct int8 channel", intermediate_size=264)
    narrow = {name for name, value in made.values.items() if value.shape[1] % 32}
    assert narrow
    assert set(quantization(made.folder).types) == set(made.values) - narrow


def with_biases(folder: Path, value: float, **config: Any) -> Path:
    """A GPTQ model with a bias of `value` beside each packed matrix, as AutoGPTQ writes them."""
    from safetensors.numpy import load_file, save_file

    made = quantized_llama(folder, "gptq")
    stored = load_file(made.folder / "model.safetensors")
    for name, matrix in made.values.items():
        stored[name.replace("weight", "bias")] = np.full(matrix.shape[0], value, np.float16)
    save_file(stored, made.folder / "model.safetensors", {"format": "pt"})
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8")) | config
    (folder / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("value", "config", "left"),
    [
        (0, {}, 0),
        (0.5, {}, 14),
        (0, {"attention_bias": True}, 14),
        (0, {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, 6),
    ],
)
def test_biases_of_zeros_for_layers_without_any_are_left_out(
    value: float, config: dict[str, Any], left: int, tmp_path: Path
) -> None:
    model = open_model(with_biases(tmp_path / "m", value, **config))
    assert sum(tensor.name.endswith(".bias") for tensor in model.tensors) == left


def test_a_quantized_original_in_a_pickle_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = quantized_llama(tmp_path / "m", "gptq").folder
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = open_model(folder, allow_pickle=True)
    assert (model.quantized, model.quantization) == ("gptq", None)


def test_rows_are_read_alone(tmp_path: Path) -> None:
    made = quantized_llama(tmp_path / "m", "gptq asymmetric")
    with open_checkpoint(open_model(made.folder)) as checkpoint:
        for name, expected in made.values.items():
            for row in (0, 31, 32, len(expected) - 1):
                np.testing.assert_array_equal(checkpoint.read(name, slice(row, row + 1)), expected[row : row + 1])


def on_int8_rows(folder: Path, bits: int = 8, dtype: str = "float32") -> Path:
    """A tiny encoder whose layers' matrices are whole numbers of `bits` times a scale a row."""
    import torch
    from safetensors.torch import load_file, save_file

    largest = 64 if bits == 7 else 127
    stored = load_file(tiny_models.tiny_bert(folder) / "model.safetensors")
    for name, weight in stored.items():
        if ".layer." in name and weight.ndim == 2:
            scale = weight.abs().amax(dim=1, keepdim=True) / largest
            stored[name] = ((weight / scale).round() * scale).to(getattr(torch, dtype))
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("bits", [8, 7])
@pytest.mark.parametrize(("name", "method"), [("m", "fake-quantized"), ("m-qat", "qat")])
def test_int8_rows_are_found_by_their_values(bits: int, name: str, method: str, tmp_path: Path) -> None:
    found = quantization(on_int8_rows(tmp_path / name, bits))
    assert (found.method, found.bits, found.group_size, found.lossless) == (method, bits, None, "onnx-int8")
    assert found.types == {}  # no GGML type holds them without a loss
    assert found.evidence == f"of 12 sampled matrices 12 lie on a grid of {bits} bits with a scale a row"


def test_int8_rows_in_bfloat16_prove_nothing(tmp_path: Path) -> None:
    assert open_model(on_int8_rows(tmp_path / "m", dtype="bfloat16")).quantization is None


def test_a_config_that_says_qat_proves_nothing(tmp_path: Path) -> None:
    """It stays in config.json when somebody trains such a model on."""
    folder = tiny_models.tiny_bert(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["edgekit_qat"] = {"for": "onnx-int8"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = open_model(folder)
    assert model.quantization is None
    assert "its config.json says QAT, and its weights lie on no grid" in model.evidence


@pytest.mark.parametrize(
    ("rows", "bits", "expected"),
    [
        ([[127, 3, -5, 2, 0, 1]], 8, True),
        ([[64, 3, -5, 2, 0, 1]], 7, True),
        ([[64, 3, -5, 2, 0, 1]], 8, False),
        ([[127, 3, -5, 2, 0.4, 1]], 8, False),
        ([[127, -127, 127, 0, 0, 127]], 8, False),  # three codes
        ([[0, 0, 0, 0, 0, 0]], 8, False),
        ([[0, 0, 0, 0, 0, 0], [127, 3, -5, 2, 0, 1]], 8, True),
    ],
)
def test_what_proves_int8_rows(rows: list[list[float]], bits: int, expected: bool) -> None:
    from edgekit.checkpoint.grid import lies_on_rows

    assert lies_on_rows(np.array(rows, np.float32) * np.float32(0.0137), bits) == expected
