"""What earlier reports teach an estimate: where it should lie, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.costs import Estimate, Observation, Phase, Setting

# The weight of the fitted factors against earlier reports, in reports.
_PRIOR_REPORTS = 1.0
# A measurement further off than this, either way, says that something else went wrong: it counts as this far.
_FURTHEST = math.log(10)
# Nine in ten of a normal distribution's draws lie within so many standard deviations.
_NINE_IN_TEN = 1.645
# However well reports agree, two runs of one bundle differ by so much.
_LEAST_HALF_WIDTH = math.log(1.05)


def corrected(estimate: Estimate, engine: str, phase: Phase, setting: Setting) -> Estimate:
    """The estimate moved by what reports of this engine on this device measured; the more there are, the further.

    In logarithms: the mean error counts against one report without error. The interval keeps its width for one report,
    narrows with the root of their number where they agree, and widens where they scatter more than it allows.
    """
    seen = [each for each in setting.observations if _applies(each, engine, phase, setting)]
    errors = _errors(seen)
    if not errors or not 0 < estimate.low <= estimate.high < math.inf:
        return estimate
    mean = sum(errors) / len(errors)
    shift = sum(errors) / (len(errors) + _PRIOR_REPORTS)
    half = math.log(estimate.high / estimate.low) / 2
    scatter = sum((_NINE_IN_TEN * (each - mean)) ** 2 for each in errors)
    wanted = math.sqrt((half**2 + scatter) / len(errors))
    half = max(wanted, min(half, _LEAST_HALF_WIDTH))
    middle = math.log(estimate.low) / 2 + math.log(estimate.high) / 2 + shift
    reports = "1 earlier report" if len(seen) == 1 else f"{len(seen)} earlier reports"
    return Estimate(
        math.exp(middle - half),
        math.exp(middle + half),
        f"{estimate.basis}; times {math.exp(shift):.2f} from {reports}",
        (*estimate.leans_on, *(each.name for each in seen)),
    )


def _applies(each: Observation, engine: str, phase: Phase, setting: Setting) -> bool:
    """Times count only where they were measured on the device itself; memory where its engine ran at all."""
    if each.engine != engine or each.phase != phase or each.device != setting.device.name:
        return False
    if not (0 < each.predicted < math.inf and 0 < each.measured < math.inf):
        return False
    return phase == "memory" or each.on_device


def _errors(seen: Sequence[Observation]) -> list[float]:
    """log(measured / predicted), one for each prediction: the same bundle measured again adds no weight."""
    by_prediction: dict[tuple[str, int, float], list[float]] = {}
    for each in seen:
        error = math.log(each.measured) - math.log(each.predicted)
        key = (each.candidate, each.threads, each.predicted)
        by_prediction.setdefault(key, []).append(max(-_FURTHEST, min(_FURTHEST, error)))
    return [sum(errors) / len(errors) for errors in by_prediction.values()]
