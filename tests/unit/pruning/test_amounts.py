"""How much goes: shares come to whole heads and steps of channels, or are refused with what would."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.pruning.amounts import Amounts, removed, target_of
from edgekit.students.families import family_of
from edgekit.students.shape import Shape

ENCODER, DECODER = family_of("bert"), family_of("llama")
MINILM = Shape(layers=6, hidden=384, heads=12, kv_heads=12, head_size=32, inner=1536)
LLAMA = Shape(layers=4, hidden=256, heads=8, kv_heads=4, head_size=32, inner=1024)


def test_shares_come_to_heads_channels_and_layers() -> None:
    target = target_of(MINILM, ENCODER, Amounts(heads=0.25, ffn=0.5, layers=2))
    assert target == Shape(4, 384, 9, 9, 32, 768)
    assert [(each.what, each.gone, each.had) for each in removed(MINILM, target)] == [
        ("layers", 2, 6),
        ("heads", 3, 12),
        ("feed-forward channels", 768, 1536),
    ]


def test_shared_keys_go_with_their_heads() -> None:
    target = target_of(LLAMA, DECODER, Amounts(heads=0.25))
    assert (target.heads, target.kv_heads) == (6, 3)
    assert [each.what for each in removed(LLAMA, target)] == ["heads", "key/value heads"]
    one_key = replace(LLAMA, kv_heads=1)
    target = target_of(one_key, DECODER, Amounts(heads=0.25))
    assert (target.heads, target.kv_heads) == (6, 1)


@pytest.mark.parametrize(
    ("amounts", "told", "remedy"),
    [
        (Amounts(heads=0.01), "is none of them", "give 8.33%"),
        (Amounts(heads=0.99), "is all of them", "give 91.7%"),
        (Amounts(ffn=0.01), "in steps of 64, is none of them", "give 4.17%"),
        (Amounts(ffn=0.999), "is all of them", "give 95.8%"),
        (Amounts(layers=6), "--layers is 6, the model has 6", "leave one layer at least"),
    ],
)
def test_nothing_and_everything_are_refused(amounts: Amounts, told: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        target_of(MINILM, ENCODER, amounts)
    assert refused.value.remedy == remedy


def test_one_head_cannot_go() -> None:
    with pytest.raises(UsageError) as refused:
        target_of(replace(LLAMA, heads=1, kv_heads=1, hidden=32), DECODER, Amounts(heads=0.5))
    assert refused.value.remedy == "they cannot be pruned"


@pytest.mark.parametrize("share", [1.0, 1.5, -0.1, float("nan")])
@pytest.mark.parametrize("name", ["heads", "ffn", "unstructured"])
def test_shares_out_of_range_are_refused(name: str, share: float) -> None:
    with pytest.raises(UsageError, match=f"--{name} is"):
        Amounts(**{name: share})  # type: ignore[arg-type]


def test_nothing_at_all_or_both_ways_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing is to go"):
        Amounts()
    with pytest.raises(UsageError, match="either in structures or one by one"):
        Amounts(heads=0.5, unstructured=0.5)
    with pytest.raises(UsageError, match="--layers is -1"):
        Amounts(layers=-1)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.integers(0, 3))
def test_what_is_left_is_as_near_to_the_shares_as_steps_allow(heads: float, ffn: float, layers: int) -> None:
    try:
        target = target_of(LLAMA, DECODER, Amounts(heads, ffn, layers))
    except UsageError:
        assert min(heads, 1 - heads) <= 0.5 / 4 or min(ffn, 1 - ffn) <= 32 / 1024
        return
    assert abs(1 - target.kv_heads / 4 - heads) <= 0.5 / 4
    assert target.heads == 2 * target.kv_heads
    assert abs(1 - target.inner / 1024 - ffn) <= 32 / 1024
    assert target.inner % 64 == 0
    assert target.layers == 4 - layers
