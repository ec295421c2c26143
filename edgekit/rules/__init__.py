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
    Rule("carry", "candidate", representation.carried, (representation.CARRIED,), representation.carried_rest),
    Rule(
        "trained-for", "candidate", representation.trained_for, (representation.CARRIED,), representation.carried_rest
    ),
    Rule("said-trained", "model", representation.said_to_be_trained_for_it),
    Rule("requantize", "candidate", representation.requantized),
    Rule("no-carrier", "model", representation.without_carrier),
    Rule("task-engine", "candidate", representation.engine_order),
    Rule("saturation", "candidate", representation.saturation, (representation.SATURATES,)),
    Rule("convolutions", "candidate", representation.convolutions, (representation.CONVOLVES,)),
    Rule("four-bit", "candidate", representation.four_bit),
    Rule("aggressive", "candidate", representation.aggressive, detail=representation.kept_bits),
    Rule("sensitive-limits", "model", representation.sensitive_limits),
    Rule("repack", "candidate", representation.repacked, (representation.REPACKS,), representation.copied),
    Rule(
        "narrow-rows",
        "candidate",
        representation.narrow_rows,
        (representation.NARROW,),
        detail=representation.fallbacks,
    ),
    Rule("embeddings", "model", representation.embeddings, (representation.EMBEDS,)),
    Rule("student", "candidate", representation.student, (representation.STUDENT,)),
    Rule("base-model", "model", representation.base),
    Rule("shared-gpu", "device", hardware.shared_gpu),
    Rule("cpu-only", "device", hardware.cpu_only),
    Rule("anonymous", "device", hardware.anonymous),
    Rule("unknown-ram", "device", hardware.unknown_ram),
    Rule("unknown-speed", "candidate", hardware.unknown_speed, detail=hardware.unmeasured_terms),
)


def remarks(case: Case, candidates: Sequence[Candidate]) -> tuple[Remark, ...]:
    """Every rule that bites, each reason once, after those it holds for."""
    found: dict[tuple[str, str], list[tuple[Candidate, str]]] = {}
    told: list[Remark] = []
    for rule in RULES:
        if rule.about != "candidate":
            reason = rule.applies(case)
            subject = case.model.name if rule.about == "model" else case.setting.device.title
            told += [Remark(rule.name, subject, reason)] if reason is not None else []
            continue
        for candidate in candidates:
            its = replace(case, candidate=candidate)
            reason = rule.applies(its)
            if reason is not None:
                found.setdefault((rule.name, reason), []).append((candidate, rule.detail(its) if rule.detail else ""))
    for candidate in candidates:
        for note in _unfolded(case, candidate):
            found.setdefault(("note", note), []).append((candidate, ""))
    of_candidates = [Remark(name, _subject(about, candidates), reason) for (name, reason), about in found.items()]
    return (*of_candidates, *told)


def _unfolded(case: Case, candidate: Candidate) -> Iterable[str]:
    words = [
        word
        for rule in RULES
        if rule.folds and rule.applies(replace(case, candidate=candidate)) is not None
        for word in rule.folds
    ]
    return (note for note in candidate.notes if not any(word in note for word in words))


def _subject(about: list[tuple[Candidate, str]], candidates: Sequence[Candidate]) -> str:
    """Labels with their details; all of the candidates, or all of an engine's, in a word."""
    if len(about) > 1 and not any(detail for _, detail in about):
        chosen = [candidate for candidate, _ in about]
        if chosen == list(candidates):
            return "every candidate"
        engine = chosen[0].engine
        if chosen == [candidate for candidate in candidates if candidate.engine == engine]:
            return f"every candidate of {engine}"
    return ", ".join(f"{each.label} ({detail})" if detail else each.label for each, detail in about)
