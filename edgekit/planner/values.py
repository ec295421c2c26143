"""What a plan is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from edgekit.limits import Limits, Preferences
from edgekit.model import Kind
from edgekit.rules import Remark
from edgekit.strategies import Candidate, Rejection


@dataclass(frozen=True)
class Miss:
    """A limit that a made candidate did not hold, as measured; `name` is that of the report's row."""

    name: str
    measured: float
    limit: float
    flag: str


@dataclass(frozen=True)
class Known:
    """A fidelity figure measured before on this very model: of the candidate's label, `name` as in the report."""

    candidate: str
    name: str
    measured: float


class Sibling(Protocol):
    """A device with the same chip and more memory. `app_bytes` is what an app may use there, None if unknown."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def app_bytes(self) -> float | None: ...


@dataclass(frozen=True)
class Plan:
    """Candidates in the order they will be tried; everything else with the one reason it will not be.

    `may_miss` names, for a candidate's label, the limits that its interval straddles; `expectations` say in words how
    close it will be. `ram_counted` is what the device holds against `ram_limit_bytes`. `context_tokens` is what a
    decoder's KV cache is planned for: what is asked, as far as the model takes it. `earlier_reports` are those that
    moved its estimates. `remarks` are the rules that bit; `advice` says what would fit where nothing does; `student`
    is a proposal, made only where there is data to train it on.
    """

    model: str
    task: str
    kind: Kind
    device: str
    limits: Limits
    preferences: Preferences
    ram_limit_bytes: int | None
    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]
    ram_counted: Literal["resident", "anonymous"] = "resident"
    may_miss: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expectations: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    advice: tuple[str, ...] = ()
    student: Candidate | None = None
    context_tokens: int | None = None
    earlier_reports: tuple[str, ...] = ()
