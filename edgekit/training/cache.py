"""A teacher's answers on disk: computed once, written and read in the memory of one batch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadModel, NoSpace, UnsupportedModel
from edgekit.output import writing
from edgekit.progress import Progress, Silent
from edgekit.training.batches import Example, Indices, batches, collated, lengths
from edgekit.training.losses import TopLogits
from edgekit.training.processes import told
from edgekit.training.tasks import Answers, answers

if TYPE_CHECKING:
    import torch

    from edgekit.model import Pooling, Task

FULL_VOCABULARY = 2048
"""Up to this many classes a position, all logits of a causal LM are kept."""

_FORMAT = 1
_SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Kept:
    """What is kept of the teacher's answers. `hidden` are indices into the states of its layers (-1 the last).

    `top` logits of a position are kept where a causal LM has more than FULL_VOCABULARY; the others' mass is summed at
    `temperature`, which the loss must then use.
    """

    task: Task
    pooling: Pooling | None = None
    normalize: bool = False
    hidden: tuple[int, ...] = ()
    temperature: float = 1.0
    top: int = 64


@dataclass(frozen=True)
class _Field:
    """One file: rows of `shape` and `dtype`, for each example one, or one a token."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    per_token: bool

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class TeacherCache:
    """The answers in a folder, by the index of the example. Reading is thread-safe and keeps nothing in memory."""

    def __init__(self, folder: Path, kept: Kept, fields: Sequence[_Field], token_counts: NDArray[np.int64]) -> None:
        self._kept, self._fields, self._counts = kept, tuple(fields), token_counts
        self._starts = np.concatenate([[0], np.cumsum(token_counts)])
        self._files = {field.name: os.open(folder / f"{field.name}.bin", os.O_RDONLY) for field in fields}
        self.folder = folder

    @classmethod
    def build(
        cls,
        folder: Path,
        teacher: torch.nn.Module,
        examples: Sequence[Example],
        kept: Kept,
        *,
        batch_size: int = 16,
        pad: int = 0,
        progress: Progress | None = None,
    ) -> TeacherCache:
        """The cache in `folder`, made there unless it is already that of this teacher, these examples and `kept`.

        One example is answered to learn the shapes; then NoSpace is raised, before the rest, where the disk does not
        hold them. In several processes the main one computes and all read: the folder must be one they share.
        """
        belongs = _belongs(teacher, examples, kept)
        counts = lengths(examples, np.arange(len(examples)))
        told(lambda: _made(folder, belongs, teacher, examples, counts, kept, batch_size, pad, progress or Silent()))
        return cls(folder, kept, _fields_in(folder), counts)

    @property
    def bytes(self) -> int:
        return sum(field.row_bytes * self._rows(field, self._starts[-1]) for field in self._fields)

    @property
    def note(self) -> str:
        """What a report says of logits that were left out; empty where all were kept."""
        top = next((field for field in self._fields if field.name == "top_values"), None)
        if top is None:
            return ""
        return (
            f"of the teacher's logits the {top.shape[0]} largest of each token were kept; "
            f"the others count as one, at temperature {self._kept.temperature:g}"
        )

    def read(self, indices: Indices) -> Answers:
        """The teacher's answers to these examples, in this order, padded with zeros to the longest as batches are."""
        import torch

        found = {field.name: torch.from_numpy(self._padded(field, indices)) for field in self._fields}
        hidden = tuple(found[f"hidden_{at}"] for at in range(len(self._kept.hidden)))
        counts = torch.from_numpy(self._counts[indices])
        mask = torch.arange(int(counts.max()))[None, :] < counts[:, None] if int(counts.max()) else None
        top = None
        if "top_values" in found:
            top = TopLogits(
                found["top_values"], found["top_ids"].long(), found["top_rest"], temperature=self._kept.temperature
            )
        return Answers(found.get("logits"), found.get("embedding"), hidden, mask, top)

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}

    def _rows(self, field: _Field, tokens: int) -> int:
        return int(tokens) if field.per_token else len(self._counts)

    def _padded(self, field: _Field, indices: Indices) -> NDArray[Any]:
        if not field.per_token:
            return np.stack([self._row(field, int(index), 1)[0] for index in indices])
        made = np.zeros((len(indices), int(self._counts[indices].max()), *field.shape), field.dtype)
        for row, index in zip(made, indices, strict=True):
            count = int(self._counts[index])
            row[:count] = self._row(field, int(self._starts[index]), count)
        return made

    def _row(self, field: _Field, start: int, count: int) -> NDArray[Any]:
        need = count * field.row_bytes
        found = os.pread(self._files[field.name], need, start * field.row_bytes)
        if len(found) != need:
            raise BadModel(f"the teacher's answers in {self.folder} were cut short", "delete that folder and run again")
        return np.frombuffer(found, field.dtype).reshape(count, *field.shape)


