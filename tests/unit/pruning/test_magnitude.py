"""The smallest weights of each matrix go; compressed bytes are those that zlib makes."""

from __future__ import annotations

import copy
import zlib

import pytest
import torch
from fixtures.students import Teacher, teacher_of

from edgekit.errors import UsageError
from edgekit.pruning.cutting import weights
from edgekit.pruning.magnitude import check_gain, compressed, masks, zero
from edgekit.pruning.record import Compressed

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


def test_zeros_that_make_one_of_the_files_smaller_are_worth_it(bert: Teacher) -> None:
    check_gain(0.5, compressed(bert.module, weights(bert.module, 0.5).module))
    larger, smaller = (
        Compressed(stored_as="float32", plain_bytes=99, before_bytes=50, after_bytes=50),
        Compressed(stored_as="int8 per row", plain_bytes=33, before_bytes=20, after_bytes=19),
    )
    check_gain(0.05, (larger, smaller))
    asked = iter((smaller, larger))
    check_gain(0.05, asked)
    assert next(asked) == larger  # deflating a large model again takes minutes


def test_zeros_that_make_neither_smaller_are_refused_with_the_bytes(bert: Teacher) -> None:
    with pytest.raises(UsageError, match="--unstructured 5% makes no compressed file smaller") as refused:
        check_gain(0.05, compressed(bert.module, bert.module))
    for each in compressed(bert.module, bert.module):
        assert f"{each.before_bytes:,} deflated bytes as {each.stored_as}, {each.before_bytes:,} before" in (
            refused.value.message
        )
    assert refused.value.remedy == "give a larger share, or cut structures: --heads, --ffn, --layers"


def test_deflated_bytes_are_those_of_the_weights_in_order() -> None:
    module = torch.nn.Linear(64, 64)
    whole = b"".join(each.detach().numpy().tobytes() for each in module.parameters())
    floats, rounded = compressed(module, module)
    assert floats.before_bytes == len(zlib.compress(whole, 6))
    assert rounded.plain_bytes == 64 * 64 + 4 * 64 + 4 * 64


def test_a_share_of_nothing_keeps_all(bert: Teacher) -> None:
    assert all(bool(each.all()) for each in masks(bert.module, 0.0).values())
