"""Perplexity of language models on one text, window by window, with intervals from resampling the windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.distilling.bootstrap import of_sums
from edgekit.model import SourceModel
from edgekit.torch_model import load_tokenizer, load_torch

_BATCH = 8


def windows(model: SourceModel, text: str, tokens: int) -> NDArray[np.int64]:
    """[windows, tokens]: the text's ids without special ones, cut in order; what is left at the end is dropped."""
    tokenizer = load_tokenizer(model)
    tokenizer.no_truncation()
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
    count = len(ids) // tokens
    if not count:
        raise SystemExit(f"the held-out text has {len(ids)} tokens, a window takes {tokens}")
    return ids[: count * tokens].reshape(count, tokens)


def perplexities(models: Mapping[str, SourceModel], ids: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Of each model, and over the first one's; all but the first token of a window count."""
    found = {name: log_likelihoods(model, ids) for name, model in models.items()}
    first = next(iter(found.values()))
    return {name: _figures(each, first) for name, each in found.items()}


def log_likelihoods(model: SourceModel, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative, in nats: the mean of each window's tokens, [windows]."""
    import torch

    from edgekit.training.losses import next_token_loss

    module: Any = load_torch(model)
    found = []
    with torch.inference_mode():
        for start in range(0, len(ids), _BATCH):
            chosen = torch.from_numpy(ids[start : start + _BATCH])
            logits = module(input_ids=chosen, use_cache=False).logits
            found += [
                float(next_token_loss(logits[row : row + 1], chosen[row : row + 1])) for row in range(len(chosen))
            ]
    return np.array(found)


def _figures(own: NDArray[np.float64], first: NDArray[np.float64]) -> dict[str, float]:
    alone, beside = (
        of_sums(np.stack([each, np.ones_like(each)], axis=1), lambda sums: np.exp(sums[..., 0] / sums[..., 1]))
        for each in (own, own - first)
    )
    return {
        "perplexity": alone.value,
        "low": alone.low,
        "high": alone.high,
        "ratio": beside.value,
        "ratio_low": beside.low,
        "ratio_high": beside.high,
    }
