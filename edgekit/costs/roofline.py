"""From work to time and memory: a roofline with fitted factors, corrected by what earlier reports measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgekit.costs import Estimate, MemoryEstimate, MemoryTerm, Observation, Part, Phase, Setting, Term
from edgekit.costs.factors import TRANSFER_WIDENING, Row, isa_class
from edgekit.costs.rates import Rate, rate

SHARPNESS = 4.0
"""Computing and reading overlap: the duration is (compute^4 + reading^4)^(1/4), near the larger of the two."""

_UNFITTED_MEMORY = (0.8, 1.3)
# The weight of the fitted factors against earlier reports, in reports.
_PRIOR_REPORTS = 1.0


def seconds(terms: Sequence[Term], engine: str, phase: Phase, setting: Setting) -> Estimate | None:
    """How long `terms` take, or None where a rate or a factor is not known."""
    found = setting.factors.row(engine, phase, setting.device)
    if found is None:
        return None
    row, transferred = found
    rates: dict[str, Rate] = {}
    for unit in ("flops", "int8_ops", "bytes"):
        known = rate(setting.device, unit, setting.threads)
        if known is not None:
            rates[unit] = known
    if any(term.name not in row.factors or (term.unit != "seconds" and term.unit not in rates) for term in terms):
        return None
    fast = combine(terms, row.factors, {unit: each.high for unit, each in rates.items()})
    slow = combine(terms, row.factors, {unit: each.low for unit, each in rates.items()})
    widening = TRANSFER_WIDENING if transferred else 1.0
    told = ", ".join(dict.fromkeys(rates[term.unit].told for term in terms if term.unit != "seconds"))
    basis = f"roofline of {told}; factors measured on {row.isa}" + (
        f", carried over to {isa_class(setting.device)}" if transferred else ""
    )
    estimate = Estimate(fast * row.low / widening, slow * row.high * widening, basis, (_told(row),))
    return _corrected(estimate, engine, phase, setting)


def combine(terms: Sequence[Term], factors: Mapping[str, float], rates: Mapping[str, float]) -> float:
    """Seconds at exact rates: fixed costs plus the overlap of computing and reading."""
    compute = reading = fixed = 0.0
    for term in terms:
        cost = factors[term.name] * term.amount
        if term.unit == "seconds":
            fixed += cost
        elif term.unit == "bytes":
            reading += cost / rates["bytes"]
        else:
            compute += cost / rates[term.unit]
    return float(fixed + (compute**SHARPNESS + reading**SHARPNESS) ** (1 / SHARPNESS))


def memory(terms: Sequence[MemoryTerm], engine: str, setting: Setting) -> MemoryEstimate:
    """Peak resident memory and its parts."""
    found = setting.factors.row(engine, "memory", setting.device)
    factors: Mapping[str, float] = found[0].factors if found else {}
    low, high = (found[0].low, found[0].high) if found else _UNFITTED_MEMORY
    sums: dict[Part, float] = dict.fromkeys(("file", "anonymous", "kv", "activations"), 0.0)
    for term in terms:
        sums[term.part] += factors.get(term.name, 1.0) * term.bytes
    leans_on = (_told(found[0]),) if found else ()
    basis = "file, KV cache, activations and process, from shapes" + ("" if found else "; no factors were measured")

    def interval(value: float) -> Estimate:
        return Estimate(value * low, value * high, basis, leans_on)

    peak = _corrected(interval(sum(sums.values())), engine, "memory", setting)
    return MemoryEstimate(
        peak=peak,
        file_backed=interval(sums["file"]),
        anonymous=interval(sums["anonymous"]),
        kv_bytes=int(sums["kv"]),
        activations=interval(sums["activations"]),
    )


def _told(row: Row) -> str:
    return f"{row.name}: {row.points} points, {row.provenance}"


def _corrected(estimate: Estimate, engine: str, phase: Phase, setting: Setting) -> Estimate:
    """The estimate moved by what reports of this engine on this device measured; the more there are, the further."""
    seen = [each for each in setting.observations if _applies(each, engine, phase, setting)]
    if not seen:
        return estimate
    errors = [math.log(each.measured / each.predicted) for each in seen]
    shift = math.exp(sum(errors) / (len(errors) + _PRIOR_REPORTS))
    told = f"{estimate.basis}; times {shift:.2f} from {len(seen)} earlier reports"
    return Estimate(
        estimate.low * shift, estimate.high * shift, told, (*estimate.leans_on, *(each.name for each in seen))
    )


def _applies(each: Observation, engine: str, phase: Phase, setting: Setting) -> bool:
    """Times count only where they were measured on the device itself; memory where its engine ran at all."""
    if each.engine != engine or each.phase != phase or each.device != setting.device.name:
        return False
    return phase == "memory" or each.on_device
