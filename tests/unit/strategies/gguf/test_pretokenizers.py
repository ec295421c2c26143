"""The pre-tokenizer's name by the structure of tokenizer.json."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.tiny_tokenizers import LLAMA3_PATTERN, QWEN2_PATTERN

from edgekit.strategies.gguf.pretokenizers import KNOWN, candidates, is_byte_level

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
GPT2 = BYTES | {"use_regex": True}


def split(pattern: str, **changes: Any) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} | changes
    return {"type": "Sequence", "pretokenizers": [step, BYTES]}


def tokenizer(pre: dict[str, Any], ignore_merges: bool = False) -> dict[str, Any]:
    return {"pre_tokenizer": pre, "model": {"type": "BPE", "ignore_merges": ignore_merges}}


@pytest.mark.parametrize(
    ("pre", "ignore_merges", "name"),
    [
        (GPT2, False, "gpt-2"),
        (split(LLAMA3_PATTERN), True, "llama-bpe"),
        (split(LLAMA3_PATTERN), False, "smaug-bpe"),
        (split(QWEN2_PATTERN), False, "qwen2"),
        ({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, GPT2]}, False, "smollm"),
    ],
)
def test_known_structures_are_guessed_first(pre: dict[str, Any], ignore_merges: bool, name: str) -> None:
    assert candidates(tokenizer(pre, ignore_merges))[0] == name


@pytest.mark.parametrize(
    "pre", [GPT2, split(LLAMA3_PATTERN), split("x"), split(LLAMA3_PATTERN, behavior="Removed"), {"type": "Whitespace"}]
)
def test_every_name_is_tried_once_whatever_the_structure(pre: dict[str, Any]) -> None:
    assert sorted(candidates(tokenizer(pre))) == sorted(KNOWN)


def test_a_split_that_drops_its_matches_is_not_taken_for_one_that_keeps_them() -> None:
    assert candidates(tokenizer(split(QWEN2_PATTERN, behavior="Removed"))) == KNOWN


def test_byte_level_is_seen_inside_a_sequence() -> None:
    assert is_byte_level(tokenizer(split("x")))
    assert not is_byte_level(tokenizer({"type": "Metaspace"}))
    assert not is_byte_level({"pre_tokenizer": None, "model": {}})
