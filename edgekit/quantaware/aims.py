"""What a model is held to while it learns to be rounded, by task and deployment, and how it is trained by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgekit.model import Task
from edgekit.quantaware.deployed import Deployment

DEFAULT_BUDGET_S = 10 * 60.0


@dataclass(frozen=True)
class Aims:
    """`states` weighs the states of all layers beside the answers, which always count 1; the rest is the recipe's.

    Matrices must move little (a step rounds many weights the other way); norms and biases (`vector_rate`) have far to
    go, above all where activations are rounded: their outliers set the step of all others, and norms and biases make
    the outliers. No `patience` ends a run early: it begins near its best, gets worse while the rate is high, and better
    than it was only as the rate comes down.
    """

    states: float = 0.0
    most_tokens: int = 256
    batch_size: int = 16
    epochs: float = 10
    learning_rate: float = 1e-5
    vector_rate: float = 1000.0
    patience: int = 10**6


_AIMS: Mapping[Task, Aims] = {
    "embedding": Aims(states=0.5),
    "text-classification": Aims(states=0.5),
    "token-classification": Aims(states=0.5),
    "image-classification": Aims(states=0.5),
    "causal-lm": Aims(batch_size=4),
}
TASKS = tuple(_AIMS)
# Of matrices, and how many times as large that of norms and biases is.
_RATES: Mapping[Deployment, tuple[float, float]] = {"onnx-int8": (1e-5, 1000.0), "gguf-Q4_0": (2e-5, 10.0)}


def aims_for(task: Task, deployment: Deployment) -> Aims:
    """KeyError for a task without a row."""
    learning_rate, vector_rate = _RATES[deployment]
    return replace(_AIMS[task], learning_rate=learning_rate, vector_rate=vector_rate)
