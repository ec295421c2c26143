"""The report: every figure with its limit, its estimate and where it was measured, as JSON, terminal table and page."""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from edgekit.grid import REPORT_COLUMNS, fitted, paragraph
from edgekit.manifest import PlanSummary

# Folders that are called what every model is, below one that names it.
_UNTELLING = ("model", "0_Transformer", "/")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Strict):
    """One figure. `passed` is None where no limit is asked or nothing was measured; `flag` sets the limit.

    `measured` is None only where the machine could not tell; it is never filled with an estimate.
    """

    name: str
    unit: str
    measured: float | None
    where: str
    bound: Literal["min", "max"] | None = None
    limit: float | None = None
    flag: str = ""
    estimate_low: float | None = None
    estimate_high: float | None = None
    estimate_basis: str = ""
    passed: bool | None = None


class Host(_Strict):
    """The machine that measured. `target` is how --on named it; `emulator` names what only pretended to be that CPU, so
    that no time or memory was measured there; `kernels` the kernels that the engine was seen to run, in words.
    """

    cpu: str
    isa: tuple[str, ...]
    threads: int
    system: str
    target: str = "local"
    emulator: str = ""
    kernels: tuple[str, ...] = ()


class Size(_Strict):
    """Bytes that the model file spends on one group of tensors, stored as one type."""

    group: str
    dtype: str
    tensors: int
    size_bytes: int


class CurvePoint(_Strict):
    """The losses after `step` steps and `seconds` of training; `validation_loss` is None where none was taken."""

    step: int
    seconds: float
    train_loss: float
    validation_loss: float | None
    learning_rate: float


class Compared(_Strict):
    """A student beside its teacher, on rows that training never saw: `value` is what was lost or gained, between `low`
    and `high` in 95 % of bootstrap resamples (None where nothing varies); `how` says what it is the mean or ratio of.
    """

    name: str
    unit: str
    teacher: float | None
    student: float | None
    value: float | None
    value_unit: str
    low: float | None = None
    high: float | None = None
    how: str = ""


def model_called(source: str) -> str:
    """What people call the model that was read from there: the last part that is not "model"."""
    parts = [part for part in PurePath(source).parts if part not in _UNTELLING]
    return parts[-1] if parts else source


class Course(_Strict):
    """How a training went: on what, towards what, and how its losses fell.

    `origin` says where the examples came from; of `rows` of them `train_rows` were trained on, `validation_rows`
    decided when to stop, and `held_out_rows` were kept from both. `losses` are named with their papers; `recipe` is
    what the loop was given. `stopped` says why it ended, `best_step` whose weights were kept; `machine` what it ran on.
    """

    origin: str
    rows: int
    train_rows: int
    validation_rows: int
    held_out_rows: int
    losses: tuple[str, ...]
    recipe: dict[str, bool | int | float | str | None]
    curve: tuple[CurvePoint, ...]
    best_step: int
    best_loss: float
    steps: int
    seconds: float
    stopped: str
    remarks: tuple[str, ...]
    machine: str


class TrainingRecord(Course):
    """How a student was trained. `compared` is what `edgekit distill` measured; a bundle of the student tells that in
    its report's rows.
    """

    teacher: str
    student: str
    parameters: int
    teacher_parameters: int
    labelled: bool
    compared: tuple[Compared, ...] = ()


class Report(_Strict):
    """What `validate` found. `series` hold the raw samples behind the figures, for charts; `device_is_host` says that
    the machine that measured is the device itself; `sizes` are of the model file, largest first. `training` says how
    the model was trained where it is a student of the one that it is compared with.
    """

    schema_version: Literal[1] = 1
    model: str
    task: str
    strategy: str
    device: str
    device_is_host: bool
    status: Literal["passed", "failed"]
    reference: str
    evaluated_on: str
    baseline: str
    host: Host
    model_sha256: str
    rows: tuple[Row, ...]
    series: dict[str, tuple[float, ...]]
    notes: tuple[str, ...]
    sizes: tuple[Size, ...] = ()
    plan: PlanSummary | None = None
    training: TrainingRecord | None = None
    created_utc: str

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"

    @property
    def missed(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.passed is False)

    def figure(self, name: str) -> float | None:
        """The measured figure of that name, None if there is no such row or it was not measured."""
        return next((row.measured for row in self.rows if row.name == name), None)