def _made(
    folder: Path,
    belongs: str,
    teacher: torch.nn.Module,
    examples: Sequence[Example],
    counts: NDArray[np.int64],
    kept: Kept,
    batch_size: int,
    pad: int,
    progress: Progress,
) -> None:
    if _stands(folder, belongs, counts):
        return
    shortest = int(np.argmin(counts))
    probe = _answered(teacher, examples, np.array([shortest]), kept, pad)
    fields = _fields(probe, bool(counts[shortest]))
    need_bytes = sum(field.row_bytes * int(counts.sum() if field.per_token else len(counts)) for field in fields)
    _check_space(folder, need_bytes)
    with writing(folder, force=True, need_bytes=need_bytes, replaceable=lambda _: None) as output:
        made = output.work / "answers"
        made.mkdir()
        files = {field.name: _reserved(made / f"{field.name}.bin", field, counts) for field in fields}
        try:
            _fill(files, fields, teacher, examples, counts, kept, batch_size, pad, progress)
        finally:
            for descriptor in files.values():
                os.close(descriptor)
        about = {"format": _FORMAT, "belongs": belongs, "fields": [asdict(field) for field in fields]}
        (made / "cache.json").write_text(json.dumps(about), encoding="utf-8")
        output.commit(made)


def _fill(
    files: Mapping[str, int],
    fields: Sequence[_Field],
    teacher: torch.nn.Module,
    examples: Sequence[Example],
    counts: NDArray[np.int64],
    kept: Kept,
    batch_size: int,
    pad: int,
    progress: Progress,
) -> None:
    starts = np.concatenate([[0], np.cumsum(counts)])
    progress.step(f"the teacher's answers to {len(examples)} examples", total=len(examples))
    for batch in batches(examples, np.arange(len(examples)), batch_size, 0, 0, pad, shuffled=False):
        found = _answered(teacher, examples, batch.indices, kept, pad)
        for field in fields:
            for row, index in zip(found[field.name], batch.indices, strict=True):
                count = int(counts[index]) if field.per_token else 1
                values = row[:count] if field.per_token else row
                start = int(starts[index] if field.per_token else index)
                _write_all(files[field.name], np.ascontiguousarray(values).tobytes(), start * field.row_bytes)
        progress.advance(len(batch))


def _answered(
    teacher: torch.nn.Module, examples: Sequence[Example], indices: Indices, kept: Kept, pad: int
) -> dict[str, NDArray[Any]]:
    """What is kept of one batch, by field, [batch, ...] or [batch, tokens, ...]."""
    import torch

    was_training = teacher.training
    teacher.eval()
    device = next(teacher.parameters()).device
    try:
        with torch.no_grad():
            given = answers(
                teacher,
                kept.task,
                collated(examples, indices, pad).to(device).inputs,
                pooling=kept.pooling,
                normalize=kept.normalize,
                hidden=bool(kept.hidden),
            )
            found = _top(given.logits, kept) if given.logits is not None and _cut(given.logits, kept) else {}
            if given.logits is not None and not found:
                found["logits"] = given.logits
            if given.embedding is not None:
                found["embedding"] = given.embedding
            for at, layer in enumerate(kept.hidden):
                found[f"hidden_{at}"] = _layer(given.hidden, layer)
    finally:
        teacher.train(was_training)
    made = {
        name: np.asarray(each.cpu().numpy(), np.int32 if name == "top_ids" else np.float32)
        for name, each in found.items()
    }
    for name, each in made.items():
        if not np.isfinite(each[each != -np.inf] if name == "top_rest" else each).all():
            raise BadModel("the teacher answers an example with NaN or infinity", "use a sound one")
    return made


