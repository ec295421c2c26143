"""What earlier packs measured: one JSON line a report, in a folder of this machine, read back when the next is planned.

The file is `reports.jsonl` in `${XDG_CACHE_HOME:-~/.cache}/edgekit/history`, in $EDGEKIT_HISTORY, or in the folder that
--history names; "none" neither reads nor writes. It never leaves the machine; docs/history.md says what stands in it.
A cache must not stop a pack: what cannot be read counts as not there, and what cannot be written is told in the report.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit import __version__
from edgekit.costs import Estimate, Observation, Phase
from edgekit.costs.factors import shipped_factors, write_factors
from edgekit.errors import UsageError
from edgekit.history import store
from edgekit.limits import FIDELITY_LIMITS
from edgekit.model import source_sha256
from edgekit.planner import Known

if TYPE_CHECKING:
    from edgekit.device import DeviceProfile
    from edgekit.manifest import Manifest
    from edgekit.model import SourceModel
    from edgekit.report import Report
    from edgekit.strategies import Candidate

OFF = "none"
# The last reports of an engine in a phase that an estimate leans on: older ones tell of older machines.
_MAX_OBSERVATIONS = 20

Command = Literal["pack", "validate"]
Word = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Value = Annotated[float, Field(allow_inf_nan=False)]
Figures = Annotated[dict[Word, Value], Field(max_length=64)]


class Entry(BaseModel):
    """One report. `predicted` is without what history taught, in the units of the report's rows, as is `measured`.

    `grounds` names the version and the factors behind `predicted`; only entries of the present grounds correct
    anything. `soc` is the device profile's: every machine calls itself "host". `on_device` says that the device
    itself measured; where it did not, times are not predicted.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    command: Command
    time_utc: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT[0-9:.+Z-]{5,30}$")]
    grounds: Word
    device: Word
    soc: Word
    on_device: bool
    cpu: Word
    isa: Annotated[list[Word], Field(max_length=64)]
    threads: Annotated[int, Field(ge=1, le=4096)]
    engine: Word
    candidate: Word
    model: Word
    source_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    parameters: Annotated[int, Field(ge=0)]
    task: Word
    passed: bool
    evaluated_on: Word
    timed_tokens: Annotated[int, Field(ge=0)]
    context_tokens: Annotated[int, Field(ge=0)]
    predicted: Figures
    measured: Figures

    @property
    def name(self) -> str:
        """As `plan --explain` calls it."""
        return f"{self.time_utc[:10]} {self.command} of {self.model} as {self.candidate} for {self.device}"


@dataclass(frozen=True)
class _Figure:
    """A row of the report that an estimate is for. A speed is turned into the duration that the costs reckon in."""

    phase: Phase
    is_speed: bool = False


_ESTIMATED: Mapping[str, _Figure] = {
    "peak RSS": _Figure("memory"),
    "latency p50": _Figure("encode"),
    "time to first token": _Figure("prefill"),
    "decode speed": _Figure("decode", is_speed=True),
}


def folder_of(asked: str | Path | None) -> Path | None:
    """The folder that `asked` means: a path, "none" for no history (None), or None for the default place."""
    chosen = str(asked if asked is not None else os.environ.get("EDGEKIT_HISTORY") or "")
    if chosen == OFF:
        return None
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(chosen or f"{cache}/edgekit/history").expanduser()
    if asked is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"--history is {asked}, which is not a folder", f"give a folder, or {OFF}")
    return folder


def entry(
    command: Command,
    report: Report,
    manifest: Manifest,
    device: DeviceProfile,
    parameters: int,
    predicted: Candidate | None,
    timed_tokens: int,
) -> Entry:
    """What is kept of `report`. `predicted` is its candidate, estimated without history for what was measured."""
    return Entry(
        command=command,
        time_utc=report.created_utc,
        grounds=grounds(),
        device=device.name,
        soc=_word(device.soc),
        on_device=report.device_is_host,
        cpu=_word(report.host.cpu),
        isa=[_word(each) for each in report.host.isa],
        threads=report.host.threads,
        engine=manifest.engine,
        candidate=manifest.strategy,
        model=_word(manifest.name),
        source_sha256=manifest.provenance.source_sha256,
        parameters=parameters,
        task=manifest.task,
        passed=report.status == "passed",
        evaluated_on=_word(report.evaluated_on),
        timed_tokens=timed_tokens,
        context_tokens=int(manifest.limits.get("context_tokens") or 0),
        predicted={} if predicted is None else _predicted(predicted, times=report.device_is_host),
        measured={
            row.name: row.measured
            for row in report.rows
            if row.measured is not None and math.isfinite(row.measured)
        },
    )  # fmt: skip


