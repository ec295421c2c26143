"""llama.cpp's pre-tokenizer names, found by the structure of tokenizer.json.

llama.cpp has the regular expressions compiled in and files name one of them. A converter's hash of token ids knows only
the vocabularies somebody listed; the structure is the same for every vocabulary trained with it. A name found here is a
guess until `parity.prove` has compared ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TAIL_SLASH = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HEAD = r"[^\r\n\p{L}\p{N}]?"
_GPT4O = (
    rf"{_HEAD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_HEAD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|\p{{N}}{{1,3}}{_TAIL_SLASH}"
)
_GPT2 = "ByteLevel regex"

# Steps of the pre-tokenizer, as `_steps` says them, to names in the order they are tried.
_BY_STEPS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    (_GPT2,): ("gpt-2",),
    ("Digits each", _GPT2): ("smollm",),
    ("Digits each", "ByteLevel"): ("smollm",),
    (rf"Split {_CONTRACTIONS}|{_HEAD}\p{{L}}+|\p{{N}}{{1,3}}{_TAIL}", "ByteLevel"): ("llama-bpe", "smaug-bpe"),
    (rf"Split {_CONTRACTIONS}|{_HEAD}\p{{L}}+|\p{{N}}{_TAIL}", "ByteLevel"): ("qwen2",),
    (rf"Split {_CONTRACTIONS}|{_HEAD}[\p{{L}}\p{{M}}]+|\p{{N}}{_TAIL}", "ByteLevel"): ("qwen35",),
    (rf"Split {_HEAD}{_UPPER}*{_LOWER}+|{_HEAD}{_UPPER}+{_LOWER}*|\p{{N}}{_TAIL_SLASH}", "ByteLevel"): ("tekken",),
    (rf"Split {_GPT4O}", "ByteLevel"): ("gpt-4o",),
}

# One name for each distinct behaviour in llama.cpp, most common first: what is tried when the guess does not hold.
KNOWN: tuple[str, ...] = (
    "llama-bpe", "smaug-bpe", "qwen2", "gpt-2", "smollm", "tekken", "gpt-4o", "deepseek-v3", "deepseek-llm",
    "deepseek-coder", "qwen35", "falcon", "bailingmoe", "seed-coder", "exaone-moe", "minicpm5", "jais-2", "poro-chat",
    "viking", "superbpe", "tiny_aya", "kimi-k2", "default",
)  # fmt: skip


def candidates(tokenizer: Mapping[str, Any]) -> tuple[str, ...]:
    """Names to try for a byte-level tokenizer.json, the likeliest first."""
    guesses = _BY_STEPS.get(tuple(_steps(tokenizer.get("pre_tokenizer"))), ())
    if len(guesses) > 1 and not tokenizer["model"].get("ignore_merges"):
        guesses = tuple(reversed(guesses))
    return (*guesses, *(name for name in KNOWN if name not in guesses))


def is_byte_level(tokenizer: Mapping[str, Any]) -> bool:
    return any(step.startswith("ByteLevel") for step in _steps(tokenizer.get("pre_tokenizer")))


def _steps(step: Mapping[str, Any] | None) -> list[str]:
    """The pre-tokenizer as a flat list of what decides where words end."""
    if step is None:
        return []
    kind = str(step["type"])
    if kind == "Sequence":
        return [name for inner in step["pretokenizers"] for name in _steps(inner)]
    if kind == "ByteLevel":
        return ["ByteLevel regex" if step.get("use_regex", True) else "ByteLevel"]
    if kind == "Digits":
        return ["Digits each" if step.get("individual_digits") else "Digits"]
    if kind == "Split":
        pattern = step["pattern"]
        behaviour = "" if str(step["behavior"]).lower() == "isolated" and not step.get("invert") else " other"
        return [f"Split {pattern.get('Regex', pattern.get('String'))}{behaviour}"]
    return [kind]
