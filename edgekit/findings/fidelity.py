"""Rows of how close the bundle's answers are to the original's, and to its own goldens."""

from __future__ import annotations

from edgekit.findings.rows import row
from edgekit.limits import FIDELITY_LIMITS, Limits
from edgekit.report import Row
from edgekit.validation import Examined

_CLASSIFIER_TASKS = ("text-classification", "token-classification", "image-classification")


def fidelity_rows(task: str, examined: Examined, limits: Limits, where: str) -> list[Row]:
    rows = []
    for name, value in examined.fidelity.figures.items():
        bound, field = FIDELITY_LIMITS.get(name, (None, None))
        limit = getattr(limits, field) if field else None
        if name == "mean KL" and task in _CLASSIFIER_TASKS and limit == Limits.max_kl:
            limit = None  # the default is a language model's; asked by name it holds for classifiers too
        unit = "nats" if "KL" in name else ""
        rows.append(row(name, unit, value, where, bound, limit, field))
    if examined.measurement.result.get("token_ids"):
        mismatches = float(len(examined.token_mismatches))
        rows.append(row("texts tokenized differently", "", mismatches, where, "max", 0.0))
    return rows


def golden_rows(examined: Examined, where: str) -> list[Row]:
    """How many goldens fail there; one is as near its tolerance as the nearest."""
    results = examined.measurement.result.get("goldens") or []
    if not results:
        return []
    failed = float(sum(not each["passed"] for each in results))
    shares = [
        (each["difference"] / each["tolerance"], each["name"])
        for each in results
        if each["tolerance"] and each["difference"] is not None
    ]
    told = f"{where}; {len(results)} replayed"
    if shares:
        share, name = max(shares)
        told += f", {name} nearest to its tolerance: {share:.0%} of it"
    return [row("goldens that fail", "", failed, told, "max", 0.0)]
