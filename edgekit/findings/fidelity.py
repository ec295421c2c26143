"""Rows of how close the bundle's answers are to the original's, and to its own goldens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.findings.rows import row
from edgekit.limits import FIDELITY_LIMITS, Limits
from edgekit.report import Row, show
from edgekit.validation import Examined

_GUARD = "session.x64quantprecision=1"
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
    """How many goldens fail there, and how near to its tolerance the nearest is; where the runtime guards int8 products
    against saturation, also how many would without.
    """
    result = examined.measurement.result
    results = result.get("goldens") or []
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
    rows = [row("goldens that fail", "", failed, told, "max", 0.0)]
    if result.get("unsafe_goldens"):
        unguarded = float(len(_saturating(examined)))
        rows.append(row("goldens that fail without the guard", "", unguarded, f"{where}; {_GUARD} not set"))
    return rows


def unguarded_notes(examined: Examined, model_file: str) -> list[str]:
    """Which goldens hold by the runtime's guard alone, for those who open the file without the runtime."""
    saturating = _saturating(examined)
    if not saturating:
        return []
    each = ", ".join(
        f"{case['name']} differs by {show(case['difference'], '')} (tolerance {show(case['tolerance'], '')})"
        for case in saturating
    )
    return [
        f"int8 products saturate on CPUs without VNNI: without the runtime's guard ({_GUARD}) {each}; an app that opens"
        f" {model_file} with plain ONNX Runtime must set it"
    ]


def _saturating(examined: Examined) -> list[Mapping[str, Any]]:
    """The goldens that fail without the guard and hold with it."""
    result = examined.measurement.result
    held = {each["name"] for each in result.get("goldens") or [] if each["passed"]}
    return [each for each in result.get("unsafe_goldens") or [] if not each["passed"] and each["name"] in held]
