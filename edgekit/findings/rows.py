"""How a row of the report is made, from a figure, its limit and its estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.costs import Estimate
from edgekit.report import Row


def row(
    name: str,
    unit: str,
    measured: float | None,
    where: str,
    bound: str | None = None,
    limit: float | None = None,
    field: str | None = None,
    estimate: Estimate | None = None,
) -> Row:
    return Row.model_validate(
        {
            "name": name,
            "unit": unit,
            "measured": measured,
            "where": where,
            "bound": bound,
            "limit": limit,
            "flag": flag_of(field) if field else "",
            "estimate_low": estimate.low if estimate else None,
            "estimate_high": estimate.high if estimate else None,
            "estimate_basis": estimate.basis if estimate else "",
        }
    )


def cpu_of(result: Mapping[str, Any]) -> str:
    """The CPU of a probe's result.json; many ARM systems do not tell its name."""
    return str(result["cpu"] or f"an unnamed {result['arch']} CPU")


def flag_of(field: str) -> str:
    """The flag that sets a field of Limits: bytes are sizes on the command line, so their names go without the unit."""
    return f"--{field.removesuffix('_bytes').replace('_', '-')}"
