"""How each task's module answers, and how what a person brings becomes examples for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadEvalData, LabelMismatch, NoData, UnsupportedModel
from edgekit.training.batches import Example
from edgekit.training.losses import IGNORED, TopLogits

if TYPE_CHECKING:
    import torch

    from edgekit.model import Pooling, SourceModel, Task, Training

MOST_TOKENS = 512
"""Texts are cut to this, or to the model's longest input where that is shorter: memory grows with its square."""


@dataclass(frozen=True)
class Answers:
    """What a module says of a batch, with gradients where it is in training.

    `logits` [batch, classes] or [batch, tokens, classes or vocabulary]; `embedding` [batch, width] is pooled, and
    normalised where the model does so; `hidden` are the states before, between and after the layers, [batch, tokens,
    width] each ([batch, channels, height, width] of a convolutional model). `mask` [batch, tokens] is true where a
    token counts, None for pictures. `top` stands in for logits that were too many to keep.
    """

    logits: torch.Tensor | None = None
    embedding: torch.Tensor | None = None
    hidden: tuple[torch.Tensor, ...] = ()
    mask: torch.Tensor | None = None
    top: TopLogits | None = None


def answers(
    module: torch.nn.Module,
    task: Task,
    inputs: Mapping[str, torch.Tensor],
    *,
    pooling: Pooling | None = None,
    normalize: bool = False,
    hidden: bool = False,
) -> Answers:
    """The module's answers to a batch. `hidden` asks for the states of the layers, which only transformers' have."""
    mask = inputs["attention_mask"].bool() if "attention_mask" in inputs else None
    if not hasattr(module, "config"):
        return _plain(module, task, inputs, mask)
    options: dict[str, Any] = {"output_hidden_states": True} if hidden else {}
    if task == "causal-lm":
        options["use_cache"] = False
    output = module(**inputs, **options)
    states = tuple(output.hidden_states) if hidden else ()
    if task != "embedding":
        return Answers(logits=output.logits, hidden=states, mask=mask)
    tokens = output.last_hidden_state
    pooled = pooled_tokens(tokens, tokens.new_ones(tokens.shape[:2]).bool() if mask is None else mask, pooling)
    return Answers(embedding=_unit(pooled) if normalize else pooled, hidden=states, mask=mask)


def _plain(
    module: torch.nn.Module, task: Task, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor | None
) -> Answers:
    """A user's own module: inputs by position; a classifier's logits, else all outputs of an example as one vector."""
    import torch

    output = module(*inputs.values())
    if hasattr(output, "logits"):
        output = output.logits
    parts = list(output.values()) if isinstance(output, Mapping) else output
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    if task not in ("tensors", "embedding"):
        return Answers(logits=parts[0], mask=mask)
    return Answers(embedding=torch.cat([part.flatten(1) for part in parts], dim=1), mask=mask)


