"""How a run trains, what it came to, and what it is refused for before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from edgekit.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Stopped = Literal["completed", "budget", "patience"]


@dataclass(frozen=True)
class Recipe:
    """AdamW (Loshchilov and Hutter 2019) with a linear warm-up and a cosine decay to 0.

    `batch_size` counts the examples of a step over all processes, so that, for losses that are a mean over examples or
    tokens, the result does not depend on how many share the work. `budget_s` is turned into a number of steps once, by
    the time that the first ones take; `steps` gives that number instead, which makes a run with a budget repeatable.
    `epochs` bounds both. `warmup_share` is the share of the steps in which the rate rises; `clip_norm` the longest
    gradient; `patience` the validations without a new best after which it stops. `vector_rate` multiplies the rate of
    norms and biases (fewer than two axes), which are few and large beside matrices: where a model is nearly right they
    have the longest way to go. `precision` "auto" is bfloat16 or float16 on a GPU and float32 on a CPU. `dropout` draws
    the student's dropout, which a student that imitates seldom gains by. `objective` says in words what the loss is: a
    checkpoint of another is refused.
    """

    learning_rate: float = 2e-4
    batch_size: int = 32
    epochs: float = 10
    budget_s: float | None = None
    warmup_share: float = 0.1
    clip_norm: float = 1.0
    patience: int = 5
    seed: int = 0
    weight_decay: float = 0.01
    vector_rate: float = 1.0
    precision: Precision = "auto"
    steps: int | None = None
    dropout: bool = False
    objective: str = ""

    def __post_init__(self) -> None:
        limits = {
            "learning_rate": (0 < self.learning_rate < 10, "above 0 and below 10"),
            "batch_size": (1 <= self.batch_size <= 2**16, "1 to 65536"),
            "epochs": (0 < self.epochs <= 10**6, "above 0"),
            "budget_s": (self.budget_s is None or 0 < self.budget_s < math.inf, "a number of seconds above 0"),
            "warmup_share": (0 <= self.warmup_share < 1, "0 to below 1"),
            "clip_norm": (self.clip_norm > 0, "above 0"),
            "patience": (self.patience >= 1, "at least 1"),
            "seed": (0 <= self.seed < 2**63, "0 or above"),
            "weight_decay": (0 <= self.weight_decay < 1, "0 to below 1"),
            "vector_rate": (0 < self.vector_rate <= 10**4, "above 0 and at most 10000"),
            "precision": (self.precision in ("auto", "fp32", "bf16", "fp16"), "auto, fp32, bf16 or fp16"),
            "steps": (self.steps is None or 1 <= self.steps < 2**31, "at least 1"),
        }
        for name, (holds, limit) in limits.items():
            if not holds:
                raise UsageError(f"training: {name} is {getattr(self, name)!r}, {limit} is expected")

    def as_dict(self) -> dict[str, float | int | str | bool | None]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True)
class Point:
    """What one validation found. `train_loss` is the mean since the last, at step 0 that of the untrained student."""

    step: int
    seconds: float
    train_loss: float
    validation_loss: float
    learning_rate: float


@dataclass(frozen=True)
class Trained:
    """What a run came to. `steps` were made; `best_step` is the one whose weights the student ends with (0: none was
    better than those it began with). `seconds` counts those of interrupted runs that it continued. `stopped` is what
    ended it: all epochs done, the budget's steps done, or no gain for `patience` validations.
    """

    curve: tuple[Point, ...]
    best_step: int
    best_loss: float
    steps: int
    seconds: float
    stopped: Stopped
    remarks: tuple[str, ...] = ()
    precision: str = "fp32"
    processes: int = 1
