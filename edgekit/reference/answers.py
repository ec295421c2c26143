"""What a reference answers with, and how outputs become it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgekit.evaluation import Answer
from edgekit.model import SourceModel


def pool(hidden: Answer, model: SourceModel) -> Answer:
    """[tokens, width] -> [width], as sentence-transformers does for one unpadded text."""
    how: Mapping[str, Callable[[Answer], Answer]] = {
        "cls": lambda rows: rows[0],
        "last": lambda rows: rows[-1],
        "max": lambda rows: rows.max(axis=0),
        "mean": lambda rows: rows.mean(axis=0),
    }
    pooled = how[model.pooling or "mean"](hidden)
    return pooled / max(float(np.linalg.norm(pooled)), 1e-12) if model.normalize else pooled


def flat(output: Any) -> Answer:
    """All float outputs of a model, in their order, as one vector; a Hugging Face classifier's is its logits."""
    if hasattr(output, "logits"):
        output = output.logits
    if isinstance(output, Mapping):
        output = tuple(output.values())
    parts = output if isinstance(output, (tuple, list)) else (output,)
    return np.concatenate([np.asarray(part, dtype=np.float32).ravel() for part in parts])