def grounds() -> str:
    """The version and the fitted factors: another of either predicts otherwise."""
    digest = hashlib.sha256(write_factors(shipped_factors()).encode()).hexdigest()
    return f"edgekit {__version__}, factors {digest[:12]}"


def _predicted(candidate: Candidate, *, times: bool) -> dict[str, float]:
    """The middle of each estimate."""
    estimates: dict[str, Estimate | None] = {"peak RSS": candidate.ram_bytes}
    if times:
        estimates |= {
            "latency p50": candidate.latency_ms,
            "time to first token": next(iter(candidate.ttft_at.values()), None),
            "decode speed": candidate.tokens_per_s,
        }
    return {
        name: each.mid
        for name, each in estimates.items()
        if each is not None and each.low > 0 and math.isfinite(each.high)
    }


def _word(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:256]


def append(folder: Path | None, made: Entry) -> str | None:
    """Add one line; what kept it from being added, or None."""
    if folder is None:
        return None
    try:
        store.append(folder, made.model_dump_json().encode())
    except OSError as error:
        return f"this report was not added to the history: {error.strerror or error}"
    return None


def read(folder: Path | None) -> tuple[Entry, ...]:
    """Every entry that holds, the oldest first. Broken lines, and files that cannot be read, are passed over."""
    if folder is None:
        return ()
    found = []
    with suppress(OSError):
        for line in store.lines(folder):
            with suppress(ValidationError):
                found.append(Entry.model_validate_json(line))
    return tuple(found)


def _is_for(each: Entry, device: DeviceProfile) -> bool:
    """Whether the entry's bundle was packed for this very device: every machine is a host, and most are others."""
    return each.device == device.name and (not each.on_device or each.soc == _word(device.soc))


def observations(entries: Iterable[Entry], device: DeviceProfile) -> tuple[Observation, ...]:
    """What earlier reports say of estimates for `device`: the last of each engine and phase, the oldest first.

    Times count only where the device itself measured; entries of other grounds do not count at all.
    """
    now = grounds()
    found: dict[tuple[str, Phase], list[Observation]] = defaultdict(list)
    for each in entries:
        if not _is_for(each, device) or each.grounds != now:
            continue
        for name, figure in _ESTIMATED.items():
            predicted, measured = each.predicted.get(name, 0.0), each.measured.get(name, 0.0)
            if predicted <= 0 or measured <= 0 or (figure.phase != "memory" and not each.on_device):
                continue
            if figure.is_speed:
                predicted, measured = 1 / predicted, 1 / measured
            found[each.engine, figure.phase].append(
                Observation(
                    name=each.name,
                    device=each.device,
                    machine=each.cpu,
                    on_device=each.on_device,
                    engine=each.engine,
                    phase=figure.phase,
                    candidate=each.candidate,
                    threads=each.threads,
                    predicted=predicted,
                    measured=measured,
                )
            )
    return tuple(each for seen in found.values() for each in seen[-_MAX_OBSERVATIONS:])


def known(entries: Iterable[Entry], model: SourceModel, device: DeviceProfile) -> tuple[Known, ...]:
    """Fidelity figures of candidates of this very model, from the last report of each by this version of edgekit.

    Only those packed for `device` count: for other instruction sets candidates are made otherwise. The model's files
    are hashed only if a report of a model of its shape is there.
    """
    version = grounds().partition(",")[0]
    alike = [
        each
        for each in entries
        if (each.parameters, each.task) == (model.parameters, model.task)
        and _is_for(each, device)
        and each.grounds.partition(",")[0] == version
    ]
    if not alike:
        return ()
    digest = source_sha256(model)
    last = {each.candidate: each for each in alike if each.source_sha256 == digest}
    return tuple(
        Known(each.candidate, name, value)
        for each in last.values()
        for name, value in each.measured.items()
        if name in FIDELITY_LIMITS
    )
