"""What would fit where nothing does: a smaller context, fewer bits, a larger device, a student."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.planner.holding import Held
from edgekit.planner.remedies import cached_tokens, fitting_context, larger_device
from edgekit.planner.sizing import packed_as
from edgekit.planner.values import Sibling
from edgekit.report import show
from edgekit.rules import Case
from edgekit.rules.traits import is_aggressive
from edgekit.strategies import Candidate, Rejection

_FEWEST_BITS = 1.5
"""Below this no type is worth naming: what is left of a model is not that model."""

Broken = tuple[Candidate, tuple[Held, ...]]
"""A candidate with the limits that it cannot hold, the one most over first."""

_SIZES = frozenset(["RAM", "whole RAM", "disk"])


def advice(
    case: Case, over: Sequence[Broken], told: Sequence[Rejection], siblings: Sequence[Sibling]
) -> tuple[str, ...]:
    """Lines, the smallest change first. `told` are the rejections of `over`, in the same order."""
    found = [*_smaller_context(case, over), *_fewer_bits(case, over), *_larger_device(over, siblings)]
    if not found and over:
        nearest = min(range(len(over)), key=lambda index: (over[index][1][0].overshoot, index))
        found = [f"nearest: {over[nearest][0].label}: {told[nearest].remedy}"]
    return tuple(found)


def student_advice(student: Candidate) -> str:
    """One line, for a student that would fit."""
    return (
        f"a student of {student.student}, would fit as {packed_as(student)}, {show(student.disk_bytes.mid, 'bytes')} on"
        " disk (all estimated): pack --data FILE trains it"
    )


def _smaller_context(case: Case, over: Sequence[Broken]) -> list[str]:
    best: tuple[bool, bool, int, str] | None = None
    for candidate, missed in over:
        only_ram = [held.name for held in missed] == ["RAM"]
        found = fitting_context(candidate, missed[0], case.model, case.setting) if only_ram else None
        if found is not None:
            tokens, sure = found
            faithful = not is_aggressive(candidate, case.model, case.preferences)
            best = max(best or (False, False, 0, ""), (faithful, sure, tokens, candidate.label))
    if best is None:
        return []
    _, sure, tokens, label = best
    asked = cached_tokens(case.model, case.setting)
    return [f"a smaller context: {label} {'fits' if sure else 'may fit'} with --context {tokens} (asked: {asked})"]


def _fewer_bits(case: Case, over: Sequence[Broken]) -> list[str]:
    """The bits a weight at which the file of one of the candidates would be small enough, at most."""
    sized = [(candidate, missed) for candidate, missed in over if _shrinks_with_file(candidate, missed, case)]
    if not sized or case.model.parameters == 0:
        return []
    per_bit = case.model.parameters / 8
    bits = max(
        (candidate.disk_bytes.mid - max(held.pessimistic - held.limit for held in missed)) / per_bit
        for candidate, missed in sized
    )
    smallest = min((candidate for candidate, _ in sized), key=lambda each: (each.disk_bytes.mid, each.label))
    fewest = smallest.disk_bytes.mid / per_bit
    if not _FEWEST_BITS <= bits < fewest:
        return []
    return [
        f"a lower bit width: about {bits:.1f} bits a weight would fit; the smallest offered, {smallest.label}, takes"
        f" {fewest:.1f}"
    ]


def _only_size(missed: Sequence[Held]) -> bool:
    return all(held.name in _SIZES for held in missed)


def _shrinks_with_file(candidate: Candidate, missed: Sequence[Held], case: Case) -> bool:
    """Whether a smaller file is what would help. Where mapped pages do not count, it helps no llama.cpp model's RAM."""
    uncounted = case.setting.device.ram.counted == "anonymous" and candidate.engine == "llama.cpp"
    return _only_size(missed) and not (uncounted and any(held.name == "RAM" for held in missed))


def _larger_device(over: Sequence[Broken], siblings: Sequence[Sibling]) -> list[str]:
    for candidate, missed in over:
        alone = [(held.name, held.from_device) for held in missed] == [("RAM", True)]
        found = larger_device(missed[0], siblings) if alone else []
        if found:
            return [f"a larger device: {candidate.label} {found[0]}"]
    return []
