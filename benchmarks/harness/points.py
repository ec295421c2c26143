"""Points: what a candidate's work was said to be, how fast the machine was, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgekit.costs import Phase, Term, Work
from edgekit.costs.rates import UNITS, rate
from edgekit.device import DeviceProfile
from edgekit.strategies import Candidate
from harness.probing import Reading


@dataclass(frozen=True)
class Point:
    """One measurement. `terms` are (name, amount, unit), amounts in bytes and unit "bytes" for the phase "memory".

    `rates` are units per second of the machine for these threads, the median of those measured nearest in time;
    `measured` is in seconds or bytes, between its quartiles `low` and `high`. `other_load` is the share of all cores
    that other processes took while it was measured.
    """

    shape: str
    strategy: str
    engine: str
    threads: int
    phase: Phase
    tokens: int
    terms: tuple[tuple[str, float, str], ...]
    rates: Mapping[str, float]
    measured: float
    low: float
    high: float
    other_load: float | None = None


def points(
    shape: str,
    candidate: Candidate,
    threads: int,
    readings: Iterable[Reading],
    machines: Sequence[DeviceProfile],
) -> Iterator[Point]:
    """The readings that the candidate told work for."""
    rates = median_rates(machines, threads)
    for each in readings:
        terms = terms_of(candidate.work, each.phase, each.tokens)
        if terms:
            yield Point(
                shape,
                candidate.label,
                candidate.engine,
                threads,
                each.phase,
                each.tokens,
                terms,
                {} if each.phase == "memory" else rates,
                each.value,
                each.low,
                each.high,
                each.other_load,
            )


def terms_of(work: Work | None, phase: Phase, tokens: int) -> tuple[tuple[str, float, str], ...]:
    """Empty where none are told. The work of decoding is told for one number of tokens before, whatever it is."""
    if work is None:
        return ()
    if phase == "memory":
        return tuple((term.name, term.bytes, "bytes") for term in work.memory)
    told: Mapping[int, tuple[Term, ...]] = work.terms.get(phase, {})
    terms = next(iter(told.values()), ()) if phase == "decode" else told.get(tokens, ())
    return tuple((term.name, term.amount, term.unit) for term in terms if term.amount > 0)


def median_rates(machines: Sequence[DeviceProfile], threads: int) -> dict[str, float]:
    """Other load slows bursts down, and now and then a virtual machine finds twice its bandwidth: hence the median."""
    found = {unit: [rate(machine, unit, threads) for machine in machines] for unit in UNITS}
    return {unit: median(each.mid for each in rates if each) for unit, rates in found.items() if any(rates)}


def write_points(path: Path, provenance: Mapping[str, Any], measured: Sequence[Point]) -> None:
    """One point a line: the file is read by people, and compared by git."""
    lines = ",\n".join(json.dumps(asdict(point), ensure_ascii=False) for point in measured)
    head = json.dumps(provenance, indent=1, ensure_ascii=False)
    path.write_text(f'{{"provenance": {head},\n"points": [\n{lines}\n]}}\n', encoding="utf-8")


def read_points(path: Path) -> tuple[dict[str, Any], list[Point]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [Point(**{**each, "terms": tuple(map(tuple, each["terms"]))}) for each in content["points"]]
    return content["provenance"], found
