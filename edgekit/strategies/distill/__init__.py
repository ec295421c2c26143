"""distill: a student, trained to answer as the source does, is packed by the other strategies.

A candidate is a student's shape and how it is packed; one shape is trained once, whatever it is packed as. Estimates
are those of the student's shape: nothing is trained to plan. docs/distilling.md tells more.

    aims         what a student is held to, and how it is trained, by task
    lesson       the rows as tensors, and which are held out
    objective    the loss of a batch
    teaching     teacher -> trained student -> model folder
    saving       that folder
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edgekit.costs import Setting
from edgekit.device import DeviceProfile
from edgekit.errors import BadInput
from edgekit.model import SourceModel, StudentSpec
from edgekit.progress import Progress
from edgekit.report import TrainingRecord
from edgekit.strategies import STRATEGIES, Artifact, Candidate, Rejection, load
from edgekit.strategies.distill.teaching import RECORD, Place, checked, reopened, trained_student
from edgekit.strategies.distill.words import duration_told, shape_told
from edgekit.students.shape import shaped
from edgekit.training.workplace import CHECKPOINT, keep_shape

NAME = "distill"
_PACKED, _SHAPE = "packed as", "student"


def propose(model: SourceModel, setting: Setting) -> Iterator[Candidate | Rejection]:
    """The student that `model.training` asks for in every way that another strategy would pack it.

    Nothing where nobody brought data or no shape is chosen yet; the one reason where no student can be made. UsageError
    for a shape that the model does not have.
    """
    training = model.training
    if training is None or training.student is None:
        return
    try:
        checked(model)
        student = replace(shaped(model, training.student), name=model.name, training=None)
    except BadInput as error:
        yield Rejection(NAME, error.message, remedy=error.remedy, estimated=False)
        return
    refused: list[Rejection] = []
    found = False
    described = shape_told(student.config, model.config, student.parameters)
    budget = "as long as it gains" if training.budget_s is None else f"up to {duration_told(training.budget_s)}"
    notes = (f"a student of {model.name}: {described}; trained for {budget} on {training.origin}",)
    for name in STRATEGIES:
        for offer in load(name).propose(student, setting) if name != NAME else ():
            if isinstance(offer, Rejection):
                refused.append(replace(offer, label=f"{NAME} {offer.label}"))
                continue
            found = True
            yield _outer(offer, training.student, described, notes)
    if not found:
        yield from refused


def make(
    candidate: Candidate, model: SourceModel, device: DeviceProfile, workdir: Path, progress: Progress
) -> Artifact:
    """Train the student, unless an earlier candidate beside `workdir` did, and pack it as the candidate says."""
    training = checked(model)
    assert training.student is not None
    home = workdir.parent / f"student-{_slug(training.student)}"
    if not (home / "student" / RECORD).is_file():
        kept = training.resume or home
        if training.resume is not None:
            keep_shape(kept, training.student.label)
        place = Place(kept / CHECKPOINT, kept, resume=training.resume is not None)
        trained_student(model, home / "student", place, progress)
    record = TrainingRecord.model_validate_json((home / "student" / RECORD).read_bytes())
    student = reopened(model, home / "student")
    inner = _inner(candidate)
    progress.step(f"make {inner.label} of the student")
    artifact = load(inner.strategy).make(inner, student, device, workdir, progress)
    return replace(artifact, candidate=candidate, source=student, training=record)


def _outer(offer: Candidate, spec: StudentSpec, described: str, notes: tuple[str, ...]) -> Candidate:
    shape = spec.label if spec.given is None else Path(spec.given).name
    return replace(
        offer,
        strategy=NAME,
        options={_PACKED: offer.strategy, **offer.options, _SHAPE: shape},
        notes=(*notes, *offer.notes),
        student=described,
    )


def _inner(candidate: Candidate) -> Candidate:
    """What `_outer` was given, but for its notes, which stay with the outer one."""
    options = {name: value for name, value in candidate.options.items() if name not in (_PACKED, _SHAPE)}
    return replace(candidate, strategy=candidate.options[_PACKED], options=options, notes=(), student="")


def _slug(spec: StudentSpec) -> str:
    return re.sub(r"[^\w.=-]+", "-", spec.label)
