"""What would fit where nothing does: a smaller context, fewer bits, a larger device, a smaller model."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from edgekit.costs import MemoryTerm
from edgekit.planner.holding import Held, counted_bytes, ram_limit, whole_ram
from edgekit.planner.remedies import cached_tokens, fitting_context, larger_device
from edgekit.planner.values import Sibling
from edgekit.rules import Case
from edgekit.rules.traits import is_aggressive, is_quantized, task_engine
from edgekit.strategies import Candidate, Rejection
from edgekit.students import INT8, Q4_K_M, Q8_0, Budget, Student, fitting

_FEWEST_BITS = 1.5
"""Below this no type is worth naming: what is left of a model is not that model."""

Broken = tuple[Candidate, tuple[Held, ...]]
"""A candidate with the limits that it cannot hold, the one most over first."""

_SIZES = frozenset(["RAM", "whole RAM", "disk"])


def advice(
    case: Case, over: Sequence[Broken], told: Sequence[Rejection], siblings: Sequence[Sibling], student: Student | None
) -> tuple[str, ...]:
    """Lines, the smallest change first. `told` are the rejections of `over`, in the same order."""
    found = [
        *_smaller_context(case, over),
        *_fewer_bits(case, over),
        *_larger_device(over, siblings),
        *_smaller_model(case, student),
    ]
    if not found and over:
        nearest = min(range(len(over)), key=lambda index: (over[index][1][0].overshoot, index))
        found = [f"nearest: {over[nearest][0].label}: {told[nearest].remedy}"]
    return tuple(found)


def fitting_student(case: Case, over: Sequence[Broken]) -> Student | None:
    """The student that would hold the limits on disk and RAM, where no quantized candidate does."""
    quantized = [candidate for candidate, missed in over if is_quantized(candidate) and _only_size(missed)]
    if not quantized:
        return None
    packing = INT8
    if task_engine(case.model.task) == "llama.cpp":
        packing = Q8_0 if case.preferences.sensitivity == "high" else Q4_K_M
    engine = task_engine(case.model.task)
    yardsticks = [each for each in quantized if each.engine == engine] or quantized
    like = next((each for each in yardsticks if each.label == packing.name), yardsticks[0])
    return fitting(case.model, packing, _budget(like, yardsticks, case))


def _budget(like: Candidate, yardsticks: Sequence[Candidate], case: Case) -> Budget:
    """How memory follows the file: what differs between candidates of one engine does, what all need is fixed."""
    needed = counted_bytes(like, case.setting.device).high - like.kv_bytes
    weights = min(1.0, like.disk_bytes.high / needed) if needed > 0 else 0.0
    if like.work is not None and like.memory is not None:
        file_counts = case.setting.device.ram.counted == "resident"
        terms = [term for term in like.work.memory if term.part != "kv" and (file_counts or term.part != "file")]
        others = [
            {(term.name, term.bytes) for term in each.work.memory} for each in yardsticks if each.work is not None
        ]
        fixed = sum(term.bytes for term in terms if _is_fixed(term, others))
        weights = 1.0 - fixed / max(1.0, sum(term.bytes for term in terms))
    whole = whole_ram(case.limits, case.setting.device)
    room = None if whole is None else max(0.0, whole - like.ram_bytes.high + like.disk_bytes.high)
    return Budget(
        disk_bytes=min((size for size in (case.limits.max_disk_bytes, room) if size is not None), default=None),
        ram_bytes=ram_limit(case.limits, case.setting.device),
        fixed_bytes=(1.0 - weights) * needed,
        per_file_byte=weights * needed / max(1.0, like.disk_bytes.high),
        kv_bytes=like.kv_bytes,
    )


def _is_fixed(term: MemoryTerm, others: Sequence[AbstractSet[tuple[str, float]]]) -> bool:
    """Whether every candidate has the term at the same size; of a single candidate, whether it is no file's."""
    if len(others) < 2:
        return term.part != "file"
    return all((term.name, term.bytes) in each for each in others)


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


def _smaller_model(case: Case, student: Student | None) -> list[str]:
    if student is None:
        return []
    return [
        f"a smaller model: a student of {student.parameters / 1e6:,.0f} million parameters ({student.layers} layers,"
        f" {student.hidden} wide) as {student.packed_as} would fit; {case.model.name} has"
        f" {case.model.parameters / 1e6:,.0f} million"
    ]
