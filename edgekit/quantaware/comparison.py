"""What rounding takes from a model, and how much of that training gave back, on rows that training never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.strategies.distill.lesson import Lesson, evenly

if TYPE_CHECKING:
    import torch
    from torch import nn

_MOST_ROWS = 256
_RESAMPLES = 2000


@dataclass(frozen=True)
class Recovery:
    """`plain` and `trained` are mean losses of fidelity against the float model over `rows` held-out rows, each row
    asked alone: 1 - cosine of embeddings, else the KL divergence of the answers in nats. `share` is the part of `plain`
    that `trained` lacks; `low` and `high` hold 95 % of it by a paired bootstrap over rows (Efron 1979).
    """

    measure: str
    rows: int
    plain: float
    trained: float
    share: float
    low: float
    high: float

    @property
    def told(self) -> str:
        return (
            f"On {self.rows} held-out rows rounding alone costs {self.plain:.2g} ({self.measure} to the float model), "
            f"after training {self.trained:.2g}: {self.share:.0%} recovered "
            f"(95 %: {self.low:.0%} to {self.high:.0%})."
        )


def recovery(
    model: SourceModel, teacher: nn.Module, plain: nn.Module, trained: nn.Module, taught: Lesson, progress: Progress
) -> Recovery:
    """`plain` and `trained` compute as deployed, `teacher` in float32."""
    from edgekit.training.batches import collated

    chosen = evenly(taught.parts.held_out, _MOST_ROWS)
    progress.step(f"compare on {len(chosen)} held-out rows", len(chosen))
    found = np.zeros((2, len(chosen)))
    modules = [each.eval() for each in (teacher, plain, trained)]
    for at, index in enumerate(chosen):
        inputs = collated(taught.examples, np.array([index]), taught.pad).inputs
        wanted, *given = (_answer(model, each, inputs) for each in modules)
        found[:, at] = [_lost(model, each, wanted) for each in given]
        progress.advance(1)
    return recovered(found, "1 - cosine" if model.task == "embedding" else "mean KL")


def recovered(losses: NDArray[np.float64], measure: str) -> Recovery:
    """`losses` [2, rows]: of rounding alone, and after training."""
    draw = np.random.default_rng(0).integers(0, losses.shape[1], (_RESAMPLES, losses.shape[1]))
    plain, trained = losses.mean(axis=1)
    before, after = (each[draw].mean(axis=1) for each in losses)
    low, high = np.quantile(_share(before, after), (0.025, 0.975))
    share = _share(plain, trained)
    return Recovery(measure, losses.shape[1], *(float(each) for each in (plain, trained, share, low, high)))


def _share(plain: Any, trained: Any) -> Any:
    """0 where rounding took nothing: nothing can come back."""
    return np.where(plain > 0, 1 - trained / np.maximum(plain, 1e-30), 0.0)


def _answer(model: SourceModel, module: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    import torch

    from edgekit.training.tasks import answers

    with torch.no_grad():
        found = answers(module, model.task, inputs, pooling=model.pooling, normalize=model.normalize)
    answer = found.embedding if found.embedding is not None else found.logits
    assert answer is not None
    return answer[0].double()


def _lost(model: SourceModel, given: torch.Tensor, wanted: torch.Tensor) -> float:
    from edgekit.training import losses

    if model.task == "embedding":
        return max(0.0, 1 - float(given @ wanted / given.norm() / wanted.norm()))
    many = model.config.get("problem_type") == "multi_label_classification" or wanted.shape[-1] == 1
    return float((losses.independent_kl if many else losses.soft_kl)(given, wanted))
