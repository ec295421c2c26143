"""`--data`: the rows that a student is trained on, and those of them that are held out to measure it."""

from __future__ import annotations

from collections.abc import Hashable, Set
from dataclasses import replace
from pathlib import Path

from edgekit.errors import LabelMismatch, NoData, TooLittleData
from edgekit.evaluation import EvalSet, read_eval
from edgekit.model import SourceModel, StudentSpec, Training
from edgekit.strategies.distill.aims import DEFAULT_BUDGET_S
from edgekit.strategies.distill.lesson import evenly, parted, told_apart
from edgekit.strategies.distill.teaching import check_teachable

_MOST_MEASURED = 1000
"""Held-out rows that a bundle is measured on: each is answered by the original too."""


def read_training(
    path: Path,
    model: SourceModel,
    *,
    budget_s: float | None = DEFAULT_BUDGET_S,
    seed: int = 0,
    learning_rate: float | None = None,
    student: StudentSpec | None = None,
    measured_on: EvalSet | None = None,
) -> Training:
    """The rows of a .jsonl or .csv file, with the columns of an eval file; labels are optional. Inputs that stand in
    `measured_on` too are left out, which `origin` tells.

    Raises UnsupportedModel where no student is trained for such a model, NoData where there are no rows, TooLittleData
    (with how many are needed), LabelMismatch where labels are not the model's, and BadEvalData for what cannot be read.
    """
    check_teachable(model)
    if not path.is_file():
        raise NoData(f"cannot read {path}: no such file", "give a .jsonl or .csv file; rows need no labels")
    if _is_blank(path):
        raise NoData(f"{path} has no rows", "give a .jsonl or .csv file with rows; they need no labels")
    training = replace(
        _training(read_eval(path, model, LabelMismatch)),
        budget_s=budget_s,
        seed=seed,
        learning_rate=learning_rate,
        student=student,
    )
    if measured_on is not None:
        training = _without(training, set(told_apart(_training(measured_on))))
    try:
        parted(training)
    except TooLittleData as error:
        raise TooLittleData(f"{training.origin}: {error.message}", error.remedy) from error
    return training


def _training(rows: EvalSet) -> Training:
    return Training(
        origin=rows.origin,
        texts=rows.texts,
        words=rows.words,
        arrays=tuple({name: array[0] for name, array in each.items()} for each in rows.arrays),
        labels=rows.labels,
    )


def _without(training: Training, measured: Set[Hashable]) -> Training:
    """The training without the inputs that something is measured on: what is held out was never learnt."""
    kept = [index for index, each in enumerate(told_apart(training)) if each not in measured]
    left_out = len(training) - len(kept)
    if not left_out:
        return training
    return replace(
        training,
        origin=f"{training.origin}, without the {left_out} that --eval measures on",
        texts=tuple(training.texts[index] for index in kept) if training.texts else (),
        words=tuple(training.words[index] for index in kept) if training.words else (),
        arrays=tuple(training.arrays[index] for index in kept) if training.arrays else (),
        labels=None if training.labels is None else tuple(training.labels[index] for index in kept),  # type: ignore[arg-type]
    )


def held_out(training: Training) -> EvalSet:
    """The rows that training never sees, a thousand of them at most."""
    indices = parted(training).held_out
    chosen = evenly(indices, _MOST_MEASURED)
    many = f"{len(chosen)} of {len(indices)}" if len(chosen) < len(indices) else f"{len(chosen)}"
    return EvalSet(
        f"{training.origin}: {many} rows held out from training",
        texts=tuple(training.texts[each] for each in chosen) if training.texts else (),
        words=tuple(training.words[each] for each in chosen) if training.words else (),
        arrays=tuple({name: array[None] for name, array in training.arrays[each].items()} for each in chosen)
        if training.arrays
        else (),
        labels=None if training.labels is None else tuple(training.labels[each] for each in chosen),
    )


def _is_blank(path: Path) -> bool:
    """Whether there is no row: nothing but white space, or of a .csv nothing but its header."""
    try:
        with path.open("rb") as file:
            lines = (line for line in file if line.strip())
            header = next(lines, None) if path.suffix == ".csv" else b""
            return header is None or next(lines, None) is None
    except OSError:
        return False  # reading it tells why
