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
_CLASSIFIER = Aims(soft=1.0, temperature=1.0, hidden=0.1, learning_rate=2e-5, weight_decay=0.0)
_AIMS: Mapping[Task, Aims] = {
    "embedding": Aims(embedding=1.0, hidden=0.1, learning_rate=5e-5, weight_decay=0.0),
    "text-classification": _CLASSIFIER,
    "token-classification": _CLASSIFIER,
    "image-classification": _CLASSIFIER,
    "causal-lm": Aims(soft=1.0, temperature=1.0, learning_rate=1e-4, batch_size=8, weight_decay=0.0),
}
TASKS = tuple(_AIMS)


def aims_for(task: Task, deployment: Deployment) -> Aims:
    """KeyError for a task without a row. Rounding activations makes gradients noisier than rounding weights does."""
    aims = _AIMS[task]
    return replace(aims, learning_rate=2 * aims.learning_rate) if deployment == "gguf-Q4_0" else aims
