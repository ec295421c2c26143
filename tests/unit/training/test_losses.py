"""Every loss against the formula of its paper, written out in float64, and against figures worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytestmark = pytest.mark.engines

Table = NDArray[np.float64]


def tensor(values: Any, *, grad: bool = False) -> Any:
    import torch

    made = torch.tensor(np.asarray(values), dtype=torch.float32)
    return made.requires_grad_() if grad else made


def mask_of(values: Any) -> Any:
    import torch

    return torch.tensor(np.asarray(values)).bool()


def softmax(values: Table) -> Table:
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Table = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def kl(p: Table, q: Table) -> Table:
    result: Table = (p * (np.log(p) - np.log(q))).sum(axis=-1)
    return result


def drawn(*shape: int, seed: int = 0) -> Table:
    return np.random.default_rng(seed).normal(size=shape)


def test_soft_kl_by_hand() -> None:
    """Teacher (ln 3, 0) is (3/4, 1/4), student (0, 0) is (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2."""
    from edgekit.training.losses import soft_kl

    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(soft_kl(tensor([[0, 0]]), tensor([[math.log(3), 0]]))) == pytest.approx(expected, rel=1e-5)
    # At T = 2 the teacher of twice the logit is the same distribution, and the loss four times as large.
    twice = soft_kl(tensor([[0, 0]]), tensor([[2 * math.log(3), 0]]), 2.0)
    assert float(twice) == pytest.approx(4 * expected, rel=1e-5)


def test_the_temperature_leaves_the_gradients_size_alone() -> None:
    """Hinton et al. 2015, section 2.1: at high temperature T^2 KL goes to |logits' difference|^2 / (2 classes)."""
    from edgekit.training.losses import soft_kl

    student, teacher = drawn(4, 6), drawn(4, 6, seed=1)
    student -= student.mean(axis=1, keepdims=True)
    teacher -= teacher.mean(axis=1, keepdims=True)
    found = float(soft_kl(tensor(student), tensor(teacher), 100.0))
    assert found == pytest.approx(float(((student - teacher) ** 2).sum(axis=1).mean() / 12), rel=0.05)


def test_soft_kl_of_a_sequence_counts_what_the_mask_keeps() -> None:
    from edgekit.training.losses import soft_kl

    student, teacher = drawn(2, 3, 5), drawn(2, 3, 5, seed=1)
    kept = np.array([[1, 1, 0], [1, 0, 0]])
    each = kl(softmax(teacher), softmax(student))
    assert float(soft_kl(tensor(student), tensor(teacher), 1.0, mask_of(kept))) == pytest.approx(
        float(each[kept == 1].mean()), rel=1e-5
    )


def test_independent_kl_is_that_of_each_labels_yes_and_no() -> None:
    from edgekit.training.losses import independent_kl

    student, teacher = drawn(3, 4), drawn(3, 4, seed=1)
    p, q = 1 / (1 + np.exp(-teacher)), 1 / (1 + np.exp(-student))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    assert float(independent_kl(tensor(student), tensor(teacher))) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("top", [1, 3, 8])
def test_top_kl_is_soft_kl_of_the_merged_classes(top: int, temperature: float) -> None:
    import torch

    from edgekit.training.losses import TopLogits, soft_kl, top_kl

    student, teacher = tensor(drawn(5, 8), grad=True), tensor(drawn(5, 8, seed=1))
    values, ids = teacher.topk(top, dim=-1)
    rest = (teacher / temperature).scatter(-1, ids, float("-inf")).logsumexp(dim=-1)
    loss = top_kl(student, TopLogits(values, ids, rest, temperature))
    p = softmax(teacher.numpy().astype(np.float64) / temperature)
    q = softmax(student.detach().numpy().astype(np.float64) / temperature)
    merged = []
    for row in range(5):
        own = ids[row].numpy()
        pairs = [(p[row, each], q[row, each]) for each in own]
        if top < 8:
            pairs.append((1 - sum(pair[0] for pair in pairs), 1 - sum(pair[1] for pair in pairs)))
        merged.append(sum(a * math.log(a / b) for a, b in pairs))
    assert float(loss.detach()) == pytest.approx(temperature**2 * float(np.mean(merged)), rel=1e-4)
    assert float(loss.detach()) <= float(soft_kl(student.detach(), teacher, temperature)) + 1e-6
    loss.backward()
    assert bool(torch.isfinite(student.grad).all())
    assert float(student.grad.abs().max()) > 0


def test_top_kl_of_all_classes_has_the_gradient_of_soft_kl() -> None:
    import torch

    from edgekit.training.losses import TopLogits, soft_kl, top_kl

    teacher = tensor(drawn(5, 8, seed=1))
    values, ids = teacher.topk(8, dim=-1)
    gradients = []
    for loss in (
        lambda student: top_kl(student, TopLogits(values, ids, torch.full((5,), -np.inf), 2.0)),
        lambda student: soft_kl(student, teacher, 2.0),
    ):
        student = tensor(drawn(5, 8), grad=True)
        loss(student).backward()
        gradients.append(student.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_cosine_loss_by_hand() -> None:
    """(3, 4) against (4, 3): 24 / 25; against (-3, -4): -1."""
    from edgekit.training.losses import cosine_loss

    assert float(cosine_loss(tensor([[3, 4]]), tensor([[4, 3]]))) == pytest.approx(1 / 25, rel=1e-5)
    assert float(cosine_loss(tensor([[3, 4], [3, 4]]), tensor([[4, 3], [-3, -4]]))) == pytest.approx(1.02, rel=1e-5)


def test_mean_squares_by_hand() -> None:
    from edgekit.training.losses import embedding_mse, hidden_mse

    assert float(embedding_mse(tensor([[1, 2]]), tensor([[3, 5]]))) == pytest.approx((4 + 9) / 2)
    states, given_states = tensor([[[1, 1], [5, 5]]]), tensor([[[2, 3], [0, 0]]])
    assert float(hidden_mse(states, given_states, mask_of([[1, 0]]))) == pytest.approx((1 + 4) / 2)
    assert float(hidden_mse(states, given_states)) == pytest.approx((1 + 4 + 25 + 25) / 4)


def relations(states: Table, heads: int, tokens: int) -> Table:
    """softmax(A A^T / sqrt(d)) of each head of one example's first `tokens` tokens: MiniLMv2, equation 2."""
    width = states.shape[-1] // heads
    made = np.empty((heads, tokens, tokens))
    for head in range(heads):
        part = states[:tokens, head * width : (head + 1) * width]
        made[head] = softmax(part @ part.T / math.sqrt(width))
    return made


def test_relation_kl_across_widths_with_padding() -> None:
    from edgekit.training.losses import relation_kl

    student, teacher = drawn(2, 4, 8), drawn(2, 4, 12, seed=1)
    lengths, heads = (4, 2), 4
    sums, count = 0.0, 0
    for example, length in enumerate(lengths):
        p, q = (relations(side[example], heads, length) for side in (teacher, student))
        sums += float(kl(p, q).mean(axis=0).sum())
        count += length
    kept = mask_of([[1, 1, 1, 1], [1, 1, 0, 0]])
    found = relation_kl(tensor(student), tensor(teacher), heads, kept)
    assert float(found) == pytest.approx(sums / count, rel=1e-4)


def test_relations_of_a_width_that_the_heads_do_not_divide_are_refused() -> None:
    from edgekit.training.losses import relation_kl

    with pytest.raises(ValueError, match="width 10 cannot be cut into 4"):
        relation_kl(tensor(drawn(1, 2, 10)), tensor(drawn(1, 2, 8)), 4)


def test_label_loss_by_hand() -> None:
    """-ln softmax(ln 3, 0)[0] = -ln 3/4; the second position has no label."""
    from edgekit.training.losses import label_loss

    logits, labels = tensor([[[math.log(3), 0], [9, 0]]]), mask_of([[0, 0]]).long()
    labels[0, 1] = -100
    assert float(label_loss(logits, labels)) == pytest.approx(-math.log(0.75), rel=1e-5)


def test_next_token_loss_reads_each_token_from_the_one_before() -> None:
    import torch

    from edgekit.training.losses import next_token_loss

    logits, ids = drawn(2, 4, 6), np.array([[1, 2, 3, 4], [5, 0, 0, 0]])
    kept = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    log_p = np.log(softmax(logits))
    expected = [-log_p[0, at, ids[0, at + 1]] for at in range(3)] + [-log_p[1, 0, 0]]
    found = next_token_loss(tensor(logits), torch.tensor(ids), mask_of(kept))
    assert float(found) == pytest.approx(float(np.mean(expected)), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 5),
    padding=st.integers(0, 4),
    seed=st.integers(0, 1000),
    junk=st.sampled_from([0.0, 1e4, float("inf"), float("nan")]),
)
def test_padding_changes_no_loss(batch: int, tokens: int, padding: int, seed: int, junk: float) -> None:
    """Whatever stands in padded positions, were it no number at all."""
    import torch

    from edgekit.training.losses import hidden_mse, relation_kl, soft_kl

    student, teacher = (tensor(drawn(batch, tokens, 8, seed=seed + side)) for side in (0, 1))
    finite = junk if math.isfinite(junk) else 1e4
    pad = torch.full((batch, padding, 8), junk)
    mask = torch.cat([torch.ones(batch, tokens), torch.zeros(batch, padding)], dim=1).bool()
    whole = torch.ones(batch, tokens).bool()
    wide = [torch.cat([side, pad], dim=1) for side in (student, teacher)]
    tame = [torch.cat([side, pad.nan_to_num(finite, finite, finite)], dim=1) for side in (student, teacher)]
    for padded, plain in (
        (soft_kl(*wide, 2.0, mask), soft_kl(student, teacher, 2.0, whole)),
        (hidden_mse(*wide, mask), hidden_mse(student, teacher, whole)),
        (relation_kl(*tame, 2, mask), relation_kl(student, teacher, 2, whole)),
    ):
        assert float(padded) == pytest.approx(float(plain), rel=1e-4, abs=1e-6)


def test_where_nothing_counts_the_loss_and_its_gradient_are_0() -> None:
    from edgekit.training.losses import hidden_mse, label_loss, relation_kl, soft_kl

    nothing = mask_of(np.zeros((2, 3)))
    for loss in (
        lambda student: soft_kl(student, tensor(drawn(2, 3, 4)), 2.0, nothing),
        lambda student: hidden_mse(student, tensor(drawn(2, 3, 4)), nothing),
        lambda student: relation_kl(student, tensor(drawn(2, 3, 4)), 2, nothing),
        lambda student: label_loss(student, nothing.long() - 100),
    ):
        student = tensor(drawn(2, 3, 4, seed=1), grad=True)
        value = loss(student)
        value.backward()
        assert float(value.detach()) == 0
        assert float(student.grad.abs().max()) == 0


def test_a_perfect_student_loses_nothing_and_the_teacher_learns_nothing() -> None:
    from edgekit.training import losses

    for loss in (losses.soft_kl, losses.independent_kl, losses.hidden_mse, losses.embedding_mse, losses.cosine_loss):
        student, teacher = tensor(drawn(3, 4), grad=True), tensor(drawn(3, 4), grad=True)
        value = loss(student, teacher)
        value.backward()
        assert float(value.detach()) == pytest.approx(0, abs=1e-6)
        assert teacher.grad is None
