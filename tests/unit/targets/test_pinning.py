"""Threads are pinned to whole cores, the fastest first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.targets.pinning import cpus_for


def machine(root: Path, siblings: list[str], khz: list[int] | None = None) -> Path:
    """A /sys that tells each CPU's hyper-threads and top speed."""
    for cpu, threads in enumerate(siblings):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology/thread_siblings_list").write_text(threads + "\n")
        if khz:
            (folder / "cpufreq").mkdir()
            (folder / "cpufreq/cpuinfo_max_freq").write_text(f"{khz[cpu]}\n")
    return root


FOUR_CORES_EIGHT_THREADS = ["0,4", "1,5", "2,6", "3,7"] * 2


@pytest.mark.parametrize(
    ("threads", "cpus"), [(1, (0,)), (3, (0, 1, 2)), (4, (0, 1, 2, 3)), (5, (0, 1, 2, 3, 4)), (99, tuple(range(8)))]
)
def test_each_thread_has_a_core_of_its_own_while_there_are_any(
    threads: int, cpus: tuple[int, ...], tmp_path: Path
) -> None:
    root = machine(tmp_path, FOUR_CORES_EIGHT_THREADS)
    assert cpus_for(threads, range(8), root, turn=0) == cpus


def test_two_at_once_do_not_meet_on_the_first_core(tmp_path: Path) -> None:
    root = machine(tmp_path, FOUR_CORES_EIGHT_THREADS)
    assert [cpus_for(1, range(8), root, turn=turn) for turn in range(5)] == [(0,), (1,), (2,), (3,), (0,)]


def test_the_fastest_cores_are_taken_whatever_the_turn(tmp_path: Path) -> None:
    root = machine(tmp_path, ["0", "1", "2", "3"], [1_800_000, 1_800_000, 2_900_000, 2_900_000])
    assert {cpus_for(2, range(4), root, turn=turn) for turn in range(4)} == {(2, 3)}


def test_no_cpu_is_taken_that_this_process_may_not_use(tmp_path: Path) -> None:
    root = machine(tmp_path, FOUR_CORES_EIGHT_THREADS)
    assert cpus_for(4, [1, 5, 7], root, turn=0) == (1, 5, 7)


@given(threads=st.integers(1, 64), allowed=st.sets(st.integers(0, 63), min_size=1), turn=st.integers(0, 10**6))
def test_there_are_as_many_as_threads_or_all_that_are_allowed(threads: int, allowed: set[int], turn: int) -> None:
    chosen = cpus_for(threads, allowed, Path("/nowhere"), turn)
    assert len(chosen) == len(set(chosen)) == min(threads, len(allowed))
    assert set(chosen) <= allowed


def test_this_machine_has_some() -> None:
    (cpu,) = cpus_for(1)
    assert cpu in os.sched_getaffinity(0)
