"""Knowledge of the planner as rows: each rule says when it bites and why; the reason is printed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.limits import Limits, Preferences


@dataclass(frozen=True)
class Remark:
    """A rule that bit: its name, what it is about (candidates' labels, the model or the device), and the reason."""

    rule: str
    subject: str
    reason: str


_SENSITIVE = {"max_kl": 0.02, "min_top1": 0.95, "min_cosine": 0.99, "min_agreement": 0.995}


def tightened(limits: Limits, preferences: Preferences) -> Limits:
    """The limits that are held: with sensitivity "high" stricter ones for those left at their default."""
    if preferences.sensitivity != "high":
        return limits
    asked = limits.changed()
    return replace(limits, **{name: value for name, value in _SENSITIVE.items() if name not in asked})  # type: ignore[arg-type]
