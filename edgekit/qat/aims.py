"""What a model is held to while it learns to be rounded, by task, and how it is trained by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgekit.model import Task
from edgekit.qat.deployed import Deployment
from edgekit.strategies.distill.aims import Aims

DEFAULT_BUDGET_S = 10 * 60.0

# The model answers nearly as its teacher does already: small steps, no softening, and no labels, which would move it
# away from the model that it is to stand for.
_CLASSIFIER = Aims(soft=1.0, temperature=1.0, hidden=0.1, batch_size=16, weight_decay=0.0)
_AIMS: Mapping[Task, Aims] = {
    "embedding": Aims(embedding=1.0, batch_size=16, weight_decay=0.0),
    "text-classification": _CLASSIFIER,
    "token-classification": _CLASSIFIER,
    "image-classification": _CLASSIFIER,
    "causal-lm": Aims(soft=1.0, temperature=1.0, batch_size=4, weight_decay=0.0),
}
TASKS = tuple(_AIMS)

# Matrices must move little (a step rounds many weights the other way); norms and biases have far to go, above all where
# activations are rounded: their outliers set the step of all others, and it is norms and biases that make them.
_RATE: Mapping[Deployment, float] = {"onnx-int8": 2e-5, "gguf-Q4_0": 1e-5}
VECTOR_RATE: Mapping[Deployment, float] = {"onnx-int8": 300.0, "gguf-Q4_0": 10.0}


def aims_for(task: Task, deployment: Deployment) -> Aims:
    """KeyError for a task without a row."""
    return replace(_AIMS[task], learning_rate=_RATE[deployment])
