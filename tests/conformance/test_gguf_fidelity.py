"""GGUF files of every family against transformers in float32: the same ids, and the same distributions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.gguf_engine import Floats, embedding, log_probabilities, log_softmax, mean_kl

from edgekit.model import open_model
from edgekit.strategies.gguf import OFFERED, write_gguf
from edgekit.strategies.gguf.engine import EngineVocabulary

pytestmark = pytest.mark.engines

TEXT = "The quick brown fox jumps over the lazy dog.\n def pack(model): return 1234567 # 素早い茶色の狐 🚀 ok"

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
LONG_ROPE = {
    "type": "longrope",
    "short_factor": [1.0 + 0.1 * pair for pair in range(8)],
    "long_factor": [2.0 + pair for pair in range(8)],
}

DECODERS: dict[str, Callable[[Path], Path]] = {
    "llama": tiny_models.tiny_llama,
    "llama bf16": partial(tiny_models.tiny_llama, dtype="bfloat16"),
    "llama with biases": partial(tiny_models.tiny_llama, attention_bias=True, mlp_bias=True),
    "llama 3.1 rope": partial(tiny_models.tiny_llama, rope_scaling=LLAMA3_ROPE, rope_theta=5e5),
    "llama linear rope": partial(tiny_models.tiny_llama, rope_scaling={"rope_type": "linear", "factor": 2.0}),
    "llama 2 tokenizer": partial(tiny_models.tiny_llama, style="spm"),
    "smollm": partial(tiny_models.tiny_llama, style="smollm", tie_word_embeddings=True),
    "mistral": tiny_models.tiny_mistral,
    "mistral head_dim": partial(tiny_models.tiny_mistral, head_dim=32),
    "qwen2": tiny_models.tiny_qwen2,
    "qwen2 untied": partial(tiny_models.tiny_qwen2, tie_word_embeddings=False),
    "qwen2 yarn": partial(tiny_models.tiny_qwen2, rope_scaling=YARN),
    "qwen2 yarn factor": partial(tiny_models.tiny_qwen2, rope_scaling=YARN | {"attention_factor": 0.8}),
    "qwen3": tiny_models.tiny_qwen3,
    "gemma2": tiny_models.tiny_gemma2,
    "gemma3": tiny_models.tiny_gemma3,
    "gemma3 linear rope": partial(tiny_models.tiny_gemma3, rope_scaling={"rope_type": "linear", "factor": 8.0}),
    "phi3": tiny_models.tiny_phi3,
    "phi3 longrope": partial(tiny_models.tiny_phi3, rope_scaling=LONG_ROPE, max_position_embeddings=2048),
    "smollm3": tiny_models.tiny_smollm3,
}


def reference(folder: Path, ids: list[int]) -> Floats:
    """Log-probabilities [tokens, vocabulary] of transformers in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return log_softmax(model(torch.tensor([ids])).logits[0].double().numpy())


def source_ids(folder: Path) -> list[int]:
    from tokenizers import Tokenizer

    return list(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids)


@pytest.mark.parametrize("family", DECODERS)
def test_f16_is_the_source_model(family: str, tmp_path: Path) -> None:
    folder, path = DECODERS[family](tmp_path / "source"), tmp_path / "model.gguf"
    write_gguf(open_model(folder), path, "F16")
    ids = source_ids(folder)
    with EngineVocabulary(path) as vocabulary:
        assert vocabulary.tokenize(TEXT) == ids
    expected = reference(folder, ids)
    assert -(np.exp(expected) * expected).sum(-1).mean() < 6.3, "the logits are all alike and would match anything"
    assert mean_kl(expected, log_probabilities(path, ids)) < 1e-5


def broken(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Configurations that a converter could take for `config`, each wrong in one place."""
    return [
        config | {"rope_theta": 20_000.0},
        config | {"rope_scaling": None},
        config | {"rms_norm_eps": 1e-2},
    ]


def test_the_comparison_notices_one_wrong_figure(tmp_path: Path) -> None:
    folder = tiny_models.tiny_llama(tmp_path / "source", rope_scaling=LLAMA3_ROPE)
    model = open_model(folder)
    ids = source_ids(folder)
    expected = reference(folder, ids)
    for number, config in enumerate(broken(dict(model.config))):
        path = tmp_path / f"{number}.gguf"
        write_gguf(replace(model, config=config), path, "F16")
        assert mean_kl(expected, log_probabilities(path, ids)) > 3e-5


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_a_pattern_of_sliding_layers_that_is_not_the_family_s_own(family: str, tmp_path: Path) -> None:
    make = {"gemma2": tiny_models.tiny_gemma2, "gemma3": tiny_models.tiny_gemma3}[family]
    layers = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
    folder = make(tmp_path / "source", num_hidden_layers=4, layer_types=layers)
    path = tmp_path / "model.gguf"
    write_gguf(open_model(folder), path, "F16")
    ids = source_ids(folder)
    assert mean_kl(reference(folder, ids), log_probabilities(path, ids)) < 1e-5


def preset_kls(folder: Path, ids: list[int], scratch: Path) -> dict[str, float]:
    expected = reference(folder, ids)
    found = {}
    for preset in OFFERED:
        write_gguf(open_model(folder), scratch / f"{preset}.gguf", preset)
        found[preset] = mean_kl(expected, log_probabilities(scratch / f"{preset}.gguf", ids))
    return found


def test_each_smaller_preset_keeps_less(tmp_path: Path) -> None:
    folder = tiny_models.tiny_llama(tmp_path / "source", hidden_size=256, intermediate_size=512)
    found = preset_kls(folder, source_ids(folder), tmp_path)
    assert list(found.values()) == sorted(found.values())
    assert found["F16"] < 1e-5
    assert found["Q8_0"] < 1e-2
    assert 1e-3 < found["Q4_0"] < 0.5


ENCODERS: dict[str, Callable[[Path], Path]] = {
    "bert mean": tiny_models.tiny_sentence_encoder,
    "bert cls": partial(tiny_models.tiny_sentence_encoder, pooling="cls"),
    "bert cased": partial(tiny_models.tiny_sentence_encoder, lowercase=False),
    "roberta": partial(tiny_models.tiny_sentence_encoder, encoder="roberta"),
    "distilbert": partial(tiny_models.tiny_sentence_encoder, encoder="distilbert"),
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_embeddings_are_the_source_encoder_s(encoder: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    folder, path = ENCODERS[encoder](tmp_path / "source"), tmp_path / "model.gguf"
    write_gguf(open_model(folder), path, "F16")
    ids = source_ids(folder)
    with EngineVocabulary(path) as vocabulary:
        assert vocabulary.tokenize(TEXT) == ids
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(torch.tensor([ids])).last_hidden_state[0].double().numpy()
    expected = hidden[0] if encoder == "bert cls" else hidden.mean(axis=0)
    actual = embedding(path, ids, len(expected))
    assert expected @ actual / np.linalg.norm(expected) / np.linalg.norm(actual) > 0.9999
