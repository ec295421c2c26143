"""Fidelity: how close the bundle's answers are to the source model's, and what the labels say of both.

Answers are as in edgekit/reference.py, one float32 array an input. Each comparison returns figures by name and the
per-input (or per-token) series they were computed from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadModel, ValidationFailed
from edgekit.evaluation import Answer

_ROWS = 32
Pairs = Iterable[tuple[Answer, Answer]]


@dataclass(frozen=True)
class Fidelity:
    """`figures` by the names that reports use; `series` are what a chart draws; `inputs` is how many were compared."""

    figures: Mapping[str, float]
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    inputs: int = 0


@dataclass(frozen=True)
class Truth:
    """What is known of the inputs beside the source model's answers.

    `ids`: the token ids of each input (causal LM). `targets`: for each input, (row of the answer, right class) pairs.
    `pair_scores`: human scores of inputs 2i and 2i + 1 (embedding). `multi_label`: each label is its own yes or no.
    """

    ids: Sequence[Sequence[int]] = ()
    targets: Sequence[Sequence[tuple[int, int]]] | None = None
    pair_scores: Sequence[float] | None = None
    multi_label: bool = False

    def first(self, inputs: int, tokens: Sequence[int]) -> Truth:
        """Of the first `inputs` inputs alone, of whose ids `tokens` stay."""
        return replace(
            self,
            ids=[ids[:length] for ids, length in zip(self.ids, tokens, strict=False)],
            targets=None if self.targets is None else self.targets[:inputs],
            pair_scores=None if self.pair_scores is None else self.pair_scores[: inputs // 2],
        )


def compare(task: str, pairs: Pairs, truth: Truth, *, widths_differ: bool = False) -> Fidelity:
    """Compare (source, bundle) answers for `task`; `widths_differ` says that embeddings do so by design."""
    checked = _checked(pairs, widths_differ=widths_differ)
    if task == "causal-lm":
        return _language_model(checked, truth.ids)
    if task in ("text-classification", "token-classification", "image-classification"):
        return _classifier(list(checked), truth)
    return _vectors(list(checked), truth.pair_scores, neighbours=task == "embedding")


def _checked(pairs: Pairs, *, widths_differ: bool) -> Iterable[tuple[Answer, Answer]]:
    for index, (source, bundle) in enumerate(pairs):
        if source.shape != bundle.shape and not (widths_differ and source.ndim == bundle.ndim == 1):
            raise ValidationFailed(
                f"input {index}: the source answers with shape {source.shape}, the bundle with {bundle.shape}",
                "this is a fault of the export or of the tokenizer; please report it",
            )
        if not np.isfinite(source).all():
            raise BadModel(f"input {index}: the source model itself answers with NaN or infinity", "use a sound one")
        if not np.isfinite(bundle).all():
            raise ValidationFailed(f"input {index}: the bundle answers with NaN or infinity", "try another strategy")
        yield source, bundle


def cosine(a: Answer, b: Answer) -> float:
    """Cosine of two vectors in float64; 1 for two zero vectors."""
    left, right = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    if norms == 0.0:
        return 1.0 if not left.any() and not right.any() else 0.0
    return float(left @ right) / norms


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def kl_divergence(source: Answer, bundle: Answer) -> NDArray[np.float64]:
    """KL(source || bundle) in nats of the distributions over the last axis, one figure a row; never below 0."""
    p, q = log_softmax(source), log_softmax(bundle)
    result: NDArray[np.float64] = np.maximum((np.exp(p) * (p - q)).sum(axis=-1), 0.0)
    return result


def _vectors(
    pairs: Sequence[tuple[Answer, Answer]], pair_scores: Sequence[float] | None, *, neighbours: bool
) -> Fidelity:
    """Embeddings of another width, a narrower student's, have no cosine to the source's: what is compared is how they
    resemble one another.
    """
    figures: dict[str, float] = {}
    series: dict[str, Sequence[float]] = {}
    if pairs[0][0].shape == pairs[0][1].shape:
        cosines = [cosine(source, bundle) for source, bundle in pairs]
        figures |= {"mean cosine": float(np.mean(cosines)), "min cosine": float(np.min(cosines))}
        series["cosine"] = cosines
    if neighbours and len(pairs) > 2:
        source = np.stack([pair[0] for pair in pairs])
        bundle = np.stack([pair[1] for pair in pairs])
        if not series:
            figures["similarities kept"] = float(np.mean(similarities_kept(source, bundle)))
        figures["neighbours kept"] = float(np.mean(_nearest(source) == _nearest(bundle)))
    if not neighbours:
        worst = max(float(np.abs(source - bundle).max(initial=0.0)) for source, bundle in pairs)
        figures["max absolute difference"] = worst
    if pair_scores is not None:
        figures |= _metric("spearman", *(_spearman(pairs, side, pair_scores) for side in (0, 1)))
    return Fidelity(figures, series, len(pairs))


def similarities_kept(source: NDArray[np.floating], bundle: NDArray[np.floating]) -> NDArray[np.float64]:
    """For each text the correlation (Pearson) of its cosines to all others, between two [texts, width] of any widths.

    1 where they rank and space all others alike, 0 where either side finds all others equally close.
    """
    ours, theirs = (_others(_similarities(side)) for side in (bundle, source))
    ours, theirs = (side - side.mean(axis=1, keepdims=True) for side in (ours, theirs))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    kept: NDArray[np.float64] = (ours * theirs).sum(axis=1) / np.maximum(norms, 1e-12)
    return kept


def _similarities(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    unit = vectors.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    found: NDArray[np.float64] = unit @ unit.T
    return found


def _others(square: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, n] without its diagonal: [n, n - 1]."""
    count = len(square)
    return square[~np.eye(count, dtype=bool)].reshape(count, count - 1)


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index of each row's nearest other row by cosine."""
    similarity = _similarities(vectors)
    np.fill_diagonal(similarity, -np.inf)
    nearest: NDArray[np.intp] = similarity.argmax(axis=1)
    return nearest


