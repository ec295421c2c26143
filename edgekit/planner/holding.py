"""Limits held against estimates. A limit is broken only where even the optimistic end of an estimate is over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from edgekit.costs import Estimate, Setting
from edgekit.device import DeviceProfile
from edgekit.limits import Limits
from edgekit.rules.traits import copied_bytes
from edgekit.strategies import Candidate


@dataclass(frozen=True)
class Held:
    """One limit against one estimate. `name` is what the table calls it, `told` what a candidate that breaks it does.

    `from_device` says that the profile set the limit, and no flag.
    """

    name: str
    flag: str
    unit: str
    bound: Literal["min", "max"]
    limit: float
    estimate: Estimate
    told: str
    from_device: bool = False

    @property
    def optimistic(self) -> float:
        return self.estimate.low if self.bound == "max" else self.estimate.high

    @property
    def pessimistic(self) -> float:
        return self.estimate.high if self.bound == "max" else self.estimate.low

    @property
    def overshoot(self) -> float:
        """How far the optimistic end is over, as a share of the limit; positive exactly where the limit is broken."""
        over = self.optimistic - self.limit if self.bound == "max" else self.limit - self.optimistic
        return over / max(abs(self.limit), 1e-9)

    @property
    def may_miss(self) -> bool:
        held = self.pessimistic <= self.limit if self.bound == "max" else self.pessimistic >= self.limit
        return self.overshoot <= 0 and not held


def counted_bytes(candidate: Candidate, device: DeviceProfile) -> Estimate:
    """What of the candidate's memory the device's system holds against an app's limit: all of it, or, where only
    anonymous memory counts (iOS, Android), what no file backs.
    """
    return candidate.ram_bytes if device.ram.counted == "resident" else unbacked_bytes(candidate)


def unbacked_bytes(candidate: Candidate) -> Estimate:
    """Anonymous pages, KV cache and activations; the whole peak where the candidate's parts are not known."""
    memory = candidate.memory
    if memory is None:
        return candidate.ram_bytes
    return Estimate(
        memory.anonymous.low + memory.kv_bytes + memory.activations.low,
        memory.anonymous.high + memory.kv_bytes + memory.activations.high,
        "anonymous memory, KV cache and activations, from shapes",
        memory.anonymous.leans_on,
    )


def ram_limit(limits: Limits, device: DeviceProfile) -> int | None:
    """--max-ram, else what the device lets an app use; None where nobody knows."""
    return device.ram_budget_bytes if limits.max_ram_bytes is None else limits.max_ram_bytes


def whole_ram(limits: Limits, device: DeviceProfile) -> float | None:
    """All memory of the device, where it says more than `ram_limit` does: where that is unknown, or leaves out the
    pages of a mapped file. A file that memory cannot hold is read from storage again for every token.
    """
    tells_more = device.ram.counted == "anonymous" or ram_limit(limits, device) is None
    return device.ram.total_bytes.value if tells_more else None


def _reread_bytes(candidate: Candidate) -> Estimate:
    """The peak without the mapped originals of weights that are read from a copy: those are read once."""
    copied, peak = copied_bytes(candidate), candidate.ram_bytes
    return replace(peak, low=max(0.0, peak.low - copied), high=max(0.0, peak.high - copied))


def held_limits(candidate: Candidate, setting: Setting, limits: Limits) -> tuple[Held, ...]:
    """Every limit that is asked and that the candidate has an estimate for."""
    device = setting.device
    ram, own = ram_limit(limits, device), limits.max_ram_bytes is None
    whole = whole_ram(limits, device)
    found: list[Held] = []
    if ram is not None:
        told = f"needs more RAM than {f'{device.title} lets an app use' if own else '--max-ram'}"
        counted = counted_bytes(candidate, device)
        found.append(Held("RAM", "--max-ram", "bytes", "max", ram, counted, told, from_device=own))
    if whole is not None:
        told = f"needs more memory than {device.title} has, with what it reads of its file"
        found.append(Held("whole RAM", "", "bytes", "max", whole, _reread_bytes(candidate), told, from_device=True))
    if limits.max_disk_bytes is not None:
        size, told = candidate.disk_bytes, "is larger than --max-disk"
        found.append(Held("disk", "--max-disk", "bytes", "max", limits.max_disk_bytes, size, told))
    if limits.max_latency_ms is not None and candidate.latency_ms is not None:
        latency, told = candidate.latency_ms, "is slower than --max-latency-ms"
        found.append(Held("latency", "--max-latency-ms", "ms", "max", limits.max_latency_ms, latency, told))
    if limits.min_tokens_per_s is not None and candidate.tokens_per_s is not None:
        speed, told = candidate.tokens_per_s, "decodes more slowly than --min-tokens-per-s"
        flag = "--min-tokens-per-s"
        found.append(Held("decode speed", flag, "tokens/s", "min", limits.min_tokens_per_s, speed, told))
    return tuple(found)


def broken(candidate: Candidate, setting: Setting, limits: Limits) -> tuple[Held, ...]:
    """Every limit that cannot hold, the one that is most over, relatively, first."""
    over = (held for held in held_limits(candidate, setting, limits) if held.overshoot > 0)
    return tuple(sorted(over, key=lambda held: -held.overshoot))


def may_miss(candidate: Candidate, setting: Setting, limits: Limits) -> tuple[str, ...]:
    """The names of the limits that the candidate's intervals straddle, or that are asked and have no estimate."""
    straddled = [held.name for held in held_limits(candidate, setting, limits) if held.may_miss]
    asked = {"latency": limits.max_latency_ms, "decode speed": limits.min_tokens_per_s}
    unknown = [name for name, limit in asked.items() if limit is not None and is_unknown(candidate, name)]
    return (*straddled, *unknown)


def is_unknown(candidate: Candidate, name: str) -> bool:
    """Whether nothing was estimated of what the limit of that name holds."""
    return {"latency": candidate.latency_ms, "decode speed": candidate.tokens_per_s}.get(name, candidate) is None
