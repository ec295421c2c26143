"""What would fit where nothing does: a smaller context, fewer bits, a larger device, a smaller model."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.costs import Setting
from edgekit.limits import Limits
from edgekit.planner.holding import Held, counted_bytes, ram_limit
from edgekit.planner.remedies import cached_tokens, fitting_context, larger_device
from edgekit.planner.values import Sibling
from edgekit.rules import Case
from edgekit.rules.traits import is_quantized, task_engine
from edgekit.strategies import Candidate, Rejection
from edgekit.students import INT8, Q4_K_M, Q8_0, Budget, Student, fitting

_FEWEST_BITS = 1.5
"""Below this no type is worth naming: what is left of a model is not that model."""

Broken = tuple[Candidate, Held]


def advice(
    case: Case, over: Sequence[Broken], told: Sequence[Rejection], siblings: Sequence[Sibling], student: Student | None
) -> tuple[str, ...]:
    """Lines, the smallest change first. `told` are the rejections of `over`, in the same order."""
    found = [
        *_smaller_context(case, over),
        *_fewer_bits(over),
        *_larger_device(over, siblings),
        *_smaller_model(case, student),
    ]
    if not found and over:
        nearest = min(range(len(over)), key=lambda index: (over[index][1].overshoot, index))
        found = [f"nearest: {over[nearest][0].label}: {told[nearest].remedy}"]
    return tuple(found)


def fitting_student(case: Case, over: Sequence[Broken]) -> Student | None:
    """The student that would hold the limits on disk and RAM, where no quantized candidate does."""
    quantized = [candidate for candidate, held in over if is_quantized(candidate) and held.name in ("RAM", "disk")]
    if not quantized:
        return None
    packing = INT8
    if task_engine(case.model.task) == "llama.cpp":
        packing = Q8_0 if case.preferences.sensitivity == "high" else Q4_K_M
    engine = task_engine(case.model.task)
    yardsticks = [each for each in quantized if each.engine == engine] or quantized
    return fitting(case.model, packing, _budget(yardsticks, case.setting, case.limits))


def _budget(yardsticks: Sequence[Candidate], setting: Setting, limits: Limits) -> Budget:
    """How memory follows the file, from two candidates that were estimated: what both need is fixed."""
    sizes = sorted(
        (each.disk_bytes.high, counted_bytes(each, setting.device).high - each.kv_bytes) for each in yardsticks
    )
    (small, small_ram), (large, large_ram) = sizes[0], sizes[-1]
    grows = (large_ram - small_ram) / (large - small) if large > 1.01 * small else 1.0
    per_byte = min(max(grows, 0.0), small_ram / small if small else 0.0)
    return Budget(
        disk_bytes=limits.max_disk_bytes,
        ram_bytes=ram_limit(limits, setting.device),
        fixed_bytes=max(0.0, small_ram - per_byte * small),
        per_file_byte=per_byte,
        kv_bytes=yardsticks[0].kv_bytes,
    )


def _smaller_context(case: Case, over: Sequence[Broken]) -> list[str]:
    best: tuple[bool, int, str] | None = None
    for candidate, held in over:
        found = fitting_context(candidate, held, case.model, case.setting) if held.name == "RAM" else None
        if found is not None:
            tokens, sure = found
            best = max(best or (False, 0, ""), (sure, tokens, candidate.label))
    if best is None:
        return []
    sure, tokens, label = best
    asked = cached_tokens(case.model, case.setting)
    return [f"a smaller context: {label} {'fits' if sure else 'may fit'} with --context {tokens} (asked: {asked})"]


def _fewer_bits(over: Sequence[Broken]) -> list[str]:
    """The bits a weight at which the smallest candidate's file would be small enough."""
    sized = [(candidate, held) for candidate, held in over if held.name in ("RAM", "disk")]
    if not sized:
        return []
    candidate, held = min(sized, key=lambda each: (each[0].disk_bytes.mid, each[0].label))
    size = candidate.disk_bytes.mid
    bits = candidate.faithfulness * (size - (held.pessimistic - held.limit)) / size if size else 0.0
    if bits < _FEWEST_BITS or bits >= candidate.faithfulness:
        return []
    return [
        f"a lower bit width: {bits:.1f} bits a weight would fit; {candidate.label}, the smallest here, keeps"
        f" {candidate.faithfulness:g}"
    ]


def _larger_device(over: Sequence[Broken], siblings: Sequence[Sibling]) -> list[str]:
    for candidate, held in over:
        found = larger_device(held, siblings) if held.name == "RAM" and held.from_device else []
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