def judged(row: Row) -> Row:
    """The row with `passed` filled in: a limit without a measurement is missed, since nothing was proven."""
    if row.limit is None or row.bound is None:
        return row
    if row.measured is None:
        return row.model_copy(update={"passed": False})
    held = row.measured >= row.limit if row.bound == "min" else row.measured <= row.limit
    return row.model_copy(update={"passed": held})


def off(row: Row) -> float | None:
    """How far the measured figure lies from the middle of its estimate, as a share (0.1: a tenth above); None where
    there is no measurement, or no estimate with grounds of its own.
    """
    if row.measured is None or row.estimate_low is None or row.estimate_high is None or row.estimate_low <= 0:
        return None
    return row.measured / (math.sqrt(row.estimate_low) * math.sqrt(row.estimate_high)) - 1


def show_off(row: Row) -> str:
    """ "+12%", "0%", or "" where nothing can be compared."""
    share = off(row)
    if share is None:
        return ""
    return f"{share:+.0%}" if abs(share) >= 0.005 else "0%"


def is_within(row: Row) -> bool:
    """Whether the measured figure lies in the interval of its estimate."""
    if row.measured is None or row.estimate_low is None or row.estimate_high is None:
        return False
    return row.estimate_low <= row.measured <= row.estimate_high


_BINARY_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def show(value: float | None, unit: str) -> str:
    """A figure as people read it: bytes in MiB, five significant digits elsewhere, "unknown" for None."""
    if value is None:
        return "unknown"
    if unit == "yes/no":
        return "yes" if value else "no"
    if unit == "bytes":
        for size, name in _BINARY_UNITS:
            if abs(value) >= size:
                return f"{value / size:.1f} {name}"
        return f"{value:.0f} bytes"
    digits = f"{value:.3g}" if abs(value) < 0.001 else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{digits} {unit}".strip()


def show_limit(row: Row) -> str:
    if row.limit is None:
        return ""
    if row.unit == "yes/no":
        return show(row.limit, row.unit)
    return f"{'>=' if row.bound == 'min' else '<='} {show(row.limit, row.unit)}"


def show_estimate(row: Row) -> str:
    if row.estimate_low is None or row.estimate_high is None:
        return ""
    return show_interval(row.estimate_low, row.estimate_high, row.unit)


def show_interval(low: float, high: float, unit: str) -> str:
    """Both ends, or one figure where people read them as the same."""
    ends = dict.fromkeys((show(low, unit), show(high, unit)))
    return " to ".join(ends)


def machine_told(host: Host) -> str:
    """Where the figures come from, in a few words."""
    if host.emulator:
        return f"computed on an emulated {host.cpu} ({host.emulator})"
    threads = _threads(host)
    kind, _, place = host.target.partition(":")
    if kind == "local":
        return f"measured on {host.cpu}, {threads}"
    return f"measured on {place or kind} ({host.cpu}, {threads})"


def _threads(host: Host) -> str:
    return f"{host.threads} thread{'' if host.threads == 1 else 's'}"


def to_text(report: Report) -> str:
    """The report as a table for a terminal, at most 100 columns wide."""
    host = report.host
    verdict = {True: "ok", False: "MISSED", None: ""}
    measured = "computed there" if host.emulator else "measured here" if host.target == "local" else "measured there"
    header = ("figure", measured, "limit", f"estimate for {report.device}", "")
    lines = [
        (row.name, show(row.measured, row.unit), show_limit(row), show_estimate(row), verdict[row.passed])
        for row in report.rows
    ]
    where = machine_told(host) + ("" if report.device_is_host else f", not on {report.device} itself")
    facts = {
        "machine": f"{host.cpu}, {_threads(host)}, {host.system}",
        "kernels": ", ".join(host.kernels),
        "compared with": report.reference,
        "compared on": report.evaluated_on,
        "speed against": report.baseline,
    }
    told = [
        paragraph(f"{report.model}: {report.strategy} for {report.device}: {report.status}", "  ", REPORT_COLUMNS),
        paragraph(where, "  ", REPORT_COLUMNS),
        "",
        fitted(header, lines, REPORT_COLUMNS),
        "",
        *(paragraph(f"{name:13} {fact}", " " * 14, REPORT_COLUMNS) for name, fact in facts.items() if fact),
        *(paragraph(f"note: {note}", "  ", REPORT_COLUMNS) for note in report.notes),
    ]
    return "\n".join(told) + "\n"
