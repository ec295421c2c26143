"""Presets are llama.cpp's, byte for byte; and one model gives one file, whatever spelled its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.gguf_engine import metadata, quantize, tensors
from fixtures.tiny_tokenizers import CHAT_TEMPLATE

from edgekit.checkpoint import open_checkpoint
from edgekit.model import open_model
from edgekit.progress import Silent
from edgekit.strategies.gguf import choice_of, write_gguf
from edgekit.strategies.gguf.architecture import lay_out
from edgekit.strategies.gguf.presets import BLOCKS, PRESETS
from edgekit.strategies.gguf.writer import write_tensors

pytestmark = pytest.mark.engines

MIXTURES = [name for name in PRESETS if name not in ("F32", "BF16")]

# Nine layers have every kind of place in the mixtures: first and last eighth, and each third between.
SHAPES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "llama": (
        "F32",
        partial(
            tiny_models.tiny_llama,
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=9,
        ),
    ),
    # Four queries share a key, and seventeen layers have a first sixteenth.
    "llama gqa": (
        "F32",
        partial(
            tiny_models.tiny_llama,
            hidden_size=256,
            intermediate_size=256,
            num_hidden_layers=17,
            num_attention_heads=4,
            num_key_value_heads=1,
        ),
    ),
    # 96 columns are whole blocks of 32 only, 176 not even that: every fallback there is.
    "qwen2": (
        "BF16",
        partial(
            tiny_models.tiny_qwen2,
            hidden_size=96,
            intermediate_size=176,
            num_hidden_layers=9,
            num_attention_heads=6,
            dtype="bfloat16",
        ),
    ),
    "phi3": ("F32", partial(tiny_models.tiny_phi3, hidden_size=256, intermediate_size=512, num_hidden_layers=3)),
    "bert": ("F32", partial(tiny_models.tiny_sentence_encoder, hidden_size=256, intermediate_size=512)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_tensors_are_llama_model_quantize_s(shape: str, tmp_path: Path) -> None:
    unquantized, make = SHAPES[shape]
    model = open_model(make(tmp_path / "source"))
    whole = tmp_path / "whole.gguf"
    write_gguf(model, whole, unquantized)
    for preset in MIXTURES:
        ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
        write_gguf(model, ours, preset)
        quantize(whole, theirs, PRESETS[preset].file_type)
        mine, reference = tensors(ours), tensors(theirs)
        assert {name: kind for name, (kind, _, _) in mine.items()} == {
            name: kind for name, (kind, _, _) in reference.items()
        }
        assert [name for name in mine if mine[name] != reference[name]] == []
        assert metadata(ours) == metadata(theirs)


def test_the_shapes_reach_every_type(tmp_path: Path) -> None:
    types = set()
    for name, (_, make) in SHAPES.items():
        layout = lay_out(open_model(make(tmp_path / name)))
        for preset in MIXTURES:
            types |= {choice_of(layout, PRESETS[preset])(target) for target in layout.targets}
    carried_only = {"Q4_1", "MXFP4", "BF16"}
    assert types == set(BLOCKS) - carried_only


@pytest.mark.parametrize(
    "make",
    [
        partial(tiny_models.tiny_llama, rope_theta=5e5, chat_template=CHAT_TEMPLATE, dtype="bfloat16"),
        partial(tiny_models.tiny_qwen2, chat_template=CHAT_TEMPLATE),
        tiny_models.tiny_gemma3,
        partial(
            tiny_models.tiny_phi3,
            max_position_embeddings=2048,
            rope_scaling={"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
        ),
    ],
    ids=["llama", "qwen2", "gemma3", "phi3"],
)
def test_either_spelling_of_transformers_gives_the_same_file(make: Callable[[Path], Path], tmp_path: Path) -> None:
    old = make(tmp_path / "old" / "model")
    new = tiny_models.respell_as_transformers_5(old, tmp_path / "new" / "model")
    for folder in (old, new):
        write_gguf(replace(open_model(folder), name="same"), folder.parent / "model.gguf", "Q8_0")
    assert (tmp_path / "old" / "model.gguf").read_bytes() == (tmp_path / "new" / "model.gguf").read_bytes()


def test_the_chat_template_and_special_tokens_are_in_the_file(tmp_path: Path) -> None:
    folder = tiny_models.tiny_llama(tmp_path / "source", chat_template=CHAT_TEMPLATE)
    write_gguf(open_model(folder), tmp_path / "model.gguf", "Q8_0")
    found = metadata(tmp_path / "model.gguf")
    assert found["tokenizer.chat_template"] == CHAT_TEMPLATE
    assert found["tokenizer.ggml.pre"] == "llama-bpe"
    assert (found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]) == (0, 1)
    assert (found["tokenizer.ggml.add_bos_token"], found["tokenizer.ggml.add_eos_token"]) == (True, False)


def test_the_file_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    model = open_model(tiny_models.tiny_llama(tmp_path / "source", hidden_size=256, vocab_size=9000))
    layout = lay_out(model)
    for threads in (1, 2, 3):
        with open_checkpoint(model) as checkpoint:
            choice = choice_of(layout, PRESETS["Q4_K_M"])
            path = tmp_path / f"{threads}.gguf"
            write_tensors(path, layout.metadata, layout.targets, choice, checkpoint, Silent(), threads)
    assert len({(tmp_path / f"{threads}.gguf").read_bytes() for threads in (1, 2, 3)}) == 1


def test_shards_give_the_file_of_the_whole(tmp_path: Path) -> None:
    for name, size in (("whole", "5GB"), ("shards", "100KB")):
        folder = tiny_models.tiny_llama(tmp_path / name, max_shard_size=size)
        write_gguf(replace(open_model(folder), name="same"), tmp_path / f"{name}.gguf", "Q4_0")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    assert (tmp_path / "whole.gguf").read_bytes() == (tmp_path / "shards.gguf").read_bytes()
