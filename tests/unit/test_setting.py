"""What candidates are estimated for: the app's threads on the device, and always the length that is timed."""

from __future__ import annotations

import os

import pytest
from fixtures.devices import device

from edgekit.costs import TIMED_TOKENS
from edgekit.device import Cluster, DeviceProfile, load_profile
from edgekit.limits import Limits, Preferences
from edgekit.setting import app_default_threads, measuring_threads, setting_for


def with_cores(count: int, name: str = "phone") -> DeviceProfile:
    made = device("dotprod", arch="aarch64")
    clusters = (Cluster(microarchitecture="test", count=count),)
    return made.model_copy(update={"name": name, "cpu": made.cpu.model_copy(update={"clusters": clusters})})


@pytest.fixture(autouse=True)
def _two_cores_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


def test_a_device_is_estimated_with_its_own_cores_and_measured_with_those_that_are_here() -> None:
    assert setting_for(with_cores(8), Limits(), Preferences()).threads == 8
    assert measuring_threads(with_cores(8)) == 2
    assert measuring_threads(with_cores(1)) == 1


def test_this_machine_is_estimated_with_the_threads_that_measure_it() -> None:
    assert setting_for(with_cores(8, "host"), Limits(), Preferences()).threads == 2
    assert setting_for(with_cores(8, "host"), Limits(), Preferences(threads=5)).threads == 5


def test_the_length_that_is_timed_is_always_among_the_lengths() -> None:
    made = setting_for(with_cores(4), Limits(context_tokens=99), Preferences(lengths=(512, 16)))
    assert made.lengths == (16, TIMED_TOKENS, 512)
    assert made.context_tokens == 99
    assert setting_for(with_cores(4), Limits(), Preferences(lengths=(TIMED_TOKENS,))).lengths == (TIMED_TOKENS,)


@pytest.mark.parametrize(
    ("name", "threads"),
    [
        ("pixel-8", 5),  # the X3 and the A715s, not the A510s
        ("iphone-15-pro", 2),
        ("snapdragon-x-elite", 12),
        ("raspberry-pi-5-8gb", 4),
        ("server-avx512-vnni", 1),
        ("browser-wasm-threads", None),
    ],
)
def test_an_app_runs_the_fast_cores_unless_it_says_otherwise(name: str, threads: int | None) -> None:
    assert app_default_threads(load_profile(name)) == threads


def test_where_slow_cores_are_not_known_the_cores_that_are_there_decide() -> None:
    assert app_default_threads(with_cores(8)) == 8
    assert app_default_threads(with_cores(8, "host")) is None
    made = with_cores(4)
    two = made.cpu.model_copy(update={"clusters": made.cpu.clusters * 2})
    assert app_default_threads(made.model_copy(update={"cpu": two})) is None
    none = made.cpu.model_copy(update={"clusters": ()})
    assert app_default_threads(made.model_copy(update={"cpu": none})) is None


def test_a_bundle_is_measured_with_the_threads_it_was_packed_for() -> None:
    assert measuring_threads(with_cores(8), 1) == 1
    assert measuring_threads(with_cores(8), 5) == 2
