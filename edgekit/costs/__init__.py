"""What a candidate will cost on a device: work from shapes, rates from the profile, factors from measurements.

    strategies say how much work there is (Work)         bytes, operations, calls; from shapes alone
    the profile says how fast the device is (rates)      bytes/s, operations/s, each with its status
    the factors say what engines make of that (factors)  edgekit/data/factors.json, by benchmarks/planner_fit.py
    earlier reports correct them (Observation)           for the same device and engine

Everything here is pure: the factors and the observations come in with the `Setting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgekit.costs.factors import Factors
    from edgekit.device import DeviceProfile

Phase = Literal["encode", "prefill", "decode", "memory"]
Unit = Literal["flops", "int8_ops", "bytes", "seconds"]
Part = Literal["file", "anonymous", "kv", "activations"]

LENGTHS = (16, 128, 512)
"""Input lengths in tokens that latency is told at, unless others are asked."""
TIMED_TOKENS = 128
"""The length of the text or prompt that `pack` times."""


@dataclass(frozen=True)
class Estimate:
    """An interval, never a measurement. `basis` says in a few words what it was computed from; `leans_on` names the
    measurements behind it (rows of the factors, earlier reports).
    """

    low: float
    high: float
    basis: str
    leans_on: tuple[str, ...] = ()

    @property
    def mid(self) -> float:
        """The point between that is as many times the low end as the high end is of it: errors are ratios."""
        if self.low <= 0 or self.low == self.high:
            return (self.low + self.high) / 2
        return math.sqrt(self.low) * math.sqrt(self.high)


@dataclass(frozen=True)
class Term:
    """One summand of a duration: an amount of work that the engine does at some share of a rate of the device.

    `name` is the key of its factor ("int8 products", "Q4_K weights"). A term in "seconds" is counted in calls, and its
    factor is the seconds of one.
    """

    name: str
    amount: float
    unit: Unit


@dataclass(frozen=True)
class MemoryTerm:
    """One summand of the peak: bytes from shapes. A factor is looked up by `name`; without one it counts as it is."""

    name: str
    bytes: float
    part: Part


@dataclass(frozen=True)
class Work:
    """How much there is to do. `terms` holds, for each phase, the terms by tokens: "encode" by the length of the input
    (0 for inputs of one size), "prefill" by the length of the prompt, "decode" of one token by the tokens before it.
    """

    memory: tuple[MemoryTerm, ...]
    terms: Mapping[Phase, Mapping[int, tuple[Term, ...]]]


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak resident memory and what it is made of. File-backed pages can be dropped by the system and read again."""

    peak: Estimate
    file_backed: Estimate
    anonymous: Estimate
    kv_bytes: int
    activations: Estimate


@dataclass(frozen=True)
class Observation:
    """One figure of an earlier report: what was predicted (without history) and what was measured, in one unit of time
    or, for the phase "memory", of bytes. Tokens/s are turned round first: more must mean slower.

    `device` is the profile it was packed for, `machine` the CPU it was measured on; `on_device` says they are the same.
    """

    name: str
    device: str
    machine: str
    on_device: bool
    engine: str
    phase: Phase
    candidate: str
    threads: int
    predicted: float
    measured: float


@dataclass(frozen=True)
class Setting:
    """What candidates are estimated for. `lengths` are input lengths in tokens; `threads` those the app runs."""

    device: DeviceProfile
    factors: Factors
    context_tokens: int
    threads: int
    lengths: tuple[int, ...] = LENGTHS
    observations: tuple[Observation, ...] = field(default=())
