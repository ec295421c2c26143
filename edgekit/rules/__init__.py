"""What the planner knows, as rows: each rule says whether it bites and why; plans print the reasons.

docs/planning.md lists every rule with its grounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edgekit.rules import hardware, representation
from edgekit.rules.case import Case, Remark, Rule
from edgekit.rules.traits import tightened
from edgekit.strategies import Candidate

__all__ = ["RULES", "Case", "Remark", "Rule", "remarks", "tightened"]

RULES: tuple[Rule, ...] = (
    Rule("carry", "candidate", representation.carried),
    Rule("trained-for", "candidate", representation.trained_for),
    Rule("requantize", "candidate", representation.requantized),
    Rule("no-carrier", "model", representation.without_carrier),
    Rule("task-engine", "candidate", representation.engine_order),
    Rule("saturation", "candidate", representation.saturation, folds=(representation.SATURATES,)),
    Rule("convolutions", "candidate", representation.convolutions, folds=(representation.CONVOLVES,)),
    Rule("four-bit", "candidate", representation.four_bit),
    Rule("aggressive", "candidate", representation.aggressive),
    Rule("sensitive-limits", "model", representation.sensitive_limits),
    Rule("repack", "candidate", representation.repacked, folds=(representation.REPACKS,)),
    Rule("narrow-rows", "candidate", representation.narrow_rows, folds=(representation.NARROW,)),
    Rule("embeddings", "model", representation.embeddings, folds=("weights are embeddings",)),
    Rule("base-model", "model", representation.base),
    Rule("shared-gpu", "device", hardware.shared_gpu),
    Rule("cpu-only", "device", hardware.cpu_only),
    Rule("anonymous", "device", hardware.anonymous),
    Rule("unknown-ram", "device", hardware.unknown_ram),
    Rule("unknown-speed", "candidate", hardware.unknown_speed),
)


def remarks(case: Case, candidates: Sequence[Candidate]) -> tuple[Remark, ...]:
    """Every rule that bites, each reason once, after those it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in RULES:
        if rule.about != "candidate":
            subject = case.model.name if rule.about == "model" else case.setting.device.title
            reason = rule.applies(case)
            if reason is not None:
                found[rule.name, reason] = [subject]
            continue
        for candidate in candidates:
            reason = rule.applies(replace(case, candidate=candidate))
            if reason is not None:
                found.setdefault((rule.name, reason), []).append(candidate.label)
    for candidate in candidates:
        for note in _unfolded(case, candidate):
            found.setdefault(("note", note), []).append(candidate.label)
    labels = [candidate.label for candidate in candidates]
    return tuple(Remark(name, _subject(about, labels), reason) for (name, reason), about in found.items())


def _unfolded(case: Case, candidate: Candidate) -> Iterable[str]:
    words = [
        word
        for rule in RULES
        if rule.folds and rule.applies(replace(case, candidate=candidate)) is not None
        for word in rule.folds
    ]
    return (note for note in candidate.notes if not any(word in note for word in words))


def _subject(about: list[str], labels: list[str]) -> str:
    return "every candidate" if len(labels) > 1 and about == labels else ", ".join(about)
