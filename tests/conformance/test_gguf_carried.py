"""Quantized checkpoints as GGUF: what is carried answers as the source's own dequantized weights do.

The engine rounds activations to 8 bits before it multiplies them with quantized weights of any type, so the distance to
float32 has a floor, which Q8_0 of the same weights shows. What is lost on top is measured on the weights themselves.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.gguf_engine import Floats, log_probabilities, log_softmax, mean_kl, tensors
from fixtures.packing import LOOSE
from fixtures.quantized_models import QuantizedLlama, dequantized_llama, lattice_llama, quantized_llama

import edgekit
from edgekit.model import open_model
from edgekit.strategies.gguf import write_gguf
from edgekit.strategies.gguf.architecture import lay_out
from edgekit.strategies.gguf.presets import Preset, offered

pytestmark = pytest.mark.engines

IDS = [(7 * step * step + 3 * step) % 90 for step in range(48)]

# The kind of checkpoint, the type that holds it, and the largest relative RMSE of its weights.
CARRIED = {
    "gptq": ("Q4_0", 1e-7),
    "gptq g128": ("Q4_0", 1e-7),
    "gptq v2": ("Q4_0", 1e-7),
    "gptq 3-bit": ("Q4_0", 1e-7),
    "gptq 8-bit": ("Q8_0", 1e-7),
    "gptq asymmetric": ("Q4_1", 1e-3),
    "awq": ("Q4_1", 1e-3),
    "awq g128": ("Q4_1", 1e-3),
    "ct int4": ("Q4_0", 1e-7),
    "ct int4 asymmetric": ("Q4_1", 1e-3),
    "ct int8 channel": ("Q8_0", 1e-7),
    "llm.int8": ("Q8_0", 3e-4),  # its steps are float32, the blocks' are float16
    "mxfp4": ("MXFP4", 1e-7),
    "qat": ("Q4_0", 3e-3),  # its values are bfloat16
}


def source(kind: str, folder: Path) -> QuantizedLlama:
    return lattice_llama(folder / "m-qat-q4_0") if kind == "qat" else quantized_llama(folder / "m", kind)


def reference(folder: Path) -> Floats:
    """Log-probabilities [tokens, vocabulary] of transformers in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return log_softmax(model(torch.tensor([IDS])).logits[0].double().numpy())


def carrying_preset(made: QuantizedLlama, rest: str = "F16") -> Preset:
    presets = offered(lay_out(open_model(made.folder)).targets)
    return next(preset for preset in presets if preset.rest == rest)


def relative_rmse(made: QuantizedLlama, path: Path) -> float:
    """Of the written layers against the source's dequantized ones, by gguf's own reader of blocks."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    sources = {target.name: target for target in lay_out(open_model(made.folder)).targets}
    changed = kept = 0.0
    for name, (kind, shape, data) in tensors(path).items():
        expected = made.values.get(sources[name].source or "")
        if expected is None:
            continue
        transform = sources[name].transform
        expected = expected if transform is None else transform(expected)
        found = dequantize(np.frombuffer(data, np.uint8).reshape(shape[1], -1), GGMLQuantizationType[kind])
        changed += float(((found - expected) ** 2).sum())
        kept += float((expected**2).sum())
    assert kept > 0
    return float((changed / kept) ** 0.5)


@pytest.mark.parametrize("kind", CARRIED)
def test_carried_weights_are_the_source_s_own(kind: str, tmp_path: Path) -> None:
    lossless, most = CARRIED[kind]
    made = source(kind, tmp_path)
    model = open_model(made.folder)
    assert model.quantization is not None
    assert model.quantization.lossless == lossless
    preset = carrying_preset(made)
    assert preset.name == lossless
    written = write_gguf(model, tmp_path / "carried.gguf", preset)
    assert relative_rmse(made, tmp_path / "carried.gguf") <= most
    types = {kind for name, (kind, _, _) in tensors(tmp_path / "carried.gguf").items() if ".weight" in name}
    assert types == {lossless, "F16", "F32"}
    assert any("blocks carried on their own grid" in note and "off it" not in note for note in written.notes)
    write_gguf(model, tmp_path / "8-bit.gguf", "Q8_0")
    expected = reference(dequantized_llama(made, tmp_path / "float"))
    carried, floor = (mean_kl(expected, log_probabilities(tmp_path / n, IDS)) for n in ("carried.gguf", "8-bit.gguf"))
    assert carried < 1.2 * floor + 1e-6
    assert carried < 2e-3


@pytest.mark.parametrize("kind", ["gptq", "qat"])
def test_rounding_a_second_time_is_worse(kind: str, tmp_path: Path) -> None:
    made = source(kind, tmp_path)
    model = open_model(made.folder)
    write_gguf(model, tmp_path / "carried.gguf", carrying_preset(made))
    plain = dequantized_llama(made, tmp_path / "float")
    unknowing = open_model(plain)
    write_gguf(replace(unknowing, quantization=None), tmp_path / "rounded.gguf", "Q4_0")
    assert relative_rmse(made, tmp_path / "rounded.gguf") > 0.03
    expected = reference(plain)
    carried, rounded = (
        mean_kl(expected, log_probabilities(tmp_path / f"{n}.gguf", IDS)) for n in ("carried", "rounded")
    )
    assert rounded > 5 * carried


@pytest.mark.parametrize("kind", ["gptq act-order", "gptq g16", "gptq 2-bit", "nf4 nested"])
def test_what_no_type_holds_is_the_source_s_own_unquantized(kind: str, tmp_path: Path) -> None:
    made = quantized_llama(tmp_path / "m", kind)
    write_gguf(open_model(made.folder), tmp_path / "m.gguf", "F16")
    expected = reference(dequantized_llama(made, tmp_path / "float"))
    assert mean_kl(expected, log_probabilities(tmp_path / "m.gguf", IDS)) < 1e-5


@pytest.mark.parametrize("kind", ["gptq", "gptq act-order"])
def test_a_quantized_checkpoint_is_packed_against_its_dequantized_original(kind: str, tmp_path: Path) -> None:
    made = quantized_llama(tmp_path / "m", kind)
    packed = edgekit.pack(made.folder, "host", out=tmp_path / "bundle", limits=LOOSE)
    carried = kind == "gptq"
    assert packed.manifest.strategy == ("gguf Q4_0" if carried else "gguf Q8_0")
    assert (packed.report.figure("mean KL") or 1) < 2e-3
    notes = " ".join(packed.report.notes)
    assert ("carried from gptq 4-bit, group 32: no second loss" in notes) is carried
    assert "quantization_config" not in json.loads((packed.folder / "config.json").read_text(encoding="utf-8"))
    assert "".join(edgekit.run(packed.folder, ["the"], max_tokens=3))


def test_what_the_source_left_unquantized_may_be_smaller(tmp_path: Path) -> None:
    made = quantized_llama(tmp_path / "m", "gptq", tie_word_embeddings=True)
    model = open_model(made.folder)
    for rest in ("F16", "Q8_0"):
        write_gguf(model, tmp_path / f"{rest}.gguf", carrying_preset(made, rest))
        types = {name: kind for name, (kind, _, _) in tensors(tmp_path / f"{rest}.gguf").items()}
        assert types["token_embd.weight"] == rest
    assert relative_rmse(made, tmp_path / "Q8_0.gguf") < 1e-7
    assert (tmp_path / "Q8_0.gguf").stat().st_size < (tmp_path / "F16.gguf").stat().st_size
