"""Logits to labelled scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import RunFailed

Floats = npt.NDArray[np.float32]
Label = dict[str, Any]


def probabilities(logits: Floats, problem_type: str | None) -> Floats:
    """Softmax over the last axis; the logistic function where labels are independent, or there is only one."""
    logits = logits.astype(np.float32)
    if problem_type == "multi_label_classification" or logits.shape[-1] == 1:
        return np.asarray(np.exp(-np.logaddexp(np.float32(0), -logits)), np.float32)
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)


def names(labels: Sequence[str], count: int) -> list[str]:
    """The manifest's labels, or LABEL_0, LABEL_1, ... where it has none."""
    if labels and len(labels) != count:
        raise RunFailed(f"the model scores {count} labels, the manifest names {len(labels)}")
    return list(labels) or [f"LABEL_{index}" for index in range(count)]


def ranked(scores: Floats, labels: Sequence[str]) -> list[Label]:
    """[{label, score}] of one input, best first."""
    order = np.argsort(-scores, kind="stable")
    named = names(labels, len(scores))
    return [{"label": named[index], "score": float(scores[index])} for index in order]


def tokens(text: str, windows: Sequence[tuple[Any, Floats]], labels: Sequence[str]) -> list[Label]:
    """One {start, end, word, label, score} per token; offsets count characters; special tokens are left out.

    `windows` are (tokenizers.Encoding, scores [tokens and padding, labels]) of consecutive pieces of the text.
    """
    found = []
    for encoding, scores in windows:
        named = names(labels, scores.shape[-1])
        columns = zip(encoding.offsets, encoding.special_tokens_mask, scores, strict=False)
        for (start, end), special, row in columns:
            if not special:
                best = int(row.argmax())
                word = text[start:end]
                found.append(
                    {"start": start, "end": end, "word": word, "label": named[best], "score": float(row[best])}
                )
    return found
