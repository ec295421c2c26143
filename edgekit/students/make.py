"""A student made: cut out of its teacher by depth and width, or a given smaller model that reads text alike."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import UnsupportedModel, UsageError, VocabularyMismatch
from edgekit.model import SourceModel, StudentSpec, Task, open_model
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

_CLASSIFIERS: Mapping[Task, str] = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}


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
        return given_student(teacher, spec.given, seed)
    family, source = module_family(module)
    target = resolved(source, family, spec)
    if target == source:
        raise UsageError(
            f"the student asked for is {teacher.name} itself: {source.layers} layers, {source.hidden} wide",
            "give fewer layers or less width",
        )
    layers = layers_to_keep(module, target.layers)
    narrow = (target.hidden, target.heads, target.inner) != (source.hidden, source.heads, source.inner)
    if not narrow:
        return shallower(module, target.layers, layers)
    scores = importance(module, batches, own_loss(teacher, seed), kind, progress)
    return cut(module, target, choice(source, target, family, scores, layers))


def given_student(teacher: SourceModel, given: str, seed: int = 0) -> nn.Module:
    """A smaller model with the teacher's tokenizer, loaded; a bare encoder gets the teacher's labels, with a layer for
    them that is drawn by the seed.

    VocabularyMismatch unless both turn the same texts into the same ids; UnsupportedModel where it does not answer as
    the teacher does, does not read pictures of the teacher's size, or is no smaller.
    """
    from edgekit.torch_model import load_torch

    student = open_model(given)
    is_bare = student.task == "embedding" and teacher.task in _CLASSIFIERS
    if not is_bare and student.task != teacher.task:
        student = open_model(given, task=teacher.task)
    if not is_bare and student.labels != teacher.labels:
        raise UnsupportedModel(
            f"{given} tells {len(student.labels)} labels apart ({', '.join(student.labels[:3])}, ...), the teacher"
            f" {len(teacher.labels)} ({', '.join(teacher.labels[:3])}, ...)",
            "give a model of the same labels, its encoder alone, or let a student be cut from the teacher",
        )
    check_same_tokens(teacher, student)
    scored = [each.config.get("vocab_size") for each in (teacher, student)]
    if teacher.task == "causal-lm" and scored[0] != scored[1]:
        raise VocabularyMismatch(
            f"the teacher scores {scored[0]} tokens, {given} {scored[1]}, though both read text alike",
            "give a student whose vocab_size is the teacher's",
        )
    module = load_torch(student)
    check_same_pictures(teacher, student, module)
    if is_bare:
        module = _with_labels(module, teacher, seed)
    parameters = sum(each.numel() for each in module.parameters())
    if parameters >= teacher.parameters > 0:
        raise UnsupportedModel(
            f"{given} has {parameters:,} parameters, its teacher {teacher.parameters:,}", "give a smaller model"
        )
    return module


def _with_labels(encoder: nn.Module, teacher: SourceModel, seed: int) -> nn.Module:
    """A classifier of the teacher's labels on top of `encoder`."""
    import torch
    import transformers

    config: Any = copy.deepcopy(encoder.config)
    config.id2label = dict(enumerate(teacher.labels))
    config.label2id = {label: index for index, label in enumerate(teacher.labels)}
    config.problem_type = teacher.config.get("problem_type")
    build = getattr(transformers, _CLASSIFIERS[teacher.task])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: Any = build.from_config(config, attn_implementation="eager", dtype=torch.float32)
    made.base_model.load_state_dict(encoder.state_dict(), strict=False)  # a pooler is drawn with the rest of the top
    classifier: nn.Module = made.eval()
    return classifier


def check_same_pictures(teacher: SourceModel, student: SourceModel, module: nn.Module) -> None:
    """UnsupportedModel unless `module`, which is the student's, reads pictures of the teacher's size.

    It is asked to: many a configuration has an image_size that its convolutions are not bound to.
    """
    import torch

    if teacher.image is None:
        return
    height, width = teacher.image.height, teacher.image.width
    try:
        with torch.no_grad():
            module(pixel_values=torch.zeros(1, 3, height, width))
    except (ValueError, RuntimeError) as error:
        size = student.config.get("image_size")
        if size is None and student.image is not None:
            size = (student.image.height, student.image.width)
        reads = tuple(size) if isinstance(size, list | tuple) else (size, size)
        raise UnsupportedModel(
            f"{student.source} reads pictures of {' x '.join(map(str, reads))}, its teacher's are {height} x {width}",
            f"give a model for pictures of {height} x {width}",
        ) from error


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
