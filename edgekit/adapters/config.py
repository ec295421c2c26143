"""adapter_config.json, checked: what kind of adapter it is, and by what factor each module's product is scaled."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.errors import BadAdapter

# Variants of LoRA whose merged weights are not base + scaling * B A, by the key that switches them on.
_VARIANTS = {
    "target_parameters": "LoRA on bare parameters (target_parameters)",
    "layer_replication": "layers that stand twice (layer_replication)",
    "alora_invocation_tokens": "activated LoRA (aLoRA), whose weights apply to some tokens only,",
    "use_qalora": "QA-LoRA (use_qalora)",
    "use_bdlora": "block-diagonal LoRA (use_bdlora)",
    "arrow_config": "Arrow routing, which chooses adapters by input,",
    "kasa_config": "KaSA (kasa_config)",
    "monteclora_config": "MonteCLoRA (monteclora_config)",
    "megatron_config": "Megatron's parallel layers (megatron_config)",
}
# What these start from is not the base: they subtract their first product from it.
_OTHER_BASES = ("pissa", "olora", "corda", "lora_ga", "loftq")
_MAX_RANK = 65536
_MAX_NUMBER = 1e9
_MAX_PATTERN = 256
# Of a pattern's repetitions and groups with alternatives, and of patterns with any: a match costs a power of the name.
_MAX_CHOICES, _MAX_COSTLY = 3, 32
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_QUANTIFIER = re.compile(r"[*+?{]")


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA adapter's configuration. `base` and `revision` are where PEFT says the base lies: a folder or a hub id.

    `token_rows` maps modules (by the ends of their names, "" for the input embedding) to the rows that were trained
    alone. `ties` says that what was trained on the input embedding holds for a tied output too.
    """

    base: str | None
    revision: str | None
    task_type: str | None
    rank: int
    alpha: float
    rank_pattern: Mapping[str, float] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rank_stabilized: bool = False
    dora: bool = False
    fan_in_fan_out: bool = False
    ties: bool = False
    token_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: Mapping[str, Any], where: str) -> AdapterConfig:
        """From adapter_config.json's object; BadAdapter for another method than LoRA, and for what cannot be merged."""
        method = str(raw.get("peft_type") or "an unnamed method")
        if method != "LORA":
            raise BadAdapter(
                f"{where} is an adapter by {plain_method(method)}, LoRA adapters are merged",
                "merge it where it was trained, with peft's merge_and_unload() if it has that, and save_pretrained()",
            )
        for key, what in _VARIANTS.items():
            if raw.get(key):
                raise BadAdapter(f"{where}: {what} cannot be merged by edgekit", "train a plain LoRA, rsLoRA or DoRA")
        initial = raw.get("init_lora_weights")
        if isinstance(initial, str) and initial.lower().startswith(_OTHER_BASES):
            raise BadAdapter(
                f"{where} was initialised by {initial}, which changes the base that it is added to",
                "save it as plain LoRA: save_pretrained(path_initial_model_for_weight_conversion=...)",
            )
        return cls(
            base=_text(raw, "base_model_name_or_path", where),
            revision=_text(raw, "revision", where),
            task_type=_text(raw, "task_type", where),
            rank=_rank(raw.get("r", 8), "r", where),
            alpha=_number(raw.get("lora_alpha", 8), "lora_alpha", where),
            rank_pattern=_pattern(raw, "rank_pattern", where),
            alpha_pattern=_pattern(raw, "alpha_pattern", where),
            rank_stabilized=bool(raw.get("use_rslora")),
            dora=bool(raw.get("use_dora")),
            fan_in_fan_out=bool(raw.get("fan_in_fan_out")),
            ties=bool(raw.get("ensure_weight_tying")),
            token_rows=_token_rows(raw.get("trainable_token_indices"), where),
        )

    def rank_of(self, module: str) -> int:
        return int(_matched(self.rank_pattern, module, self.rank))

    def scaling(self, module: str) -> float:
        """alpha / r (Hu et al. 2021, LoRA), or alpha / sqrt(r) (Kalajdzievski 2023, rsLoRA)."""
        rank, alpha = self.rank_of(module), _matched(self.alpha_pattern, module, self.alpha)
        return alpha / math.sqrt(rank) if self.rank_stabilized else alpha / rank


def plain_method(method: str) -> str:
    """The field's name of a PEFT type."""
    names = {"IA3": "IA3", "PROMPT_TUNING": "prompt tuning", "P_TUNING": "P-tuning", "PREFIX_TUNING": "prefix tuning",
             "VERA": "VeRA", "ADALORA": "AdaLoRA", "LOHA": "LoHa", "LOKR": "LoKr", "OFT": "OFT", "BOFT": "BOFT",
             "ADAPTION_PROMPT": "adaption prompt", "LORA": "LoRA"}  # fmt: skip
    return names.get(method, method)


def _matched(patterns: Mapping[str, float], module: str, otherwise: float) -> float:
    """The value of the first pattern that matches the module's name or the end of it, as PEFT's get_pattern_key."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise


def _text(raw: Mapping[str, Any], key: str, where: str) -> str | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, str):
        raise BadAdapter(f"{where}: {key} is {type(value).__name__}, text is expected")
    return value or None


def _number(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_NUMBER:
        raise BadAdapter(f"{where}: {key} is {repr(value)[:40]}, a number is expected")
    return float(value)


def _rank(value: Any, key: str, where: str) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_RANK:
        raise BadAdapter(f"{where}: {key} is {value!r}, a whole number of 1 to {_MAX_RANK} is expected")
    return value


def _pattern(raw: Mapping[str, Any], key: str, where: str) -> dict[str, float]:
    given = raw.get(key) or {}
    if not isinstance(given, Mapping):
        raise BadAdapter(f"{where}: {key} is {type(given).__name__}, an object is expected")
    found: dict[str, float] = {}
    costly = sum(_choices(pattern) > 0 for pattern in given)
    if costly > _MAX_COSTLY:
        raise BadAdapter(f"{where}: {key} has {costly} regular expressions, the limit is {_MAX_COSTLY}", "name modules")
    for pattern, value in given.items():
        _check_pattern(pattern, f"{where}: {key}")
        found[pattern] = _rank(value, key, where) if key == "rank_pattern" else _number(value, key, where)
    return found


def _choices(pattern: str) -> int:
    """How often a match may have to choose anew; escaped signs count too, since telling them apart is an art."""
    return len(_QUANTIFIER.findall(pattern)) + (pattern.count("(") if "|" in pattern else 0)


def _check_pattern(pattern: str, where: str) -> None:
    """A regular expression whose matching takes no more than polynomial time, of a low degree."""
    costly = _choices(pattern) > _MAX_CHOICES or _REPEATED_GROUP.search(pattern)
    if len(pattern) > _MAX_PATTERN or costly:
        raise BadAdapter(
            f"{where} has a pattern of {len(pattern)} characters that could take for ever to match",
            f"name the modules: no repeated groups, up to {_MAX_CHOICES} repetitions or groups of alternatives",
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise BadAdapter(f"{where} has {pattern!r}, which is no regular expression: {error}") from error


def _token_rows(given: Any, where: str) -> dict[str, tuple[int, ...]]:
    if given is None:
        return {}
    named = given if isinstance(given, Mapping) else {"": given}
    for rows in named.values():
        if not isinstance(rows, list) or not all(type(row) is int and row >= 0 for row in rows):
            raise BadAdapter(f"{where}: trainable_token_indices are not lists of row numbers")
    return {str(module): tuple(rows) for module, rows in named.items()}
