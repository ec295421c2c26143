"""`edgekit compare`: reports of one model's bundles, read, checked to belong together, and laid side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekit import bundle as bundles
from edgekit.comparison import FIDELITY, Column, Comparison, side_by_side
from edgekit.errors import BadBundle, BadReport, UsageError
from edgekit.report import Report
from edgekit.targets.received import without_controls

_MAX_BYTES = 32 * 2**20
_MAX_FIGURE = 1e18
_MAX_COLUMNS = 12


@dataclass(frozen=True)
class _Read:
    """A report with where it was found; `source_sha256` of the model packed, where a bundle says so."""

    path: Path
    report: Report
    source_sha256: str | None = None


def compare(*compared: str | Path, reports: Sequence[str | Path] = ()) -> Comparison:
    """Lay bundles of one model side by side.

    `compared` are bundle folders, whose hashes are verified first, or files that `validate --save` wrote; `reports` are
    further such files, each of one of those bundles on another target.

    Raises BadBundle, BadReport (not a report, or of another model, task or bundle), UsageError.
    """
    paths = [Path(each) for each in (*compared, *reports)]
    if len(paths) < 2:
        raise UsageError("one report cannot be compared", "name two bundles or more")
    if len(paths) > _MAX_COLUMNS:
        raise UsageError(f"{len(paths)} columns were asked for, the limit is {_MAX_COLUMNS}", "name fewer")
    twice = next((path for path in paths if [each.absolute() for each in paths].count(path.absolute()) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice", "name each once")
    read = [_read(path) for path in paths]
    own, further = read[: len(compared)], read[len(compared) :]
    for each in own[1:]:
        _check_same_model(own[0], each)
    for each in further:
        _check_known(each, own)
    names = [_name(each.path) for each in read]
    return side_by_side(
        [
            Column(chr(ord("A") + index), name if names.count(name) == 1 else str(each.path), each.report)
            for index, (name, each) in enumerate(zip(names, read, strict=True))
        ]
    )


def _name(path: Path) -> str:
    """As it was spelt: the folder, the file, or the folder whose report.json it is."""
    whole = Path(os.path.normpath(path.absolute()))
    return whole.parent.name if whole.name == "report.json" else whole.name


def _read(path: Path) -> _Read:
    if not path.is_dir():
        return _Read(path, _report(path))
    try:
        manifest = bundles.verify(path)
    except BadBundle as error:
        if str(path) in error.message:
            raise
        raise BadBundle(f"{path}: {error.message}", error.remedy) from error
    report = _report(path / "report.json")
    model = next(entry.sha256 for entry in manifest.files if entry.path == manifest.model_file)
    if report.model_sha256 != model:
        raise BadBundle(f"{path}: its report is of another model file ({report.model_sha256[:12]}...)", "pack it again")
    return _Read(path, report, manifest.provenance.source_sha256)


def _report(path: Path) -> Report:
    """The report in the file, with figures that can be drawn and words that can be printed."""
    remedy = "name a bundle's folder, or a file that edgekit validate --save wrote"
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise BadReport(f"{path} is no file", remedy)
        if size > _MAX_BYTES:
            raise BadReport(f"{path}: {size} bytes, a report has at most {_MAX_BYTES}", remedy)
        content = path.read_bytes()
    except OSError as error:
        raise BadReport(f"cannot read {path}: {error.strerror}", remedy) from error
    try:
        report = Report.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise BadReport(f"{path} is no report: {f'{where}: ' if where else ''}{first['msg']}", remedy) from error
    for figure in _figures(report.model_dump()):
        if not math.isfinite(figure) or abs(figure) > _MAX_FIGURE:
            raise BadReport(f"{path}: it holds the figure {figure}, which no measurement gives", remedy)
    if not report.rows:
        raise BadReport(f"{path}: a report without a figure", remedy)
    if report.task not in FIDELITY:
        raise BadReport(f"{path}: it is of the task {report.task!r}, not one of {', '.join(FIDELITY)}", remedy)
    return Report.model_validate(without_controls(report.model_dump(mode="json")))


def _figures(value: Any) -> Iterator[float]:
    """Every number in it, however deep."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _figures(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _figures(each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def _check_same_model(one: _Read, other: _Read) -> None:
    remedy = "compare bundles of one model"
    if one.report.task != other.report.task:
        raise BadReport(f"{one.path} does {one.report.task}, {other.path} {other.report.task}", remedy)
    if one.report.model_sha256 == other.report.model_sha256:
        return
    if one.source_sha256 is not None and other.source_sha256 is not None:
        if one.source_sha256 != other.source_sha256:
            raise BadReport(
                f"{one.path} and {other.path} were packed from different models (sha256 {one.source_sha256[:12]}... and"
                f" {other.source_sha256[:12]}...): their figures do not compare",
                remedy,
            )
    elif one.report.model != other.report.model:
        raise BadReport(f"{one.path} is of {one.report.model}, {other.path} of {other.report.model}", remedy)


def _check_known(each: _Read, own: Sequence[_Read]) -> None:
    if all(each.report.model_sha256 != known.report.model_sha256 for known in own):
        names = ", ".join(str(known.path) for known in own)
        raise BadReport(
            f"{each.path} is a report of another bundle (its model file has sha256 {each.report.model_sha256[:12]}...),"
            f" not of {names}",
            "validate one of these bundles with --on TARGET --save",
        )