def _spearman(pairs: Sequence[tuple[Answer, Answer]], side: int, scores: Sequence[float]) -> float:
    similarities = [cosine(pairs[2 * index][side], pairs[2 * index + 1][side]) for index in range(len(scores))]
    return spearman(similarities, scores)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties ranked by their mean; 0 where either side is constant."""
    left, right = _ranks(np.asarray(a)), _ranks(np.asarray(b))
    left, right = left - left.mean(), right - right.mean()
    norms = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / norms if norms else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means = last - (counts - 1) / 2
    ranks: NDArray[np.float64] = means[inverse].astype(np.float64)
    return ranks


def _classifier(pairs: Sequence[tuple[Answer, Answer]], truth: Truth) -> Fidelity:
    """Rows are texts or pictures [labels], or the tokens of a text [tokens, labels].

    With one class a row they are compared as distributions over the labels; with independent labels, or one label
    alone, each logit is compared as the logistic yes or no that it is.
    """
    tables = [(np.atleast_2d(source), np.atleast_2d(bundle)) for source, bundle in pairs]
    source = np.concatenate([table[0] for table in tables])
    bundle = np.concatenate([table[1] for table in tables])
    if truth.multi_label or source.shape[1] == 1:
        # A logit x against 0 is a choice of two with the same odds as sigmoid(x).
        source, bundle = (
            np.stack([side.ravel(), np.zeros(side.size, np.float32)], axis=1) for side in (source, bundle)
        )
    divergence = kl_divergence(source, bundle)
    agreement = float(np.mean(source.argmax(axis=1) == bundle.argmax(axis=1)))
    figures = {"agreement": agreement, "mean KL": float(divergence.mean())}
    if truth.targets is not None:
        sides = ([table[side] for table in tables] for side in (0, 1))
        figures |= _metric("accuracy", *(_accuracy(side, truth.targets) for side in sides))
    return Fidelity(figures, {"KL": divergence.tolist()}, len(tables))


def _accuracy(answers: Sequence[Answer], targets: Sequence[Sequence[tuple[int, int]]]) -> float:
    right = [
        int(answer[row].argmax()) == label for answer, rows in zip(answers, targets, strict=True) for row, label in rows
    ]
    return float(np.mean(right))


def _metric(name: str, source: float, bundle: float) -> dict[str, float]:
    return {f"{name} of the source": source, f"{name} of the bundle": bundle, "drop": source - bundle}


def _language_model(pairs: Pairs, ids: Sequence[Sequence[int]]) -> Fidelity:
    """Teacher-forced next-token distributions; the last position of a text predicts nothing that is known."""
    divergences: list[NDArray[np.float64]] = []
    agreements: list[NDArray[np.bool_]] = []
    source_nll: list[float] = []
    bundle_nll: list[float] = []
    for (source, bundle), tokens in zip(pairs, ids, strict=True):
        for start in range(0, len(tokens), _ROWS):  # a vocabulary is wide: a few rows at a time in float64
            ours, theirs = bundle[start : start + _ROWS], source[start : start + _ROWS]
            divergences.append(kl_divergence(theirs, ours))
            agreements.append(theirs.argmax(axis=1) == ours.argmax(axis=1))
            targets = np.asarray(tokens[start + 1 : start + 1 + _ROWS], np.intp)
            rows = np.arange(len(targets))
            source_nll += (-log_softmax(theirs)[rows, targets]).tolist()
            bundle_nll += (-log_softmax(ours)[rows, targets]).tolist()
    divergence = np.concatenate(divergences)
    figures = {
        "mean KL": float(divergence.mean()),
        "p99 KL": float(np.quantile(divergence, 0.99)),
        "top-1 agreement": float(np.concatenate(agreements).mean()),
        "perplexity of the source": float(np.exp(np.mean(source_nll))),
        "perplexity of the bundle": float(np.exp(np.mean(bundle_nll))),
        "perplexity ratio": float(np.exp(np.mean(bundle_nll) - np.mean(source_nll))),
    }
    return Fidelity(figures, {"KL": divergence.tolist()}, len(ids))