def _cut(logits: torch.Tensor, kept: Kept) -> bool:
    return kept.task == "causal-lm" and logits.shape[-1] > max(FULL_VOCABULARY, kept.top)


def _top(logits: torch.Tensor, kept: Kept) -> dict[str, torch.Tensor]:
    values, ids = logits.float().topk(kept.top, dim=-1)
    others = (logits.float() / kept.temperature).scatter(-1, ids, float("-inf"))
    return {"top_values": values, "top_ids": ids, "top_rest": others.logsumexp(dim=-1)}


def _layer(states: tuple[torch.Tensor, ...], layer: int) -> torch.Tensor:
    if not -len(states) <= layer < len(states):
        raise UnsupportedModel(f"the teacher has {len(states)} hidden states, number {layer} is none of them")
    return states[layer]


def _fields(found: Mapping[str, NDArray[Any]], is_text: bool) -> list[_Field]:
    """By the answers to one example [1, ...]: which are one a token is told by what they are."""
    per_token = {"top_values", "top_ids", "top_rest"} | {name for name in found if name.startswith("hidden_")}
    if is_text and "logits" in found and found["logits"].ndim == 3:
        per_token.add("logits")
    made = []
    for name, each in found.items():
        by_token = is_text and name in per_token
        made.append(_Field(name, tuple(each.shape[2 if by_token else 1 :]), str(each.dtype), by_token))
    return made


def _check_space(folder: Path, need_bytes: int) -> None:
    where = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    free_bytes = shutil.disk_usage(where).free
    if free_bytes < need_bytes + _SPARE_BYTES:
        raise NoSpace(
            f"{where} has {free_bytes / 2**20:.0f} MiB free, the teacher's answers need {need_bytes / 2**20:.0f} MiB",
            "free some space, or give fewer or shorter examples",
        )


def _reserved(path: Path, field: _Field, counts: NDArray[np.int64]) -> int:
    """An open file with its space taken, so that a full disk shows before the teacher is asked."""
    size = field.row_bytes * int(counts.sum() if field.per_token else len(counts))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    return descriptor


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        done = os.pwrite(descriptor, content, offset)
        content, offset = content[done:], offset + done


def _stands(folder: Path, belongs: str, counts: NDArray[np.int64]) -> bool:
    """Whether the folder holds exactly this cache, whole."""
    try:
        about = json.loads((folder / "cache.json").read_bytes())
        if about["format"] != _FORMAT or about["belongs"] != belongs:
            return False
        sizes = {field: (folder / f"{field.name}.bin").stat().st_size for field in _fields_in(folder)}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(
        size == field.row_bytes * int(counts.sum() if field.per_token else len(counts)) for field, size in sizes.items()
    )


def _fields_in(folder: Path) -> list[_Field]:
    listed = json.loads((folder / "cache.json").read_bytes())["fields"]
    if not all(re.fullmatch(r"[a-z]+(_[a-z0-9]+)?", each["name"]) for each in listed):
        raise ValueError("a field is not named like one")
    return [replace(_Field(**each), shape=tuple(each["shape"])) for each in listed]


def _belongs(teacher: torch.nn.Module, examples: Sequence[Example], kept: Kept) -> str:
    from edgekit.training.identity import examples_sha256, module_sha256

    parts = [module_sha256(teacher), examples_sha256(examples), json.dumps(asdict(kept), sort_keys=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
