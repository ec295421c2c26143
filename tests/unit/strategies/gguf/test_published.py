"""Decode speeds that others published of devices nobody here has: each lies inside the interval that is told for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures import tiny_tokenizers
from fixtures.gguf_models import LLAMA, decoder_tensors, planned

from edgekit.device import load_profile
from edgekit.limits import Limits, Preferences
from edgekit.model import TextSetup
from edgekit.planner import propose
from edgekit.setting import setting_for
from edgekit.strategies import Candidate

# layers, width, heads, heads of keys, inner width, words, whether the output is the embedding
SHAPES = {
    "TinyLlama-1.1B": (22, 2048, 32, 4, 5632, 32000, False),
    "Llama-3.2-3B": (28, 3072, 24, 8, 8192, 128256, True),
    "Llama-3.1-8B": (32, 4096, 32, 8, 14336, 128256, False),
}
OLLAMA, LLAMAFILE = "geerlingguy/ai-benchmarks issues 7 and 24", "J. Tunney, LLaMA Now Goes Faster on CPUs (2024)"
PUBLISHED = [
    ("raspberry-pi-5-16gb", "Llama-3.2-3B", "Q4_K_M", (4.51, 5.55), OLLAMA),
    ("raspberry-pi-5-16gb", "Llama-3.1-8B", "Q4_K_M", (1.87, 2.17), OLLAMA),
    ("raspberry-pi-5-8gb", "TinyLlama-1.1B", "Q8_0", (9,), LLAMAFILE),
    ("raspberry-pi-4-8gb", "TinyLlama-1.1B", "Q8_0", (3,), LLAMAFILE),
    ("raspberry-pi-4-8gb", "TinyLlama-1.1B", "F16", (2,), LLAMAFILE),
    ("intel-n100-16gb", "Llama-3.1-8B", "Q4_K_M", (3.01,), "brand-o/normiebench issue 38"),
]


@pytest.mark.parametrize(("name", "shape", "preset", "tokens_per_s", "source"), PUBLISHED)
def test_a_published_decode_speed_is_inside_the_interval(
    name: str, shape: str, preset: str, tokens_per_s: tuple[float, ...], source: str, tmp_path: Path
) -> None:
    layers, width, heads, key_heads, inner, words, is_tied = SHAPES[shape]
    config = LLAMA | {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "intermediate_size": inner,
        "vocab_size": words,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": is_tied,
    }
    shapes = decoder_tensors(config)
    if is_tied:
        del shapes["lm_head.weight"]
    tiny_tokenizers.byte_level(tmp_path)  # its words weigh a little memory and no time
    model = planned(config, shapes, text=TextSetup(4096, tmp_path / "tokenizer.json"))
    offers = propose(model, setting_for(load_profile(name), Limits(), Preferences()), "gguf")
    (found,) = [each for each in offers if isinstance(each, Candidate) and each.options["preset"] == preset]
    assert found.tokens_per_s is not None
    for published in tokens_per_s:
        assert found.tokens_per_s.low <= published <= found.tokens_per_s.high, source
    # and the interval says something
    assert found.tokens_per_s.high < 12 * found.tokens_per_s.low
