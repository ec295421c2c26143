"""Reports side by side: which figures stand on one scale, the best of each row, and what no other column beats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.report import Report, Row, show

Better = Literal["min", "max"]

# What has a least value it may take is the better for more.
_LIMITED: Mapping[str | None, Better] = {"min": "max", "max": "min"}
# Which way is better for rows that no limit can be set for.
_BETTER: Mapping[str, Better] = {
    "min cosine": "max",
    "max absolute difference": "min",
    "perplexity of the bundle": "min",
    "accuracy of the bundle": "max",
    "spearman of the bundle": "max",
}
_BETTER_UNITS: Mapping[str, Better] = {
    "ms": "min", "bytes": "min", "x": "min", "nats": "min", "tokens/s": "max", "yes/no": "max",
}  # fmt: skip
_CLOCKS = ("ms", "tokens/s", "yes/no")
_FILES = ("model file", "bundle on disk")
_MOST_NAMED = 4
# Of each task, the figure that says how close to the original a bundle is, and whether 1 is perfect or 0.
FIDELITY: Mapping[str, str] = {
    "embedding": "mean cosine",
    "tensors": "mean cosine",
    "text-classification": "mean KL",
    "token-classification": "mean KL",
    "image-classification": "mean KL",
    "causal-lm": "mean KL",
}


@dataclass(frozen=True)
class Column:
    """One report. `key` is its letter, `name` the bundle's folder or the report's file."""

    key: str
    name: str
    report: Report

    @property
    def machine(self) -> tuple[str, ...]:
        """What must be the same for two times to stand on one scale."""
        host = self.report.host
        return (host.target, host.cpu, str(host.threads), host.system, host.emulator)

    @property
    def asked(self) -> tuple[str, ...]:
        """What must be the same for two fidelity figures to stand on one scale."""
        return (self.report.evaluated_on, self.report.reference)


@dataclass(frozen=True)
class Line:
    """One figure of every column, None where a report has none. `best` are indices of columns: of each group of two or
    more that stand on one scale those that read as the best, if not all read alike.
    """

    name: str
    unit: str
    cells: tuple[Row | None, ...]
    best: frozenset[int]


@dataclass(frozen=True)
class Objective:
    """What a Pareto chart's axis shows: the row's figure, or its distance from 1 (`from_one`)."""

    row: str
    unit: str
    better: Better
    from_one: bool = False

    def of(self, report: Report) -> float | None:
        found = report.figure(self.row)
        return None if found is None else 1 - found if self.from_one else found

    @property
    def title(self) -> str:
        return f"1 - {self.row}" if self.from_one else self.row


@dataclass(frozen=True)
class Frontier:
    """Columns held against one another in every objective: `optimal` are beaten by none; `beaten` tells by which.

    `left_out` are the columns that are not on this scale, with the reason.
    """

    objectives: tuple[Objective, ...]
    columns: tuple[int, ...]
    optimal: tuple[int, ...]
    beaten: Mapping[int, tuple[int, ...]]
    left_out: Mapping[int, str]


@dataclass(frozen=True)
class Comparison:
    """Columns of one model, its lines, and the frontier (None where fewer than two columns stand on one scale)."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    frontier: Frontier | None

    @property
    def task(self) -> str:
        return self.columns[0].report.task

    @property
    def is_one_machine(self) -> bool:
        """Whether every time and every memory figure comes from one machine; an emulator gives neither."""
        return len({column.machine for column in self.columns if not column.report.host.emulator}) < 2

    def value(self) -> dict[str, Any]:
        """Plain values, for --json."""
        keys = [column.key for column in self.columns]
        rows = [
            {
                "name": line.name,
                "unit": line.unit,
                "measured": {k: c.measured if c else None for k, c in zip(keys, line.cells, strict=True)},
                "passed": {k: c.passed if c else None for k, c in zip(keys, line.cells, strict=True)},
                "best": [keys[index] for index in sorted(line.best)],
            }
            for line in self.lines
        ]
        return {
            "columns": [
                {"key": c.key, "name": c.name, "report": c.report.model_dump(mode="json")} for c in self.columns
            ],
            "rows": rows,
            "pareto": self._frontier_value(keys),
        }

    def _frontier_value(self, keys: Sequence[str]) -> dict[str, Any] | None:
        found = self.frontier
        if found is None:
            return None
        return {
            "objectives": [each.title for each in found.objectives],
            "columns": [keys[index] for index in found.columns],
            "optimal": [keys[index] for index in found.optimal],
            "beaten": {keys[index]: [keys[by] for by in others] for index, others in found.beaten.items()},
            "left_out": {keys[index]: reason for index, reason in found.left_out.items()},
        }


def side_by_side(columns: Sequence[Column]) -> Comparison:
    """Lay the reports side by side, in the order of their own rows."""
    names = dict.fromkeys(row.name for column in columns for row in column.report.rows)
    return Comparison(tuple(columns), tuple(_line(name, columns) for name in names), _frontier(columns))


def _line(name: str, columns: Sequence[Column]) -> Line:
    cells = tuple(next((row for row in column.report.rows if row.name == name), None) for column in columns)
    first = next(cell for cell in cells if cell is not None)
    better = _LIMITED.get(first.bound) or _BETTER.get(name) or _BETTER_UNITS.get(first.unit)
    best: set[int] = set()
    if better is not None:
        for group in _groups(columns, _scale(name, first.unit)):
            if _bundles(columns, group) < 2:  # one bundle measured twice is not better than itself
                continue
            best |= _best(
                {i: c.measured for i in group if (c := cells[i]) and c.measured is not None}, first.unit, better
            )
    return Line(name, first.unit, cells, frozenset(best))


