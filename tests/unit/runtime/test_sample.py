from __future__ import annotations

import numpy as np
import pytest
from edgekit_runtime import BadInput
from edgekit_runtime._sample import Sampler
from hypothesis import given
from hypothesis import strategies as st

LOGITS = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=20))
def test_temperature_zero_takes_the_largest(logits: list[float]) -> None:
    array = np.array(logits, np.float32)
    assert array[Sampler(0, 1, None).pick(array)] == array.max()


@given(
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32) | st.just(float("-inf")), min_size=1, max_size=20).filter(
        lambda found: max(found) > float("-inf")
    ),
    st.floats(1e-6, 1e3),
    st.floats(0.01, 1),
)
def test_no_impossible_token_is_picked(logits: list[float], temperature: float, top_p: float) -> None:
    array = np.array(logits, np.float32)
    picked = Sampler(temperature, top_p, 0).pick(array)
    assert 0 <= picked < len(array)
    assert array[picked] > float("-inf")


def test_frequencies_follow_the_softmax() -> None:
    sampler = Sampler(1.0, 1.0, 7)
    counts = np.bincount([sampler.pick(LOGITS) for _ in range(4000)], minlength=4) / 4000
    assert np.abs(counts - np.exp(LOGITS)).max() < 0.03


def test_a_low_temperature_sharpens() -> None:
    sampler = Sampler(0.1, 1.0, 7)
    assert {sampler.pick(LOGITS) for _ in range(200)} == {0}


@pytest.mark.parametrize(
    ("top_p", "allowed"), [(0.4, {0}), (0.6, {0, 1}), (0.75, {0, 1}), (0.8, {0, 1, 2}), (1.0, {0, 1, 2, 3})]
)
def test_the_nucleus_is_the_smallest_set_of_that_mass(top_p: float, allowed: set[int]) -> None:
    sampler = Sampler(1.0, top_p, 7)
    assert {sampler.pick(LOGITS) for _ in range(400)} == allowed


def test_a_seed_repeats_the_choices_and_another_does_not() -> None:
    def choices(seed: int) -> list[int]:
        sampler = Sampler(1.0, 1.0, seed)
        return [sampler.pick(LOGITS) for _ in range(64)]

    assert choices(1) == choices(1)
    assert choices(1) != choices(2)


@pytest.mark.parametrize("settings", [(-1, 1, None), (float("nan"), 1, None), (1, 0, None), (1, 1.5, None), (1, 1, -3)])
def test_settings_out_of_range_are_refused(settings: tuple[float, float, int | None]) -> None:
    with pytest.raises(BadInput, match="expected"):
        Sampler(*settings)