def pooled_tokens(tokens: torch.Tensor, mask: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
    """[batch, tokens, width] -> [batch, width] as sentence-transformers pools, padding left out; None is the mean."""
    kept = mask.unsqueeze(-1)
    how: Mapping[str, Callable[[], torch.Tensor]] = {
        "cls": lambda: tokens[:, 0],
        "last": lambda: tokens[_rows(tokens), _last(mask)],
        "max": lambda: tokens.masked_fill(~kept, float("-inf")).amax(dim=1),
        "mean": lambda: tokens.masked_fill(~kept, 0.0).sum(dim=1) / kept.sum(dim=1).clamp(min=1),
    }
    return how[pooling or "mean"]()


def _rows(tokens: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.arange(len(tokens), device=tokens.device)


def _last(mask: torch.Tensor) -> torch.Tensor:
    """The position of each row's last token that counts."""
    import torch

    positions = torch.arange(mask.shape[1], device=mask.device)
    return (mask * positions).amax(dim=1)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.normalize(vectors, dim=-1, eps=1e-12)


def encoded(
    model: SourceModel, training: Training, most_tokens: int = MOST_TOKENS
) -> tuple[list[Example], list[NDArray[np.int64]] | None]:
    """(examples, their labels by class index or None), one an input, by the source's own tokenizer.

    Texts are cut to `most_tokens`, or the model's longest input. Token classification: the first token of each word
    carries its label, all others IGNORED. NoData where there is nothing; BadEvalData names an input without tokens;
    LabelMismatch a label that the model does not have.
    """
    if not len(training):
        raise NoData(f"{training.origin}: there is nothing to train on", "give --data a file with rows")
    if training.arrays:
        return [_without_batch(each) for each in training.arrays], _classes(model, training.labels)
    if training.words:
        return _encoded_words(model, training, most_tokens)
    examples, _ = _encoded_texts(model, training.texts, most_tokens)
    return examples, _classes(model, training.labels)


def _without_batch(arrays: Mapping[str, NDArray[Any]]) -> Example:
    """Evaluation data has a batch axis of 1; one picture without it, [3, height, width], is taken as well."""
    if all(each.ndim == 4 if name == "pixel_values" else each.shape[:1] == (1,) for name, each in arrays.items()):
        return {name: each[0] for name, each in arrays.items()}
    return dict(arrays)


def pad_id(model: SourceModel) -> int:
    """What fills input_ids: the configuration's padding id, 0 where it names none."""
    known = model.config.get("pad_token_id")
    return known if isinstance(known, int) and known >= 0 else 0


def _encoded_texts(model: SourceModel, texts: Sequence[str], most_tokens: int) -> tuple[list[Example], list[Any]]:
    """(examples, the offsets of each one's tokens)."""
    from edgekit.torch_model import load_tokenizer

    if model.text is None:
        raise UnsupportedModel(f"{model.name} has no tokenizer to read the texts with", "give pictures or arrays")
    tokenizer = load_tokenizer(model)
    tokenizer.enable_truncation(min(model.text.max_tokens, most_tokens))
    examples: list[Example] = []
    offsets: list[Any] = []
    for start in range(0, len(texts), 1000):  # what the tokenizer returns is many times larger than the ids
        for number, found in enumerate(tokenizer.encode_batch(list(texts[start : start + 1000])), start + 1):
            if not found.ids:
                raise BadEvalData(f"row {number} has no tokens: {texts[number - 1][:40]!r}", "drop the row")
            ids = np.array(found.ids, np.int32)
            examples.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
            offsets.append(found.offsets if model.task == "token-classification" else None)
    return examples, offsets


def _encoded_words(
    model: SourceModel, training: Training, most_tokens: int
) -> tuple[list[Example], list[NDArray[np.int64]] | None]:
    texts = [" ".join(words) for words in training.words]
    examples, offsets = _encoded_texts(model, texts, most_tokens)
    if training.labels is None:
        return examples, None
    labels: list[NDArray[np.int64]] = []
    known = {label: index for index, label in enumerate(model.labels)}
    for number, (words, names, text, spans) in enumerate(
        zip(training.words, training.labels, texts, offsets, strict=True), 1
    ):
        if isinstance(names, str) or len(names) != len(words):
            raise LabelMismatch(f"row {number} has {len(words)} words and {len(names)} labels", "give one a word")
        begins: dict[int, int] = {}
        for index, (start, end) in enumerate(spans):
            while start < end and text[start].isspace():  # byte-level tokens carry the space before a word
                start += 1
            if start < end:
                begins.setdefault(start, index)
        row = np.full(len(spans), IGNORED, np.int64)
        at = 0
        for word, name in zip(words, names, strict=True):
            if at in begins:
                row[begins[at]] = _index(name, known, number)
            at += len(word) + 1
        labels.append(row)
    return examples, labels


def _classes(
    model: SourceModel, labels: tuple[str, ...] | tuple[tuple[str, ...], ...] | None
) -> list[NDArray[np.int64]] | None:
    if labels is None:
        return None
    known = {label: index for index, label in enumerate(model.labels)}
    return [np.array(_index(name, known, number), np.int64) for number, name in enumerate(labels, 1)]


def _index(name: str | Sequence[str], known: Mapping[str, int], number: int) -> int:
    if not isinstance(name, str) or name not in known:
        has = ", ".join(list(known)[:8]) + (", ..." if len(known) > 8 else "")
        raise LabelMismatch(f"row {number} is labelled {name!r}, which the model does not have", f"it has {has}")
    return known[name]
