"""Asking a teacher once and writing down what it answers, in the memory of one batch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadModel, NoSpace, UnsupportedModel
from edgekit.output import writing
from edgekit.progress import Progress
from edgekit.training.batches import Example, Indices, batches, collated
from edgekit.training.kept import Field, Kept, fields_of
from edgekit.training.processes import state
from edgekit.training.tasks import answers

if TYPE_CHECKING:
    import torch

_SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Question:
    """Whom to ask what. `counts` are the examples' tokens; above `most_classes` a causal LM's logits are cut."""

    teacher: torch.nn.Module
    examples: Sequence[Example]
    counts: NDArray[np.int64]
    kept: Kept
    batch_size: int
    pad: int
    most_classes: int


def record(folder: Path, about: Mapping[str, Any], question: Question, progress: Progress) -> None:
    """Put the answers in `folder` by one rename, with cache.json: `about` and the fields.

    One example is answered to learn the shapes; then NoSpace, before the rest, where the disk does not hold them.
    BadModel where the teacher answers with NaN or infinity.
    """
    with _ready(question.teacher):
        shortest = int(np.argmin(question.counts))
        probe = _answered(question, np.array([shortest]))
        fields = fields_of(probe, is_text=bool(question.counts[shortest]))
        need_bytes = sum(field.size_bytes(question.counts) for field in fields)
        _check_space(folder, need_bytes)
        with writing(folder, force=True, need_bytes=need_bytes, replaceable=lambda _: None) as output:
            made = output.work / "answers"
            made.mkdir()
            files: dict[str, int] = {}
            try:
                for field in fields:
                    files[field.name] = _reserved(made / f"{field.name}.bin", field.size_bytes(question.counts))
                _fill(files, fields, question, progress)
            finally:
                for descriptor in files.values():
                    os.close(descriptor)
            told = {**about, "fields": [asdict(field) for field in fields]}
            (made / "cache.json").write_text(json.dumps(told), encoding="utf-8")
            output.commit(made)


@contextmanager
def _ready(teacher: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode, on the accelerator if there is one; afterwards as it was."""
    was_on, was_training = next(teacher.parameters()).device, teacher.training
    try:
        teacher.to(state().device).eval()
        yield
    finally:
        teacher.to(was_on).train(was_training)


def _fill(files: Mapping[str, int], fields: Sequence[Field], question: Question, progress: Progress) -> None:
    counts = question.counts
    starts = np.concatenate([[0], np.cumsum(counts)])
    count = len(question.examples)
    progress.step(f"the teacher's answers to {count} examples", total=count)
    for batch in batches(question.examples, np.arange(count), question.batch_size, 0, 0, question.pad, shuffled=False):
        found = _answered(question, batch.indices)
        for field in fields:
            for row, index in zip(found[field.name], batch.indices, strict=True):
                values = row[: int(counts[index])] if field.per_token else row
                start = int(starts[index] if field.per_token else index)
                _write_all(files[field.name], np.ascontiguousarray(values).tobytes(), start * field.row_bytes)
        progress.advance(len(batch))


def _answered(question: Question, indices: Indices) -> dict[str, NDArray[Any]]:
    """What is kept of one batch, by field, [batch, ...] or [batch, tokens, ...]."""
    import torch

    teacher, kept = question.teacher, question.kept
    batch = collated(question.examples, indices, question.pad).to(next(teacher.parameters()).device)
    with torch.no_grad():
        given = answers(
            teacher,
            kept.task,
            batch.inputs,
            pooling=kept.pooling,
            normalize=kept.normalize,
            hidden=bool(kept.hidden),
        )
        found: dict[str, torch.Tensor] = {}
        if given.logits is not None:
            is_cut = kept.task == "causal-lm" and given.logits.shape[-1] > max(question.most_classes, kept.top)
            found |= _top(given.logits, kept) if is_cut else {"logits": given.logits}
        if given.embedding is not None:
            found["embedding"] = given.embedding
        for at, layer in enumerate(kept.hidden):
            found[f"hidden_{at}"] = _layer(given.hidden, layer)
    made: dict[str, NDArray[Any]] = {}
    for name, each in found.items():
        made[name] = each.cpu().numpy().astype(np.int32 if name == "top_ids" else np.float32, copy=False)
        if not np.isfinite(made[name]).all():
            raise BadModel("the teacher answers an example with NaN or infinity", "use a sound one")
    return made


def _top(logits: torch.Tensor, kept: Kept) -> dict[str, torch.Tensor]:
    values, ids = logits.float().topk(kept.top, dim=-1)
    others = (logits.float() / kept.temperature).scatter(-1, ids, float("-inf"))
    return {"top_values": values, "top_ids": ids, "top_rest": others.logsumexp(dim=-1)}


def _layer(states: tuple[torch.Tensor, ...], layer: int) -> torch.Tensor:
    if not -len(states) <= layer < len(states):
        raise UnsupportedModel(f"the teacher has {len(states)} hidden states, number {layer} is none of them")
    return states[layer]


def _check_space(folder: Path, need_bytes: int) -> None:
    where = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    free_bytes = shutil.disk_usage(where).free
    if free_bytes < need_bytes + _SPARE_BYTES:
        raise NoSpace(
            f"{where} has {free_bytes / 2**20:.0f} MiB free, the teacher's answers need {need_bytes / 2**20:.0f} MiB"
            f" and {_SPARE_BYTES / 2**20:.0f} MiB to spare",
            "free some space, or give fewer or shorter examples",
        )


def _reserved(path: Path, size_bytes: int) -> int:
    """An open file with its space taken, so that a full disk shows before the teacher is asked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        if size_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        done = os.pwrite(descriptor, content, offset)
        content, offset = content[done:], offset + done
