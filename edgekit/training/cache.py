"""A teacher's answers on disk: computed once, written and read in the memory of one batch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadModel, OutputUnwritable
from edgekit.progress import Progress, Silent
from edgekit.training.batches import Example, Indices, lengths
from edgekit.training.identity import examples_sha256, module_sha256
from edgekit.training.kept import Field, Kept
from edgekit.training.losses import TopLogits
from edgekit.training.processes import told
from edgekit.training.recording import Question, record
from edgekit.training.tasks import Answers

if TYPE_CHECKING:
    import torch

__all__ = ["FULL_VOCABULARY", "Kept", "TeacherCache"]

FULL_VOCABULARY = 2048
"""Up to this many classes a position, all logits of a causal LM are kept."""

_FORMAT = 1


class TeacherCache:
    """The answers in a folder, by the index of the example. Reading is thread-safe and keeps nothing in memory."""

    def __init__(self, folder: Path, kept: Kept, fields: Sequence[Field], token_counts: NDArray[np.int64]) -> None:
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
        hold them. BadModel where the teacher answers with NaN or infinity. In several processes the main one computes
        and all read: OutputUnwritable where the folder is not one they share.
        """
        parts = [module_sha256(teacher), examples_sha256(examples), json.dumps(asdict(kept), sort_keys=True)]
        about = {"format": _FORMAT, "belongs": hashlib.sha256("\n".join(parts).encode()).hexdigest()}
        counts = lengths(examples, np.arange(len(examples)))
        question = Question(teacher, examples, counts, kept, batch_size, pad, FULL_VOCABULARY)

        def made() -> None:
            if not _stands(folder, about, counts):
                record(folder, about, question, progress or Silent())

        told(made)
        if not _stands(folder, about, counts):
            raise OutputUnwritable(
                f"the teacher's answers that the main process wrote are not in {folder} here",
                "name a folder that all machines share",
            )
        return cls(folder, kept, _fields_in(folder), counts)

    @property
    def bytes(self) -> int:
        return sum(field.size_bytes(self._counts) for field in self._fields)

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

    def _padded(self, field: Field, indices: Indices) -> NDArray[Any]:
        if not field.per_token:
            return np.stack([self._rows(field, int(index), 1)[0] for index in indices])
        made = np.zeros((len(indices), int(self._counts[indices].max()), *field.shape), field.dtype)
        for row, index in zip(made, indices, strict=True):
            count = int(self._counts[index])
            row[:count] = self._rows(field, int(self._starts[index]), count)
        return made

    def _rows(self, field: Field, start: int, count: int) -> NDArray[Any]:
        need = count * field.row_bytes
        found = os.pread(self._files[field.name], need, start * field.row_bytes)
        if len(found) != need:
            raise BadModel(f"the teacher's answers in {self.folder} were cut short", "delete that folder and run again")
        return np.frombuffer(found, field.dtype).reshape(count, *field.shape)


def _stands(folder: Path, expected: dict[str, Any], counts: NDArray[np.int64]) -> bool:
    """Whether the folder holds exactly this cache, whole."""
    try:
        about = json.loads((folder / "cache.json").read_bytes())
        if {name: about[name] for name in expected} != expected:
            return False
        sizes = {field: (folder / f"{field.name}.bin").stat().st_size for field in _fields_in(folder)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return all(size == field.size_bytes(counts) for field, size in sizes.items())


def _fields_in(folder: Path) -> list[Field]:
    listed = json.loads((folder / "cache.json").read_bytes())["fields"]
    if not all(re.fullmatch(r"[a-z]+(_[a-z0-9]+)?", each["name"]) for each in listed):
        raise ValueError("a field is not named like one")
    return [replace(Field(**each), shape=tuple(each["shape"])) for each in listed]
