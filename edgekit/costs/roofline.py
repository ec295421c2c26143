"""From work to time and memory: a roofline with fitted factors, corrected by what earlier reports measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekit.costs import Estimate, MemoryEstimate, MemoryTerm, Part, Phase, Setting, Term
from edgekit.costs.factors import TRANSFER_WIDENING, Row, isa_class
from edgekit.costs.learning import corrected
from edgekit.costs.rates import UNITS, Rate, rate

SHARPNESS = 4.0
"""Computing and reading overlap: the duration is (compute^4 + reading^4)^(1/4), near the larger of the two."""

_UNFITTED_MEMORY = (0.8, 1.3)


def seconds(terms: Sequence[Term], engine: str, phase: Phase, setting: Setting) -> Estimate | None:
    """How long `terms` take, or None where a rate or a factor is not known, or there is nothing to do.

    The interval holds the combination at any rates within theirs, widened by the row's own, and once more where the
    row was measured on another ISA, or on more work only: by how much more.
    """
    found = setting.factors.row(engine, phase, setting.device)
    terms = [term for term in terms if term.amount > 0]
    if found is None or not terms:
        return None
    row, transferred = found
    known = {unit: rate(setting.device, unit, setting.threads) for unit in UNITS}
    rates: dict[str, Rate] = {unit: each for unit, each in known.items() if each is not None}
    if any(term.name not in row.factors or (term.unit != "seconds" and term.unit not in rates) for term in terms):
        return None
    fast = combine(terms, row.factors, {unit: each.high for unit, each in rates.items()})
    slow = combine(terms, row.factors, {unit: each.low for unit, each in rates.items()})
    work = sum(term.amount for term in terms if term.unit in ("flops", "int8_ops"))
    widening = (TRANSFER_WIDENING if transferred else 1.0) * (max(1.0, row.least / work) if work else 1.0)
    low, high = fast * row.low / widening, slow * row.high * widening
    if not 0 < low <= high < math.inf:
        return None
    told = dict.fromkeys(rates[term.unit].told for term in terms if term.unit != "seconds")
    basis = f"roofline of {', '.join(told) or 'fixed costs'}; factors measured on {row.isa}"
    if work < row.least:
        basis += f", on {row.least / work:.1f} times the work at least" if work else ", on more work"
    if transferred:
        basis += f", carried over to {isa_class(setting.device, engine)}"
    return corrected(Estimate(low, high, basis, (_told(row),)), engine, phase, setting)


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
    longer = max(compute, reading)
    if longer == 0 or math.isinf(longer):
        return fixed + longer
    overlap = ((compute / longer) ** SHARPNESS + (reading / longer) ** SHARPNESS) ** (1 / SHARPNESS)
    return fixed + longer * float(overlap)


def memory(terms: Sequence[MemoryTerm], engine: str, setting: Setting) -> MemoryEstimate:
    """Peak resident memory and its parts. What earlier reports showed moves the peak and, of its parts, the anonymous
    one: the file and the KV cache are known from shapes. The cache is told as its shape says, without a factor.
    """
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

    whole = interval(sum(sums.values()))
    peak = corrected(whole, engine, "memory", setting)
    anonymous = interval(sums["anonymous"])
    if peak is not whole and anonymous.low > 0:
        moved = max(0.0, anonymous.mid + peak.mid - whole.mid) / anonymous.mid
        anonymous = replace(peak, low=anonymous.low * moved, high=anonymous.high * moved)
    return MemoryEstimate(
        peak=peak,
        file_backed=interval(sums["file"]),
        anonymous=anonymous,
        kv_bytes=int(sum(term.bytes for term in terms if term.part == "kv")),
        activations=interval(sums["activations"]),
    )


def _told(row: Row) -> str:
    return f"{row.name}: {row.points} points, {row.provenance}"
