"""What a rule is, what it looks at, and what is told when it bites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgekit.costs import Setting
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel
from edgekit.strategies import Candidate


@dataclass(frozen=True)
class Case:
    """What a rule looks at. `candidate` is None for rules about the model or the device."""

    model: SourceModel
    setting: Setting
    limits: Limits
    preferences: Preferences
    candidate: Candidate | None = None


@dataclass(frozen=True)
class Rule:
    """`applies` gives the reason, or None where the rule does not bite; `detail` what is particular to the candidate,
    told behind its label. A strategy's own note that holds one of the words of `folds` is about the same matter and is
    not printed again.
    """

    name: str
    about: Literal["candidate", "model", "device"]
    applies: Callable[[Case], str | None]
    folds: tuple[str, ...] = ()
    detail: Callable[[Case], str] | None = None


@dataclass(frozen=True)
class Remark:
    """A rule that bit: its name, what it is about (candidates' labels, the model or the device), and the reason.

    What a strategy notes of a candidate itself comes under the name "note".
    """

    rule: str
    subject: str
    reason: str
