"""Rotary embeddings in either spelling; a base frequency is never lost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from fixtures.gguf_models import LLAMA

from edgekit.errors import BadModel
from edgekit.strategies.gguf.families import find_family
from edgekit.strategies.gguf.rope import Rope, read_rope


def rope(model_type: str = "llama", head_dim: int = 16, **changes: Any) -> Rope:
    config = {key: value for key, value in LLAMA.items() if key != "rope_theta"} | changes
    family = find_family(model_type)
    assert family is not None
    return read_rope(family, config, head_dim)


def test_either_spelling_gives_the_same_base() -> None:
    assert rope(rope_theta=1e6) == rope(rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    assert rope(rope_theta=1e6).metadata["rope.freq_base"] == 1e6


def test_spellings_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(BadModel, match=r"rope_theta 10000.0 contradicts rope_parameters 1000000.0"):
        rope(rope_theta=1e4, rope_parameters={"rope_theta": 1e6})


@pytest.mark.parametrize(("model_type", "base"), [("llama", 1e4), ("smollm3", 2e6), ("gemma3", 1e6)])
def test_a_base_left_out_is_the_family_s(model_type: str, base: float) -> None:
    assert rope(model_type).metadata["rope.freq_base"] == base


def test_gemma_3_s_two_bases_in_either_spelling() -> None:
    nested = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5e3},
    }
    scaling = {"rope_type": "linear", "factor": 8.0}
    old = rope("gemma3", rope_theta=2e6, rope_local_base_freq=5e3, rope_scaling=scaling)
    assert rope("gemma3", rope_parameters=nested) == old
    assert (old.metadata["rope.freq_base"], old.metadata["rope.freq_base_swa"]) == (2e6, 5e3)
    assert old.metadata["rope.scaling.factor"] == 8.0


def test_llama_3_s_factors_leave_short_waves_and_divide_long_ones() -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    found = rope(rope_theta=5e5, head_dim=64, rope_scaling=scaling | {"original_max_position_embeddings": 8192})
    factors = found.factors["rope_freqs.weight"]
    assert len(factors) == 32
    assert factors[0] == 1.0
    assert factors[-1] == 8.0
    assert list(factors) == sorted(factors)
    assert any(1.0 < factor < 8.0 for factor in factors)


def test_longrope_s_two_lists_and_its_attention_factor() -> None:
    scaling = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    found = rope("phi3", rope_scaling=scaling, max_position_embeddings=131072, original_max_position_embeddings=4096)
    assert found.factors == {"rope_factors_long.weight": (4.0,) * 8, "rope_factors_short.weight": (1.0,) * 8}
    assert found.metadata["rope.scaling.attn_factor"] == pytest.approx(math.sqrt(1 + math.log(32) / math.log(4096)))


def test_longrope_s_lists_must_fit_the_heads() -> None:
    scaling = {"type": "longrope", "short_factor": [1.0] * 7, "long_factor": [4.0] * 8}
    with pytest.raises(BadModel, match="short_factor has 7 values, the rotary dimension needs 8"):
        rope("phi3", rope_scaling=scaling)


def test_yarn_s_explicit_attention_factor_is_said_beside_the_default() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    assert "rope.scaling.attn_factor" not in rope("qwen2", rope_scaling=scaling).metadata
    explicit = rope("qwen2", rope_scaling=scaling | {"attention_factor": 1.0}).metadata["rope.scaling.attn_factor"]
    assert explicit == pytest.approx(1 / (0.1 * math.log(4) + 1))
