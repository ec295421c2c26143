"""From configuration and shapes to tensors and hyperparameters, or to a refusal that says what is in the way."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.gguf_models import BERT, LLAMA, decoder_tensors, encoder_tensors, planned

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.strategies.gguf.architecture import lay_out
from edgekit.strategies.gguf.families import FAMILIES


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_types[0])
def test_names_are_those_of_gguf_s_own_map(family: Any) -> None:
    gguf = pytest.importorskip("gguf")
    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
    names = gguf.get_tensor_name_map(arch, 2)
    prefixes = family.prefixes
    for source, target in family.layer_names.items():
        found = {names.get_name(f"{prefix}{family.layers}.1.{source}") for prefix in prefixes}
        assert f"blk.1.{target}" in found, source
    for source, target in family.outer_names.items():
        assert target in {names.get_name(f"{prefix}{source}") for prefix in prefixes}, source


def test_llama_s_hyperparameters() -> None:
    layout = lay_out(planned(LLAMA | {"rope_theta": 5e5}, licence="mit"))
    assert layout.metadata == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "m",
        "general.license": "mit",
        "llama.block_count": 2,
        "llama.context_length": 512,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 160,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": 100,
        "llama.rope.freq_base": 5e5,
        "llama.rope.dimension_count": 16,
    }


def test_tied_embeddings_are_written_once() -> None:
    shapes = decoder_tensors(LLAMA)
    tied = LLAMA | {"tie_word_embeddings": True}
    names = [target.name for target in lay_out(planned(tied, shapes)).targets]
    assert "output.weight" not in names
    del shapes["lm_head.weight"]
    assert [target.name for target in lay_out(planned(tied, shapes)).targets] == names


def test_a_lost_output_is_not_taken_for_a_tied_one() -> None:
    shapes = decoder_tensors(LLAMA)
    del shapes["lm_head.weight"]
    with pytest.raises(BadModel, match=r"lm_head\.weight is missing"):
        lay_out(planned(LLAMA, shapes))


def test_targets_stand_in_the_order_the_engine_reads() -> None:
    names = [target.name for target in lay_out(planned(LLAMA)).targets]
    assert names[0] == "token_embd.weight"
    assert names[-2:] == ["output.weight", "output_norm.weight"]
    layers = [int(name.split(".")[1]) for name in names if name.startswith("blk.")]
    assert layers == sorted(layers)


def test_old_checkpoints_buffers_are_left_out() -> None:
    shapes = decoder_tensors(LLAMA) | {"model.layers.0.self_attn.rotary_emb.inv_freq": (8,)}
    assert len(lay_out(planned(LLAMA, shapes)).targets) == len(decoder_tensors(LLAMA))


def test_bert_s_pooler_is_left_out_and_its_pooling_kept() -> None:
    layout = lay_out(planned(BERT))
    assert layout.metadata["bert.pooling_type"] == 1
    assert layout.metadata["tokenizer.ggml.token_type_count"] == 2
    assert not any("pooler" in (target.source or "") for target in layout.targets)


def test_prefixes_and_tensorflow_s_names_are_read() -> None:
    shapes = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): shape
        for name, shape in encoder_tensors(BERT).items()
    }
    plain = {(target.name, target.shape) for target in lay_out(planned(BERT)).targets}
    assert {(target.name, target.shape) for target in lay_out(planned(BERT, shapes)).targets} == plain


def test_roberta_s_positions_start_behind_the_padding() -> None:
    config = BERT | {"model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 130}
    model = planned(config, encoder_tensors(config), task="embedding", pooling="cls")
    layout = lay_out(model)
    position = next(target for target in layout.targets if target.name == "position_embd.weight")
    assert (position.shape, position.first_row) == ((128, 64), 2)
    assert layout.metadata["bert.context_length"] == 128


def test_a_window_the_engine_has_not_caps_the_context() -> None:
    config = LLAMA | {"model_type": "mistral", "sliding_window": 128}
    layout = lay_out(planned(config))
    assert layout.metadata["llama.context_length"] == 128
    assert layout.notes == ("the engine has no sliding window for llama: context is limited to its 128 tokens",)
    assert lay_out(planned(config | {"sliding_window": 4096})).notes == ()
    assert lay_out(planned(config | {"use_sliding_window": False})).notes == ()


def test_a_multimodal_configuration_s_text_part_is_what_counts() -> None:
    config = {**LLAMA, "hidden_size": 1, "text_config": {"hidden_size": 64}}
    assert lay_out(planned(config, decoder_tensors(LLAMA))).shape.width == 64


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "activation": ({"hidden_act": "gelu"}, "does not have activation 'gelu', only 'silu'"),
    "experts": ({"num_local_experts": 8}, "a mixture of experts"),
    "dynamic rope": ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope scaling 'dynamic'"),
    "partial rotary": ({"partial_rotary_factor": 0.5}, "partial rotary factor"),
    "capped logits": ({"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0"),
    "family": ({"model_type": "mamba"}, "model type 'mamba' .* cannot be written as GGUF for causal-lm"),
    "query scale": (
        {"model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 144, "head_dim": 16},
        "query_pre_attn_scalar 144, only 16",
    ),
    "output": (
        {"model_type": "gemma2", "hidden_act": "gelu_new", "query_pre_attn_scalar": 16, "head_dim": 16}
        | {"tie_word_embeddings": False},
        "an output of its own, only one tied",
    ),
    "rope layers": ({"model_type": "smollm3", "no_rope_layers": [0, 0]}, r"no_rope_layers \[0, 0\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_engine_would_compute_otherwise_is_refused(case: str) -> None:
    change, message = REFUSED[case]
    with pytest.raises(UnsupportedModel, match=message):
        lay_out(planned(LLAMA | change))


def test_the_refusal_of_a_family_names_those_there_are() -> None:
    with pytest.raises(UnsupportedModel, match=r"supported: llama, .*mistral, qwen2, qwen3, .*phi3"):
        lay_out(planned(LLAMA | {"model_type": "mamba"}))


def test_quantized_sources_are_refused_with_the_reason() -> None:
    with pytest.raises(UnsupportedModel, match=r"already quantized \(gptq\)"):
        lay_out(planned(LLAMA, quantized="gptq"))


def test_pooling_the_engine_has_not_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="cannot pool by max - it can by mean, cls, last"):
        lay_out(planned(BERT, pooling="max"))


def without(name: str) -> dict[str, tuple[int, ...]]:
    shapes = decoder_tensors(LLAMA)
    del shapes[name]
    return shapes


SHAPES: dict[str, tuple[dict[str, tuple[int, ...]], type[Exception], str]] = {
    "missing": (
        without("model.layers.1.mlp.up_proj.weight"),
        BadModel,
        r"1 tensors are missing, the first is GGUF's blk\.1\.ffn_up",
    ),
    "unknown": (
        decoder_tensors(LLAMA) | {"model.layers.0.adapter.weight": (4,)},
        UnsupportedModel,
        r"'model\.layers\.0\.adapter\.weight' has no place in a GGUF of llama",
    ),
    "twice": (decoder_tensors(LLAMA) | {"norm.weight": (64,)}, BadModel, r"are both output_norm\.weight"),
    "beyond": (decoder_tensors(LLAMA | {"num_hidden_layers": 3}), BadModel, "beyond num_hidden_layers 2"),
    "rows": (decoder_tensors(LLAMA | {"vocab_size": 90}), BadModel, "has 90 rows, config.json says vocab_size 100"),
    "heads": (
        decoder_tensors(LLAMA) | {"model.layers.0.self_attn.q_proj.weight": (60, 64)},
        BadModel,
        "has 60 rows, not a multiple of the head size 16",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_tensors_that_do_not_make_the_model_are_refused_by_name(case: str) -> None:
    shapes, kind, message = SHAPES[case]
    with pytest.raises(kind, match=message):
        lay_out(planned(LLAMA, shapes))


@pytest.mark.parametrize("value", [None, 0, -1, 2.5, "64", True])
def test_a_figure_that_is_not_a_size_is_refused(value: object) -> None:
    with pytest.raises(BadModel, match=r"hidden_size is .*, a positive whole number is expected"):
        lay_out(planned(LLAMA | {"hidden_size": value}, decoder_tensors(LLAMA)))
