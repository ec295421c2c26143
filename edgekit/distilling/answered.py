"""What a student lost: its answers beside its teacher's, on rows that training never saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.distilling.bootstrap import Interval, Sums, of_sums
from edgekit.errors import BadModel
from edgekit.evaluation import Answer
from edgekit.fidelity import kl_divergence, log_softmax, similarities_kept
from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.report import Compared
from edgekit.strategies.distill.lesson import Lesson, evenly

if TYPE_CHECKING:
    import torch

    from edgekit.training.batches import Batch, Indices

_BATCH = 16
# Each is answered by both, and compared with every other.
_MOST_ROWS = 2000
# Logits of a batch and side, and the positions that are compared in float64 at a time: vocabularies are wide.
_MOST_LOGITS = 2**25
_POSITIONS = 32


@dataclass(frozen=True)
class Pair:
    """Teacher and student in torch; `setup` is the teacher's pooling and normalisation, which are the student's too."""

    setup: SourceModel
    teacher: torch.nn.Module
    student: torch.nn.Module


def losses_of(pair: Pair, taught: Lesson, progress: Progress) -> list[Compared]:
    """Every figure of the task with its interval, over the held-out rows."""
    task = pair.setup.task
    indices = evenly(taught.parts.held_out, _MOST_ROWS)
    batches = _asked(pair, taught, indices, progress)
    if task == "embedding":
        found = _embeddings(batches)
    elif task == "causal-lm":
        found = _language(batches)
    else:
        found = _classes(batches, multi_label=pair.setup.config.get("problem_type") == "multi_label_classification")
    return [each.model_copy(update={"how": f"{each.how}; {len(indices):,} rows"}) for each in found]


@dataclass(frozen=True)
class _Asked:
    """A batch with both sides' answers: embeddings [batch, width] or logits, float32."""

    batch: Batch
    teacher: Answer
    student: Answer

    @property
    def mask(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self.batch.inputs["attention_mask"].bool().numpy()
        return mask


def _asked(pair: Pair, taught: Lesson, indices: Indices, progress: Progress) -> Iterator[_Asked]:
    import torch

    from edgekit.training.batches import batches
    from edgekit.training.tasks import answers

    size = _BATCH
    if pair.setup.task == "causal-lm":
        longest = max(len(taught.examples[index]["input_ids"]) for index in indices)
        size = max(1, min(_BATCH, _MOST_LOGITS // (longest * int(pair.setup.config.get("vocab_size", 2**17)))))
    progress.step(f"teacher and student on {len(indices)} held-out rows", total=len(indices))
    for batch in batches(taught.examples, indices, size, 0, 0, taught.pad, taught.labels, shuffled=False):
        found = []
        for module in (pair.teacher, pair.student):
            with torch.inference_mode():
                given = answers(
                    module, pair.setup.task, batch.inputs, pooling=pair.setup.pooling, normalize=pair.setup.normalize
                )
            output = given.embedding if given.embedding is not None else given.logits
            assert output is not None
            found.append(output.float().numpy())
        if not all(np.isfinite(each).all() for each in found):
            raise BadModel("teacher or student answers a held-out row with NaN or infinity", "use a sound teacher")
        yield _Asked(batch, *found)
        progress.advance(len(batch))


def _embeddings(asked: Iterator[_Asked]) -> list[Compared]:
    found = list(asked)
    teacher, student = (
        _unit(np.concatenate([getattr(each, side) for each in found]).astype(np.float64))
        for side in ("teacher", "student")
    )
    rows = []
    if teacher.shape[1] == student.shape[1]:
        cosines = (teacher * student).sum(axis=1)
        rows.append(_lost("mean cosine", "", of_sums(_means(cosines), _ratio), "to the teacher's embedding"))
    told = "correlation of a text's cosines to all others, the student's with the teacher's"
    rows.append(_lost("similarities kept", "", of_sums(_means(similarities_kept(teacher, student)), _ratio), told))
    alike = [side @ side.T for side in (teacher, student)]
    for each in alike:
        np.fill_diagonal(each, -np.inf)
    kept = (alike[0].argmax(axis=1) == alike[1].argmax(axis=1)).astype(float)
    rows.append(_lost("neighbours kept", "", of_sums(_means(kept), _ratio), "texts with the same nearest other text"))
    return rows


def _classes(asked: Iterator[_Asked], *, multi_label: bool) -> list[Compared]:
    """Sums an input, so that the tokens of one text are drawn together: agreeing, KL, positions, right, labelled. Of
    several labels at once, or one alone, each is answered yes or no, and no row names the right one.
    """
    sums, has_labels = [], False
    for each in asked:
        teacher, student, labels = each.teacher, each.student, each.batch.labels
        tokens, yes_or_no = teacher.ndim == 3, multi_label or teacher.shape[-1] == 1
        labels = None if yes_or_no else labels
        has_labels = has_labels or labels is not None
        mask = each.mask if tokens else np.ones(len(teacher), bool)
        if yes_or_no:
            teacher, student = (np.stack([side, np.zeros_like(side)], axis=-1) for side in (teacher, student))
            mask = np.broadcast_to(mask[..., None], teacher.shape[:-1])
        same = (teacher.argmax(-1) == student.argmax(-1)) & mask
        columns = [same, np.where(mask, kl_divergence(teacher, student), 0.0), mask]
        if labels is not None:
            truth = labels.numpy()
            known = truth >= 0
            columns += [(side.argmax(-1) == truth) & known for side in (teacher, student)] + [known]
        sums.append(np.stack([column.reshape(len(teacher), -1).sum(axis=1) for column in columns], axis=1))
    rows = np.concatenate(sums).astype(np.float64)
    found = [
        _lost("agreement", "", of_sums(rows[:, [0, 2]], _ratio), "with the teacher's class"),
        _lost("mean KL", "nats", of_sums(rows[:, [1, 2]], _ratio), "of the student's classes from the teacher's"),
    ]
    if has_labels and rows[:, 5].sum():
        drop = of_sums(np.stack([rows[:, 3] - rows[:, 4], rows[:, 5]], axis=1), _ratio)
        right = rows[:, 3:5].sum(axis=0) / rows[:, 5].sum()
        found.append(_lost("accuracy", "", drop, "teacher's minus student's", float(right[0]), float(right[1])))
    return found


def _language(asked: Iterator[_Asked]) -> list[Compared]:
    """Sums a text: KL, same first choice, the next token's negative log-likelihood of each side, positions."""
    sums = []
    for each in asked:
        for row in range(len(each.teacher)):
            ids = each.batch.inputs["input_ids"][row][each.batch.inputs["attention_mask"][row].bool()].numpy()
            sums.append(_text_sums(each.teacher[row], each.student[row], ids))
    rows = np.stack(sums)
    count = max(1.0, rows[:, 4].sum())
    worse = of_sums(np.stack([rows[:, 3] - rows[:, 2], rows[:, 4]], axis=1), lambda sums: np.exp(_ratio(sums)))
    sides = [float(np.exp(rows[:, column].sum() / count)) for column in (2, 3)]
    return [
        _lost("perplexity", "", worse, "student's over teacher's", sides[0], sides[1], "x its teacher's"),
        _lost("mean KL", "nats", of_sums(rows[:, [0, 4]], _ratio), "of the student's next token from the teacher's"),
        _lost("top-1 agreement", "", of_sums(rows[:, [1, 4]], _ratio), "with the teacher's first choice"),
    ]


def _text_sums(teacher: Answer, student: Answer, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """The columns of `_language` for one text, padded on the right."""
    total = np.zeros(5)
    for start in range(0, len(ids) - 1, _POSITIONS):
        targets = ids[start + 1 : start + 1 + _POSITIONS]
        ours, theirs = (side[start : start + len(targets)] for side in (student, teacher))
        places = np.arange(len(targets))
        nll = [-log_softmax(side)[places, targets].sum() for side in (theirs, ours)]
        same = (ours.argmax(-1) == theirs.argmax(-1)).sum()
        total += [kl_divergence(theirs, ours).sum(), same, *nll, len(targets)]
    return total


def _lost(
    name: str,
    unit: str,
    found: Interval,
    how: str,
    teacher: float | None = None,
    student: float | None = None,
    value_unit: str | None = None,
) -> Compared:
    return Compared(
        name=name,
        unit=unit,
        teacher=teacher,
        student=student,
        value=found.value,
        value_unit=unit if value_unit is None else value_unit,
        low=found.low,
        high=found.high,
        how=how,
    )


def _means(values: NDArray[np.float64]) -> Sums:
    """Columns whose ratio of sums is the mean."""
    return np.stack([values, np.ones_like(values)], axis=1)


def _ratio(sums: Sums) -> Sums:
    ratio: Sums = np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1e-12))
    return ratio


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
