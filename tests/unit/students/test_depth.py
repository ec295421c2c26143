"""Which layers stay: evenly picked or dearest, first and last among the even ones, each of its place's kind."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.students.depth import cheapest, evenly
from edgekit.students.shape import continued


def test_half_of_the_layers() -> None:
    assert evenly(6, 3) == (0, 3, 5)
    assert evenly(12, 6) == (0, 2, 4, 7, 9, 11)
    assert evenly(12, 1) == (11,)


@given(st.integers(1, 60), st.data())
def test_even_picks_rise_from_the_first_to_the_last_at_like_steps(have: int, data: st.DataObject) -> None:
    want = data.draw(st.integers(1, have))
    picked = evenly(have, want)
    assert len(picked) == want
    assert picked[-1] == have - 1
    if want > 1:
        assert picked[0] == 0
        steps = np.diff(picked)
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1
    if want == have:
        assert picked == tuple(range(have))


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=3), st.integers(1, 9), st.data())
def test_the_cheapest_choice_is_found_among_all_of_the_right_kinds(
    pattern: list[str], have: int, data: st.DataObject
) -> None:
    kinds = [pattern[at % len(pattern)] for at in range(have)]
    want = data.draw(st.integers(1, have))
    costs = np.array(
        data.draw(st.lists(st.lists(st.integers(0, 9), min_size=have, max_size=have), min_size=want, max_size=want)),
        dtype=np.float64,
    )
    chosen = cheapest(costs, kinds)
    wanted = continued(kinds, want)
    every = [
        sum(costs[place, at] for place, at in enumerate(each))
        for each in combinations(range(have), want)
        if [kinds[at] for at in each] == wanted
    ]
    assert list(chosen) == sorted(set(chosen))
    assert [kinds[at] for at in chosen] == wanted
    assert sum(costs[place, at] for place, at in enumerate(chosen)) == min(every)
