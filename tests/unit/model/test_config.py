from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import normalise_config, normalise_tokenizer_config
from edgekit.model.config import detect_task, kind_of, labels_of, max_tokens_of

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}  # fmt: skip


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}},
            {"rope_theta": 1000000.0, "rope_scaling": None},
        ),
        (
            {"rope_parameters": {**LLAMA3, "rope_theta": 500000.0}},
            {"rope_theta": 500000.0, "rope_scaling": LLAMA3},
        ),
        (
            {"rope_parameters": {"rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
            {"rope_theta": 10000.0, "rope_scaling": None, "partial_rotary_factor": 0.5},
        ),
        (
            {"rope_parameters": {"rope_theta": 10000.0, "partial_rotary_factor": 1.0}},
            {"rope_theta": 10000.0, "rope_scaling": None},
        ),
        (
            {"model_type": "gemma3_text", "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
            {"model_type": "gemma3_text", "rope_theta": 1e6, "rope_local_base_freq": 1e4,
             "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        ),
        (
            {"model_type": "modernbert", "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
            {"model_type": "modernbert", "global_rope_theta": 160000.0, "local_rope_theta": 1e4,
             "rope_scaling": None},
        ),
        (
            {"model_type": "phi3", "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0], "long_factor": [2.0],
                "partial_rotary_factor": 1.0, "original_max_position_embeddings": 4096}},
            {"model_type": "phi3", "rope_theta": 1e4, "original_max_position_embeddings": 4096,
             "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}},
        ),
        (
            {"model_type": "gemma3", "text_config": {"rope_parameters": {"rope_theta": 5.0}}},
            {"model_type": "gemma3", "text_config": {"rope_theta": 5.0, "rope_scaling": None}},
        ),
    ],
)  # fmt: skip
def test_transformers_5_is_respelt_as_4(new: dict[str, Any], old: dict[str, Any]) -> None:
    assert normalise_config(new) == old
    assert normalise_config(old) == old


def test_what_the_old_spelling_states_and_the_new_does_not_stays() -> None:
    config = {"rope_theta": 7.0, "rope_scaling": {"type": "linear", "factor": 2.0}, "hidden_size": 8}
    assert normalise_config(config) == config


@pytest.mark.parametrize(
    ("rope", "error"),
    [
        ({"full_attention": {"rope_theta": 1e6}, "other_attention": {"rope_theta": 1e4}}, UnsupportedModel),
        ({"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}, UnsupportedModel),
        ({"sliding_attention": {"rope_theta": 1e4}}, UnsupportedModel),
        ([1, 2], BadModel),
        ({"rope_theta": "big"}, BadModel),
        ({"rope_theta": -1.0}, BadModel),
        ({"rope_theta": float("nan")}, BadModel),
    ],
)
def test_a_rope_that_cannot_be_said_is_refused_not_dropped(rope: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"config\.json"):
        normalise_config({"model_type": "llama", "rope_parameters": rope})


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
CONFIGS = st.dictionaries(st.sampled_from(["a", "dtype", "torch_dtype", "rope_theta", "rope_scaling"]), SCALARS)


@given(CONFIGS, st.none() | st.floats(1, 1e7), st.booleans())
def test_normalising_is_idempotent_and_leaves_its_input_alone(
    config: dict[str, Any], theta: float | None, nested: bool
) -> None:
    if theta is not None:
        config["rope_parameters"] = {"rope_type": "yarn", "factor": 4.0, "rope_theta": theta}
    if nested:
        config = {"text_config": config}
    before = repr(config)
    once = normalise_config(config)
    assert normalise_config(once) == once
    assert repr(config) == before
    if theta is not None:
        assert (once["text_config"] if nested else once)["rope_theta"] == theta


def test_tokenizer_configurations_of_transformers_5() -> None:
    new = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "extra_special_tokens": ["<x>"], "a": 1}
    old = {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<x>"], "a": 1}
    assert normalise_tokenizer_config(new) == old
    assert normalise_tokenizer_config(old) == old
    assert normalise_tokenizer_config({"extra_special_tokens": {"x": "<x>"}}) == {"extra_special_tokens": {"x": "<x>"}}


@pytest.mark.parametrize(
    ("architecture", "model_type", "task"),
    [
        ("LlamaForCausalLM", "llama", "causal-lm"),
        ("GPT2LMHeadModel", "gpt2", "causal-lm"),
        ("BertModel", "bert", "embedding"),
        ("RobertaForMaskedLM", "roberta", "embedding"),
        ("DistilBertForSequenceClassification", "distilbert", "text-classification"),
        ("BertForTokenClassification", "bert", "token-classification"),
        ("ViTForImageClassification", "vit", "image-classification"),
    ],
)
def test_the_task_is_read_from_the_architecture(architecture: str, model_type: str, task: str) -> None:
    assert detect_task({"architectures": [architecture], "model_type": model_type}) == (task, architecture)


@pytest.mark.parametrize(
    ("architectures", "model_type"),
    [(["T5ForConditionalGeneration"], "t5"), (["CLIPModel"], "clip"), (["BertForQuestionAnswering"], "bert"),
     (None, "llama"), ([], "x"), ("BertModel", "bert"), ([5], "bert")],
)  # fmt: skip
def test_an_architecture_nobody_packs_names_what_is_supported(architectures: Any, model_type: str) -> None:
    with pytest.raises(UnsupportedModel, match="supported: text encoders"):
        detect_task({"architectures": architectures, "model_type": model_type})


def test_an_encoder_without_architectures_is_an_embedding_model() -> None:
    assert detect_task({"model_type": "bert"}) == ("embedding", "")


def test_chat_needs_a_template() -> None:
    assert kind_of("causal-lm", None) == "base"
    assert kind_of("causal-lm", "{{ messages }}") == "chat"
    assert kind_of("token-classification", None) == "classifier"
    assert kind_of("tensors", None) == "module"


def test_labels_are_in_order_of_their_numbers() -> None:
    assert labels_of({"id2label": {"1": "b", "0": "a", "10": "k", **{str(n): str(n) for n in range(2, 10)}}})[:2] == (
        "a",
        "b",
    )
    assert labels_of({}) == ("LABEL_0", "LABEL_1")
    assert labels_of({"num_labels": 3}) == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.parametrize("id2label", [{"0": "a", "2": "b"}, {"x": "a"}, ["a"], {"-1": "a"}])
def test_labels_that_do_not_count_are_refused(id2label: Any) -> None:
    with pytest.raises(BadModel, match="id2label"):
        labels_of({"id2label": id2label})


@pytest.mark.parametrize(
    ("config", "tokenizer", "tokens"),
    [
        ({"max_position_embeddings": 512}, {}, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": 128}, 128),
        ({"max_position_embeddings": 512}, {"model_max_length": 1000000000000000019884624838656}, 512),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, {}, 512),
        ({"max_position_embeddings": 514, "model_type": "mpnet"}, {}, 512),
        ({"n_positions": 1024}, {}, 1024),
        ({}, {}, 512),
    ],
)
def test_the_longest_input(config: dict[str, Any], tokenizer: dict[str, Any], tokens: int) -> None:
    assert max_tokens_of(config, tokenizer) == tokens
