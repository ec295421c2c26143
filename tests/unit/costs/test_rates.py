from __future__ import annotations

import math
from typing import Any

import pytest
from fixtures.devices import device
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs.rates import UNITS, Rate, default_threads, rate
from edgekit.device.profile import Cluster, DeviceProfile, Figure, MemoryBandwidth


def measured(value: float) -> Figure:
    return Figure(value=value, status="measured", source="test")


def vendor(value: float) -> Figure:
    return Figure(value=value, status="vendor", source="test")


def machine(*clusters: tuple[str, int, float | None], bandwidth: dict[str, Figure] | None = None) -> DeviceProfile:
    made = device("avx2", fp32_flops_per_s=measured(100e9), int8_ops_per_s=measured(400e9))
    shaped = tuple(Cluster(microarchitecture=name, count=count, mhz=mhz) for name, count, mhz in clusters)
    cpu = made.cpu.model_copy(update={"clusters": shaped or made.cpu.clusters})
    return made.model_copy(update={"cpu": cpu, "memory_bandwidth": MemoryBandwidth(**(bandwidth or {}))})


def found(profile: DeviceProfile, unit: Any, threads: int) -> Rate:
    known = rate(profile, unit, threads)
    assert known is not None
    return known


def test_throughput_is_shared_evenly_among_equal_cores() -> None:
    profile = machine(("A76", 4, 2400.0))
    assert found(profile, "flops", 1).low == pytest.approx(25e9)
    assert found(profile, "flops", 1).high == pytest.approx(25e9)
    assert found(profile, "int8_ops", 2).mid == pytest.approx(200e9)
    assert found(profile, "flops", 9).mid == pytest.approx(100e9)


def test_fast_cores_have_their_share_by_clock_at_least_and_by_its_square_at_most() -> None:
    profile = machine(("little", 2, 1000.0), ("big", 2, 2000.0))
    one = found(profile, "flops", 1)
    assert one.low == pytest.approx(100e9 * 2 / 6)
    assert one.high == pytest.approx(100e9 * 4 / 10)
    assert found(profile, "flops", 3).low == pytest.approx(100e9 * 5 / 6)


def test_unknown_clocks_of_unlike_cores_leave_the_share_open() -> None:
    profile = machine(("little", 2, None), ("big", 2, 2000.0))
    assert (found(profile, "flops", 1).low, found(profile, "flops", 1).high) == pytest.approx((25e9, 100e9))


def test_figures_that_were_not_measured_are_intervals() -> None:
    profile = machine(bandwidth={"sustained_bytes_per_s": vendor(10e9)})
    both = found(profile, "bytes", 2)
    assert (both.low, both.high) == pytest.approx((10e9 / 1.3, 13e9))
    assert both.mid == pytest.approx(10e9)
    assert "10.0 GB/s (vendor)" in both.told


def test_one_threads_bandwidth_is_used_where_it_is_known() -> None:
    figures = {"sustained_bytes_per_s": measured(20e9), "one_thread_bytes_per_s": measured(12e9)}
    profile = machine(("A76", 4, None), bandwidth=figures)
    assert found(profile, "bytes", 1).mid == pytest.approx(12e9)
    assert found(profile, "bytes", 2).mid == pytest.approx(20e9)
    assert found(profile, "bytes", 4).mid == pytest.approx(20e9)


def test_without_it_one_thread_draws_between_its_share_and_everything() -> None:
    profile = machine(("A76", 4, None), bandwidth={"sustained_bytes_per_s": measured(20e9)})
    assert (found(profile, "bytes", 1).low, found(profile, "bytes", 1).high) == pytest.approx((5e9, 20e9))


def test_one_threads_bandwidth_alone_grounds_the_others() -> None:
    profile = machine(("A76", 4, None), bandwidth={"one_thread_bytes_per_s": measured(5e9)})
    assert found(profile, "bytes", 1).mid == pytest.approx(5e9)
    assert (found(profile, "bytes", 4).low, found(profile, "bytes", 4).high) == pytest.approx((5e9, 20e9))


def test_of_a_peak_only_a_share_is_sustained() -> None:
    profile = machine(bandwidth={"peak_bytes_per_s": vendor(10e9)})
    assert (found(profile, "bytes", 2).low, found(profile, "bytes", 2).high) == pytest.approx((4e9, 9e9))
    assert "sustained unknown" in found(profile, "bytes", 2).told


def test_what_the_profile_does_not_know_is_none() -> None:
    assert [rate(device("avx2"), unit, 2) for unit in UNITS] == [None, None, None]


def test_an_infinite_figure_is_no_figure() -> None:
    figures = {"sustained_bytes_per_s": measured(math.inf), "peak_bytes_per_s": measured(math.inf)}
    assert rate(machine(bandwidth=figures), "bytes", 1) is None


def test_threads_are_the_fast_cores() -> None:
    assert default_threads(machine(("little", 4, 1500.0), ("big", 2, 2400.0), ("prime", 1, 2900.0))) == 3
    assert default_threads(machine(("unknown", 6, None))) == 6
    assert default_threads(machine(("unknown", 2, None), ("big", 2, 2000.0))) == 4


CLUSTERS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 4), st.none() | st.floats(100, 5000)),
    min_size=1,
    max_size=3,
)
FIGURES = st.none() | st.builds(
    lambda value, status: Figure(value=value, status=status),
    st.floats(1e8, 1e12),
    st.sampled_from(["measured", "vendor", "press", "derived"]),
)


@given(CLUSTERS, st.tuples(FIGURES, FIGURES, FIGURES), st.integers(1, 12))
def test_more_threads_are_never_slower(
    clusters: list[tuple[str, int, float | None]], figures: tuple[Figure | None, ...], threads: int
) -> None:
    names = ("peak_bytes_per_s", "sustained_bytes_per_s", "one_thread_bytes_per_s")
    known = {name: figure for name, figure in zip(names, figures, strict=True) if figure is not None}
    profile = machine(*clusters, bandwidth=known)
    for unit in UNITS:
        fewer, more = rate(profile, unit, threads), rate(profile, unit, threads + 1)
        assert (fewer is None) == (more is None)
        if fewer is None or more is None:
            continue
        assert 0 < fewer.low <= fewer.mid * (1 + 1e-9) <= fewer.high * (1 + 2e-9)
        assert more.low >= fewer.low * (1 - 1e-9)
        assert more.high >= fewer.high * (1 - 1e-9)
