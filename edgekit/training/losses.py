"""What a student is held to, one plain function a loss; each mean is over the positions that `mask` keeps.

Shapes: logits [..., classes] with a mask [...], states [batch, tokens, width] with a mask [batch, tokens]. A mask is
true (or 1) where a position counts; without one all do. Where none counts, the loss is 0 with a gradient of 0. The
teacher's side is taken as given: no gradient flows into it. Everything is computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of a position that has none."""

_NEVER = -1e9  # a score whose probability is exactly 0 in float32, and whose logarithm is still a number


@dataclass(frozen=True)
class TopLogits:
    """The largest logits of each position, and what the others come to.

    `values` and `ids` [..., k]: logits as the teacher gave them, and which classes they are of, largest first.
    `rest` [...]: log(sum(exp(logit / temperature))) over all other classes, at the one `temperature` it was taken at.
    """

    values: torch.Tensor
    ids: torch.Tensor
    rest: torch.Tensor
    temperature: float


def soft_kl(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float = 1.0,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """T^2 KL(teacher || student) of the distributions softened by temperature T, in nats.

    Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network. The factor T^2 keeps the gradient's
    size independent of T, so that other losses may stand beside it.
    """
    student = (student_logits.float() / temperature).log_softmax(dim=-1)
    teacher = (teacher_logits.detach().float() / temperature).log_softmax(dim=-1)
    divergence = (teacher.exp() * (teacher - student)).sum(dim=-1)
    return temperature**2 * _mean(divergence, mask)


def top_kl(student_logits: torch.Tensor, teacher: TopLogits, mask: torch.Tensor | None = None) -> torch.Tensor:
    """`soft_kl` where of the teacher only the top logits were kept: all others count as one class.

    Never above `soft_kl` at the same temperature, which it equals where all logits were kept (by the data processing
    inequality: merging classes loses what distinguishes them).
    """
    import torch

    temperature = teacher.temperature
    scaled = student_logits.float() / temperature
    top = scaled.gather(-1, teacher.ids)
    rest = scaled.scatter(-1, teacher.ids, _NEVER).logsumexp(dim=-1, keepdim=True)
    student = torch.cat([top, rest], dim=-1).log_softmax(dim=-1)
    kept = torch.cat([teacher.values.float() / temperature, teacher.rest.float().unsqueeze(-1)], dim=-1)
    given = kept.clamp(min=_NEVER).detach().log_softmax(dim=-1)
    return temperature**2 * _mean((given.exp() * (given - student)).sum(dim=-1), mask)


def independent_kl(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float = 1.0,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """`soft_kl` for labels that do not exclude each other: the mean over the labels of each one's yes and no.

    A logit x against 0 is a choice of two with the odds of sigmoid(x).
    """
    import torch

    def pairs(logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([logits, torch.zeros_like(logits)], dim=-1)

    wide = None if mask is None else mask.unsqueeze(-1).expand(student_logits.shape)
    return soft_kl(pairs(student_logits), pairs(teacher_logits), temperature, wide)


def cosine_loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """1 - cosine of the rows of `a` and `b` [batch, width], the mean over the batch.

    The direction is what a sentence embedding is compared by (Reimers and Gurevych 2019, Sentence-BERT).
    """
    import torch

    return (1 - torch.nn.functional.cosine_similarity(a.float(), b.detach().float(), dim=-1)).mean()


def embedding_mse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the embeddings `a` (the student's) and `b` (the teacher's), [batch, width].

    Reimers and Gurevych 2020, Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation.
    """
    return (a.float() - b.detach().float()).square().mean()


def hidden_mse(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared difference of two layers' hidden states of one width, over the tokens that count.

    Jiao et al. 2020, TinyBERT, equation 8, without the projection: give the student's states already projected where
    the widths differ.
    """
    return _mean((student.float() - teacher.detach().float()).square().mean(dim=-1), mask)


def relation_kl(
    student_states: torch.Tensor,
    teacher_states: torch.Tensor,
    relation_heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(teacher || student) of how tokens relate to each other, averaged over heads and tokens; widths may differ.

    Wang et al. 2021, MiniLMv2 (after Wang et al. 2020, MiniLM): the states are cut into `relation_heads` parts of
    width d, and softmax(part part' / sqrt(d)) is what is compared. They take queries, keys and values; any states of
    the same tokens will do. Both widths must be divisible by `relation_heads`: ValueError otherwise.
    """
    student = _relations(student_states, relation_heads, mask)
    teacher = _relations(teacher_states.detach(), relation_heads, mask)
    divergence = (teacher.exp() * (teacher - student)).sum(dim=-1).mean(dim=1)
    return _mean(divergence, mask)


def _relations(states: torch.Tensor, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    """Logarithms of the relations, [batch, heads, tokens, tokens]; masked tokens are related to by nobody."""
    batch, tokens, width = states.shape
    if heads < 1 or width % heads:
        raise ValueError(f"states of width {width} cannot be cut into {heads} relation heads")
    parts = states.float().reshape(batch, tokens, heads, width // heads).transpose(1, 2)
    scores = parts @ parts.transpose(-1, -2) / (width // heads) ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask.bool()[:, None, None, :], _NEVER)
    relations: torch.Tensor = scores.log_softmax(dim=-1)
    return relations


def label_loss(logits: torch.Tensor, labels: torch.Tensor, ignore: int = IGNORED) -> torch.Tensor:
    """Cross-entropy with the true classes `labels` [...], in nats; positions labelled `ignore` do not count."""
    import torch

    flat = labels.reshape(-1).long()
    each = torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), flat, ignore_index=ignore, reduction="none"
    )
    return _mean(each, flat != ignore)


def next_token_loss(logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy of each token given those before it: logits [batch, tokens, vocabulary], ids [batch, tokens].

    A token counts where `mask` keeps it and the one before it.
    """
    targets = ids[:, 1:]
    if mask is not None:
        kept = mask.bool()
        targets = targets.masked_fill(~(kept[:, 1:] & kept[:, :-1]), IGNORED)
    return label_loss(logits[:, :-1], targets)


def _mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Over the kept positions. What is masked out does not reach the sum, were it infinite."""
    if mask is None:
        return values.mean()
    kept = mask.bool()
    return values.masked_fill(~kept, 0.0).sum() / kept.sum().clamp(min=1)
