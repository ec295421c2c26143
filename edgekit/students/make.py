"""A student made: cut out of its teacher by depth and width, or a given smaller model that reads text alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.errors import UnsupportedModel, VocabularyMismatch
from edgekit.model import SourceModel, StudentSpec, open_model
from edgekit.progress import Progress
from edgekit.resources import sample_text
from edgekit.students.cutting import cut, module_family
from edgekit.students.depth import layers_to_keep, shallower
from edgekit.students.importance import Importance, importance
from edgekit.students.own_loss import own_loss
from edgekit.students.shape import resolved
from edgekit.students.width import choice

if TYPE_CHECKING:
    from torch import nn

    from edgekit.training.batches import Batch


def student_of(
    teacher: SourceModel,
    module: nn.Module,
    spec: StudentSpec,
    batches: Iterable[Batch],
    *,
    kind: Importance = "taylor",
    seed: int = 0,
    progress: Progress | None = None,
) -> nn.Module:
    """The student that `spec` asks for, a transformers module in eval mode and float32.

    `module` is the teacher's, `batches` are what importance is measured on; depth alone, and a given model, read none.
    UsageError for a shape that is larger than the teacher or does not divide, UnsupportedModel for an unknown family.
    """
    if spec.given is not None:
        return given_student(teacher, spec.given)
    family, source = module_family(module)
    target = resolved(source, family, spec)
    layers = layers_to_keep(module, target.layers)
    narrow = (target.hidden, target.heads, target.inner) != (source.hidden, source.heads, source.inner)
    if not narrow:
        return shallower(module, target.layers, layers)
    scores = importance(module, batches, own_loss(teacher, seed), kind, progress)
    return cut(module, target, choice(source, target, family, scores, layers))


def given_student(teacher: SourceModel, given: str) -> nn.Module:
    """A smaller model of the same task, labels and tokenizer, loaded.

    VocabularyMismatch unless both turn the same texts into the same ids; UnsupportedModel where it does not answer as
    the teacher does.
    """
    from edgekit.torch_model import load_torch

    student = open_model(given, task=teacher.task)
    if student.labels != teacher.labels:
        raise UnsupportedModel(
            f"{given} tells {len(student.labels)} labels apart ({', '.join(student.labels[:3])}, ...), the teacher"
            f" {len(teacher.labels)} ({', '.join(teacher.labels[:3])}, ...)",
            "give a model of the same labels, or let a student be cut from the teacher",
        )
    check_same_tokens(teacher, student)
    module = load_torch(student)
    if teacher.parameters and sum(each.numel() for each in module.parameters()) > teacher.parameters:
        raise UnsupportedModel(f"{given} is larger than its teacher", "give a smaller model")
    return module


def check_same_tokens(teacher: SourceModel, student: SourceModel) -> None:
    """VocabularyMismatch, which names the first text and token where they differ, unless both read text alike."""
    from edgekit.torch_model import load_tokenizer

    if teacher.text is None:
        return
    ours, theirs = load_tokenizer(teacher), load_tokenizer(student)
    remedy = "give a student with the teacher's own tokenizer"
    if ours.get_vocab_size() != theirs.get_vocab_size():
        raise VocabularyMismatch(
            f"the teacher's tokenizer has {ours.get_vocab_size()} tokens, the student's {theirs.get_vocab_size()}",
            remedy,
        )
    for line in sample_text().read_text(encoding="utf-8").splitlines():
        left, right = ours.encode(line), theirs.encode(line)
        if left.ids == right.ids:
            continue
        pairs = zip(left.ids, right.ids, strict=False)
        at = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(left.ids), len(right.ids)))
        told = [f"{side.tokens[at]!r} ({side.ids[at]})" if at < len(side.ids) else "nothing" for side in (left, right)]
        raise VocabularyMismatch(
            f"teacher and student read {line[:60]!r} differently: token {at + 1} is {told[0]} to the teacher and"
            f" {told[1]} to the student",
            remedy,
        )
