"""A loss by which a model's own answers matter, whose gradient at the model itself is not zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekit.training.losses import IGNORED

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgekit.model import SourceModel
    from edgekit.training.batches import Batch


def own_loss(model: SourceModel, seed: int = 0) -> Callable[[nn.Module, Batch], torch.Tensor]:
    """The mean loss of a batch under the labels where there are any, or else under answers drawn from the module.

    A module matches itself perfectly: the gradient of any distance to its own answers is zero. With a class drawn from
    its own distribution, the squared gradient of the log-likelihood is in the mean the Fisher information, the
    curvature of that distance (Amari 1998; Theis et al. 2018 prune by it); with a direction drawn at random, that of
    the squared distance of embeddings. A causal LM is asked for the next token of the text.
    """
    from edgekit.training.tasks import answers

    generator: list[torch.Generator] = []

    def loss(module: nn.Module, batch: Batch) -> torch.Tensor:
        import torch
        from torch.nn import functional

        if not generator:
            generator.append(torch.Generator().manual_seed(seed))
        found = answers(
            module, model.task, batch.inputs, pooling=model.pooling, normalize=model.normalize, hidden=False
        )
        if found.embedding is not None:
            direction = torch.randn(found.embedding.shape, generator=generator[0])
            return (found.embedding * direction).sum(-1).mean()
        assert found.logits is not None
        logits = found.logits
        if model.config.get("problem_type") == "multi_label_classification" or logits.shape[-1] == 1:
            drawn = torch.bernoulli(logits.detach().sigmoid(), generator=generator[0])
            return functional.binary_cross_entropy_with_logits(logits, drawn)
        wanted = batch.labels
        if model.task == "causal-lm":
            logits = logits[:, :-1]
            wanted = batch.inputs["input_ids"][:, 1:]
            wanted = wanted.masked_fill(batch.inputs["attention_mask"][:, 1:] == 0, IGNORED)
        elif wanted is None:
            chances = logits.detach().softmax(-1).flatten(0, -2)
            wanted = torch.multinomial(chances, 1, generator=generator[0]).reshape(logits.shape[:-1])
            mask = batch.inputs.get("attention_mask")
            if mask is not None and wanted.ndim == 2:
                wanted = wanted.masked_fill(mask == 0, IGNORED)
        return functional.cross_entropy(logits.flatten(0, -2), wanted.flatten(), ignore_index=IGNORED)

    return loss
