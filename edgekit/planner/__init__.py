"""Planning: model + setting + limits -> candidates in the order they are tried, and every rejection with its reason.

Pure: no I/O, no clock; the same inputs give the same plan. docs/planning.md tells how edgekit chooses.

    order       what is tried first                     holding     limits against estimates
    remedies    what would have to change               advice      what would fit where nothing does
    learning    what a measurement teaches              values      Plan and its parts
    sizing      how small a student has to be
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from edgekit.costs import Setting
from edgekit.device import DeviceProfile
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel
from edgekit.planner.advice import Broken, advice, student_advice
from edgekit.planner.expectation import expected_fidelity
from edgekit.planner.holding import Held, broken, counted_bytes, may_miss, ram_limit, whole_ram
from edgekit.planner.learning import after_miss, speaks_against
from edgekit.planner.order import in_order
from edgekit.planner.remedies import cached_tokens, remedy
from edgekit.planner.sizing import DISTILL, fitting_spec, packed_as, student_that_fits
from edgekit.planner.values import Known, Miss, Plan, Sibling
from edgekit.rules import Case, Remark, remarks
from edgekit.rules.traits import held_of, is_aggressive
from edgekit.strategies import STRATEGIES, Candidate, Engine, Rejection, load

__all__ = [
    "DISTILL",
    "Known",
    "Miss",
    "Plan",
    "Sibling",
    "after_miss",
    "counted_bytes",
    "fitting_spec",
    "packed_as",
    "plan",
    "propose",
    "ram_limit",
    "student_advice",
    "student_that_fits",
    "whole_ram",
]

# What to install where an engine is missing.
ENGINE_PACKAGES: Mapping[Engine, str] = {
    "onnxruntime": "torch transformers onnx onnxruntime optimum-onnx",
    "llama.cpp": "gguf llama-cpp-python torch transformers",
}


def propose(model: SourceModel, setting: Setting, strategy: str = "auto") -> tuple[Candidate | Rejection, ...]:
    """What every strategy (or the one named) would offer for `model` in `setting`."""
    names = list(STRATEGIES) if strategy == "auto" else [strategy]
    return tuple(offer for name in names for offer in load(name).propose(model, setting))


def plan(
    model: SourceModel,
    setting: Setting,
    limits: Limits,
    offers: Iterable[Candidate | Rejection],
    engines: Collection[Engine],
    preferences: Preferences = Preferences(),  # noqa: B008 (frozen)
    *,
    siblings: Sequence[Sibling] = (),
    known: Sequence[Known] = (),
) -> Plan:
    """Keep the offers that may hold every limit, in the order they should be tried.

    `engines` are those installed here, where candidates are made and measured. `siblings` are devices like this one
    with more memory, the smallest first; `known` is fidelity measured before on this very model.

    An offer is rejected here only when even the optimistic end of its estimate is over a limit; what may fit is tried
    and measured. Packing is for deploying, so that, unless --prefer accuracy asks for it, the unquantized model is the
    fallback, chosen where no quantized candidate holds every limit.
    """
    case = Case(model, setting, limits, preferences)
    gathered = tuple(offers)
    proposed = [offer for offer in gathered if isinstance(offer, Candidate)]
    refused = [offer for offer in gathered if isinstance(offer, Rejection)]
    doubts = {each.label: speaks_against(each, proposed, known, held_of(each, limits, model.task)) for each in proposed}
    kept, over, unusable = _held(proposed, case, engines, doubts)
    doubted = {each.label: names for each in kept if (names := may_miss(each, setting, limits))}
    told = [
        _rejection(candidate, missed[0], remedy(candidate, missed, model, setting, siblings, kept, doubted))
        for candidate, missed in over
    ]
    return Plan(
        model=model.name,
        task=model.task,
        kind=model.kind,
        device=setting.device.name,
        limits=limits,
        preferences=preferences,
        ram_limit_bytes=ram_limit(limits, setting.device),
        candidates=tuple(kept),
        rejections=(*sorted(refused, key=lambda each: (each.label, each.reason)), *unusable, *told),
        ram_counted=setting.device.ram.counted,
        may_miss=doubted,
        expectations={each.label: expected_fidelity(each, model, known) for each in kept},
        remarks=(*remarks(case, kept), *_doubts(kept, doubts)),
        advice=() if kept else advice(case, over, told, siblings),
        context_tokens=cached_tokens(model, setting) if model.task == "causal-lm" else None,
        earlier_reports=_earlier_reports(kept, setting),
    )


def _earlier_reports(kept: Sequence[Candidate], setting: Setting) -> tuple[str, ...]:
    """Names of the reports that estimates of memory or speed lean on, each once."""
    found = [each for made in kept for each in (made.ram_bytes, made.latency_ms, made.tokens_per_s) if each is not None]
    leant_on = {source for each in found for source in each.leans_on}
    return tuple(dict.fromkeys(each.name for each in setting.observations if each.name in leant_on))


def _held(
    proposed: Sequence[Candidate], case: Case, engines: Collection[Engine], doubts: Mapping[str, str]
) -> tuple[list[Candidate], list[Broken], list[Rejection]]:
    """In the order of preference: what may hold every limit, what breaks one, and what cannot be tried at all."""
    kept: list[Candidate] = []
    over: list[Broken] = []
    unusable: list[Rejection] = []
    for candidate in in_order(proposed, case, lambda each: doubts[each.label] != ""):
        rejection = _unusable(candidate, case, engines, doubts[candidate.label])
        missed = broken(candidate, case.setting, case.limits)
        if rejection is not None:
            unusable.append(rejection)
        elif missed:
            over.append((candidate, missed))
        else:
            kept.append(candidate)
    return kept, over, unusable


def _unusable(candidate: Candidate, case: Case, engines: Collection[Engine], doubt: str) -> Rejection | None:
    """Why the candidate cannot or should not be tried at all, whatever its estimates."""
    rejection = _not_for_this_cpu(candidate, case.setting.device)
    if rejection is None and candidate.engine not in engines:
        rejection = _missing_engine(candidate)
    if rejection is None and doubt and is_aggressive(candidate, case.model, case.preferences):
        reason = f"measured fidelity does not allow so few bits: {doubt}"
        return Rejection(candidate.label, reason, remedy="loosen that limit", estimated=False, broke="fidelity")
    return rejection


def _doubts(kept: Sequence[Candidate], doubts: Mapping[str, str]) -> list[Remark]:
    return [
        Remark("measured-before", each.label, f"tried last: {doubts[each.label]}")
        for each in kept
        if doubts[each.label]
    ]


def _rejection(candidate: Candidate, held: Held, change: str) -> Rejection:
    measured, limit = held.optimistic, held.limit
    return Rejection(candidate.label, held.told, measured, limit, held.unit, change, broke=held.name)


def _not_for_this_cpu(candidate: Candidate, device: DeviceProfile) -> Rejection | None:
    """Nothing is said where the candidate asks nothing of any CPU."""
    if not candidate.min_isa:
        return None
    arch = device.cpu.arch
    if arch not in candidate.min_isa:
        known = ", ".join(candidate.min_isa)
        return Rejection(
            candidate.label, f"its engine runs on {known} only, and {device.title} is {arch}", estimated=False
        )
    missing = [feature for feature in candidate.min_isa[arch] if not device.has(feature)]
    if not missing:
        return None
    return Rejection(
        candidate.label,
        f"its engine needs {', '.join(missing)}, which {device.title} does not have",
        remedy="an ONNX strategy runs there",
        estimated=False,
    )


def _missing_engine(candidate: Candidate) -> Rejection:
    return Rejection(
        candidate.label,
        f"what it takes to make and measure it with {candidate.engine} is not installed here",
        remedy=f"pip install {ENGINE_PACKAGES[candidate.engine]}",
    )
