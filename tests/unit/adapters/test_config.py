"""adapter_config.json: scalings by rank and alpha, patterns as PEFT matches them, refusals by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgekit.adapters import AdapterConfig
from edgekit.errors import BadAdapter

LAYER = "model.layers.1.mlp.up_proj"


def parsed(**fields: Any) -> AdapterConfig:
    return AdapterConfig.parse({"peft_type": "LORA", "r": 8, "lora_alpha": 16, **fields}, "here")


def test_scaling() -> None:
    assert parsed().scaling(LAYER) == 2
    assert parsed(use_rslora=True).scaling(LAYER) == 16 / math.sqrt(8)
    assert parsed(rank_pattern={"up_proj": 4}, alpha_pattern={"mlp.up_proj": 2}).scaling(LAYER) == 0.5


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("up_proj", True),
        ("mlp.up_proj", True),
        ("p_proj", False),  # not from the beginning of a part
        ("mlp", False),  # nor up to the end
        (r"^model\.layers\.1\.mlp\.up_proj", True),
        (r"^layers\.1\.mlp\.up_proj", False),
        (r".*\.(up|down)_proj", True),
    ],
)
def test_patterns_match_whole_ends_of_names(pattern: str, matches: bool) -> None:
    assert parsed(rank_pattern={pattern: 2}).rank_of(LAYER) == (2 if matches else 8)


def test_the_first_pattern_that_matches_counts() -> None:
    assert parsed(rank_pattern={"up_proj": 2, "mlp.up_proj": 3}).rank_of(LAYER) == 2


@pytest.mark.parametrize(
    ("method", "named"),
    [("IA3", "IA3"), ("PROMPT_TUNING", "prompt tuning"), ("VERA", "VeRA"), ("XYZ", "XYZ"), (None, "unnamed")],
)
def test_other_methods_are_named(method: str | None, named: str) -> None:
    with pytest.raises(BadAdapter, match=f"here is an adapter by .*{named}"):
        parsed(peft_type=method)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("target_parameters", ["experts.gate"], "bare parameters"),
        ("alora_invocation_tokens", [1, 2], "activated LoRA"),
        ("layer_replication", [[0, 2]], "layers that stand twice"),
        ("use_qalora", True, "QA-LoRA"),
        ("megatron_config", {"a": 1}, "Megatron"),
        ("init_lora_weights", "pissa_niter_16", "initialised by pissa_niter_16, .*path_initial_model"),
        ("init_lora_weights", "loftq", "changes the base"),
    ],
)
def test_variants_that_cannot_be_merged(field: str, value: object, said: str) -> None:
    with pytest.raises(BadAdapter, match=said):
        parsed(**{field: value})


@pytest.mark.parametrize("value", [True, False, "gaussian", "eva", "orthogonal"])
def test_initialisations_that_leave_the_base_alone(value: object) -> None:
    assert parsed(init_lora_weights=value).rank == 8


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"r": 0}, "r is 0, a whole number"),
        ({"r": True}, "r is True"),
        ({"r": "8"}, "r is '8'"),
        ({"r": 10**9}, "1 to 65536"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"lora_alpha": "16"}, "lora_alpha is '16'"),
        ({"rank_pattern": [1]}, "rank_pattern is list"),
        ({"rank_pattern": {"a": 0}}, "rank_pattern is 0"),
        ({"alpha_pattern": {"(": 1}}, "no regular expression"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "for ever"),
        ({"alpha_pattern": {".*" * 4: 1}}, "for ever"),
        ({"alpha_pattern": {"a?" * 100 + "x": 1}}, "for ever"),
        ({"alpha_pattern": {"(a|a)" * 50 + "x": 1}}, "for ever"),
        ({"alpha_pattern": {r"\\*" * 80 + "x": 1}}, "for ever"),
        ({"alpha_pattern": {f"a{number}.*": 1 for number in range(33)}}, "33 regular expressions, the limit is 32"),
        ({"lora_alpha": 10**400}, "lora_alpha is 1000"),
        ({"alpha_pattern": {"a" * 300: 1}}, "pattern of 300 characters"),
        ({"base_model_name_or_path": 5}, "base_model_name_or_path is int"),
        ({"trainable_token_indices": [-1]}, "trainable_token_indices"),
        ({"trainable_token_indices": {"wte": "all"}}, "trainable_token_indices"),
    ],
)
def test_fields_that_are_wrong(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadAdapter, match=said):
        parsed(**fields)


def test_patterns_are_matched_in_little_time_whatever_they_are() -> None:
    """The costliest pattern that is let through, on the longest name there is."""
    slow = parsed(alpha_pattern={".*a.*b.*c": 1})
    assert slow.scaling(("ab." * 86)[:256]) == 2


def test_modules_named_one_by_one_are_no_regular_expressions() -> None:
    """As PEFT writes them, for each layer."""
    ranks = {f"model.layers.{layer}.self_attn.q_proj": layer + 1 for layer in range(100)}
    assert parsed(rank_pattern=ranks).rank_of("model.layers.41.self_attn.q_proj") == 42
    either = parsed(rank_pattern={r"layers\.(0|1|2|3|4|5|6|7)\..*": 3})
    assert (either.rank_of("model.layers.5.mlp.up_proj"), either.rank_of("model.layers.8.mlp.up_proj")) == (3, 8)
