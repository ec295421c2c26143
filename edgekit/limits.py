"""Limits: what a bundle must hold to be shipped. Each has a default, a flag, and a row in the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

DEFAULT_CONTEXT_TOKENS = 2048

Prefer = Literal["accuracy", "speed", "size"]
Sensitivity = Literal["normal", "high"]


@dataclass(frozen=True)
class Preferences:
    """What is wanted of the candidates that hold every limit.

    `prefer` None: the most faithful quantized candidate, ties to the faster, the unquantized model as a fallback.
    `sensitivity` "high" (maths, code, safety): types below five bits are tried only where measured fidelity allows.
    `lengths` are the input lengths, in tokens, that latency is told at; `threads` None: the device's fast cores.
    """

    prefer: Prefer | None = None
    sensitivity: Sensitivity = "normal"
    lengths: tuple[int, ...] = (16, 128, 512)
    threads: int | None = None


@dataclass(frozen=True)
class Limits:
    """None means that nothing is asked, except for `max_ram_bytes`, where it means what the device lets an app use.

    `max_slowdown` is the bundle's median latency over the fp32 original's, both on the machine that measures.
    `max_drop` is in points of the task metric (accuracy, Spearman's rho: 0.01 is one point), original minus bundle,
    and is asked only where `--eval` brings labels.
    """

    max_ram_bytes: int | None = None
    max_disk_bytes: int | None = None
    max_latency_ms: float | None = None
    min_tokens_per_s: float | None = None
    min_cosine: float = 0.98
    min_neighbours: float | None = None
    min_agreement: float = 0.99
    max_kl: float = 0.1
    max_kl_p99: float | None = None
    min_top1: float = 0.85
    max_perplexity_ratio: float | None = None
    max_drop: float = 0.01
    max_slowdown: float = 1.0
    context_tokens: int = DEFAULT_CONTEXT_TOKENS

    def changed(self) -> dict[str, float]:
        """The limits that differ from the defaults, by name."""
        return {
            item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name) != item.default
        }


FIDELITY_LIMITS: Mapping[str, tuple[Literal["min", "max"], str]] = {
    "mean cosine": ("min", "min_cosine"),
    "similarities kept": ("min", "min_cosine"),
    "neighbours kept": ("min", "min_neighbours"),
    "agreement": ("min", "min_agreement"),
    "top-1 agreement": ("min", "min_top1"),
    "mean KL": ("max", "max_kl"),
    "p99 KL": ("max", "max_kl_p99"),
    "perplexity ratio": ("max", "max_perplexity_ratio"),
    "drop": ("max", "max_drop"),
}
"""Of each fidelity figure in a report: which way it is bound, and the field of Limits that holds it."""