def _scale(name: str, unit: str) -> Callable[[Column], tuple[str, ...]]:
    """What tells the columns apart whose figures of this row do not compare."""
    if name in _FILES:
        return lambda _: ()
    if unit == "x":  # of the fp32 model in this engine or in another
        return lambda column: (*column.machine, column.report.baseline)
    if unit in _CLOCKS or unit == "bytes":
        return lambda column: column.machine
    return lambda column: column.asked


def _groups(columns: Sequence[Column], scale: Callable[[Column], tuple[str, ...]]) -> list[list[int]]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, column in enumerate(columns):
        groups.setdefault(scale(column), []).append(index)
    return list(groups.values())


def _best(values: Mapping[int, float], unit: str, better: Better) -> set[int]:
    """Those that read like the best one; none where all do, or where there is nothing to be better than."""
    if len(values) < 2:
        return set()
    top = show((max if better == "max" else min)(values.values()), unit)
    found = {index for index, value in values.items() if show(value, unit) == top}
    return set() if len(found) == len(values) else found


def _frontier(columns: Sequence[Column]) -> Frontier | None:
    """In fidelity, speed and bytes, if one machine measured every bundle; else in fidelity and bytes."""
    name = FIDELITY[columns[0].report.task]
    fidelity = Objective(name, "" if name == "mean cosine" else "nats", "min", from_one=name == "mean cosine")
    size = Objective("model file", "bytes", "min")
    decodes = columns[0].report.task == "causal-lm"
    speed = Objective("decode speed", "tokens/s", "max") if decodes else Objective("latency p50", "ms", "min")
    asked = max(_groups(columns, lambda column: column.asked), key=lambda group: _bundles(columns, group))
    timed = max(
        ([index for index in asked if index in group and speed.of(columns[index].report) is not None]
         for group in _groups(columns, lambda column: column.machine)),
        key=lambda group: _bundles(columns, group),
    )  # fmt: skip
    is_timed = _bundles(columns, timed) == _bundles(columns, range(len(columns)))
    objectives = (fidelity, speed, size) if is_timed else (fidelity, size)
    first_of = {columns[index].report.model_sha256: index for index in reversed(timed if is_timed else asked)}
    points = {index: _point(columns[index].report, objectives) for index in sorted(first_of.values())}
    known = {index: point for index, point in points.items() if point is not None}
    if len(known) < 2:
        return None
    beaten = {i: tuple(j for j in known if _beats(known[j], known[i])) for i in known}
    return Frontier(
        objectives=objectives,
        columns=tuple(known),
        optimal=tuple(index for index, by in beaten.items() if not by),
        beaten={index: by for index, by in beaten.items() if by},
        left_out={i: _why_not(columns, i, tuple(known), is_timed) for i in range(len(columns)) if i not in known},
    )


def _why_not(columns: Sequence[Column], index: int, held: Sequence[int], is_timed: bool) -> str:
    """Why a column is not on the scale of those that are."""
    column, one = columns[index], columns[held[0]]
    if is_timed and column.report.host.emulator:
        return "an emulator has no speed"
    if column.asked != one.asked:
        return "it was not asked the same inputs"
    if is_timed and column.machine != one.machine:
        return "it was measured on another machine"
    sha256 = column.report.model_sha256
    same = next((columns[each].key for each in held if columns[each].report.model_sha256 == sha256), None)
    return (
        f"its model file is that of {same}, and where their times differ the machine did"
        if same
        else "a figure is unknown"
    )


def _bundles(columns: Sequence[Column], group: Sequence[int]) -> int:
    return len({columns[index].report.model_sha256 for index in group})


def _point(report: Report, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """The figures, less being better; None where one is unknown."""
    values = [objective.of(report) for objective in objectives]
    signs = [-1.0 if objective.better == "max" else 1.0 for objective in objectives]
    known = [sign * value for sign, value in zip(signs, values, strict=True) if value is not None]
    return tuple(known) if len(known) == len(values) else None


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Nowhere worse, and somewhere better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _named(column: Column) -> str:
    missed = ", which missed a limit" if column.report.status == "failed" else ""
    return f"{column.key} ({column.report.strategy}{missed})"


def _listed(keys: Sequence[str]) -> str:
    """As a sentence names them; of many the first."""
    if len(keys) > _MOST_NAMED:
        return f"{', '.join(keys[: _MOST_NAMED - 1])} and {len(keys) - _MOST_NAMED + 1} others"
    return " and ".join([*([", ".join(keys[:-1])] if len(keys) > 1 else []), keys[-1]])


def told(comparison: Comparison) -> list[str]:
    """What the frontier says, in sentences; then what does not compare."""
    lines = []
    found, columns = comparison.frontier, comparison.columns
    if found is None:
        same = _bundles(columns, range(len(columns))) == 1
        why = (
            "Every report is of the same model file" if same else "No two bundles share fidelity and size on one scale"
        )
        lines.append(f"{why}, so there is nothing to weigh.")
    else:
        goals = " and ".join([", ".join(each.title for each in found.objectives[:-1]), found.objectives[-1].title])
        names = ", ".join(_named(columns[index]) for index in found.optimal)
        lines.append(f"Pareto-optimal in {goals}: {names}.")
        for index, others in found.beaten.items():
            by = _listed([columns[other].key for other in others])
            lines.append(f"{_named(columns[index])} is beaten by {by}: better in none of them.")
        lines += [f"{columns[index].key} is not held against them: {why}." for index, why in found.left_out.items()]
    if not comparison.is_one_machine:
        lines.append(
            "Times and memory come from different machines: they stand in one table, but the best is marked only among"
            " columns of one machine, and no chart puts them on one scale."
        )
    if len({column.asked for column in columns}) > 1:
        lines.append(
            "Not every column was asked the same inputs: the best in fidelity is marked only among those that were."
        )
    return lines
