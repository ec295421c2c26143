"""The smallest weights of each matrix go; compressed bytes are those that zlib makes."""

from __future__ import annotations

import copy
import zlib

import pytest
import torch
from fixtures.students import Teacher, teacher_of

from edgekit.pruning.cutting import weights
from edgekit.pruning.magnitude import compressed, masks, zero

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return teacher_of("bert", tmp_path_factory.mktemp("bert") / "model")


def test_half_of_each_matrix_goes_and_nothing_else(bert: Teacher) -> None:
    cut = weights(bert.module, 0.5)
    before = dict(bert.module.named_parameters())
    for name, after in cut.module.named_parameters():
        if "layer." in name and after.ndim == 2:
            gone = after == 0
            assert int(gone.sum()) == after.numel() // 2
            assert before[name][gone].abs().max() <= before[name][~gone].abs().min()
            assert torch.equal(after[~gone], before[name][~gone])
        else:
            assert torch.equal(after, before[name])
    (told,) = cut.removed
    assert told.what == "weights"
    assert 2 * told.gone == told.had


def test_zeros_stay_where_the_masks_are_put_on_again(bert: Teacher) -> None:
    module = copy.deepcopy(bert.module)
    kept = masks(module, 0.3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    zero(module, kept)
    for name, parameter in module.named_parameters():
        if name in kept:
            assert torch.equal(parameter == 0, ~kept[name])


def test_compressed_bytes_shrink_by_zeros_and_only_by_them(bert: Teacher) -> None:
    cut = weights(bert.module, 0.5)
    floats, whole = compressed(bert.module, cut.module)
    assert floats.plain_bytes == 4 * sum(each.numel() for each in bert.module.parameters())
    assert floats.after_bytes < 0.85 * floats.before_bytes
    assert whole.plain_bytes < 0.3 * floats.plain_bytes
    assert whole.after_bytes < whole.before_bytes
    same = compressed(bert.module, bert.module)
    assert all(each.before_bytes == each.after_bytes for each in same)


def test_deflated_bytes_are_those_of_the_weights_in_order() -> None:
    module = torch.nn.Linear(64, 64)
    whole = b"".join(each.detach().numpy().tobytes() for each in module.parameters())
    floats, rounded = compressed(module, module)
    assert floats.before_bytes == len(zlib.compress(whole, 6))
    assert rounded.plain_bytes == 64 * 64 + 4 * 64 + 4 * 64


def test_a_share_of_nothing_keeps_all(bert: Teacher) -> None:
    assert all(bool(each.all()) for each in masks(bert.module, 0.0).values())
