"""The probe's process on this machine: pinned, within a memory limit or without, with a runtime made of a few lines."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from edgekit_runtime import _machine

from edgekit.errors import ValidationFailed
from edgekit.targets import Confining, MemoryLimit, OverLimit, local
from edgekit.targets.local import Local

MIB = 2**20
PROBE = """
import json, os, signal, sys, threading, time

def main(arguments):
    job = json.loads(open(arguments[0]).read())
    held = bytearray(job["hold_mib"] << 20)
    held[::4096] = b"1" * len(held[::4096])
    threading.Thread(target=lambda: None).start()
    time.sleep(job.get("sleep_s", 0))
    if "signal" in job:
        os.kill(os.getpid(), job["signal"])
    result = {"cpus": sorted(os.sched_getaffinity(0)), "held": len(held)}
    open(os.path.dirname(arguments[0]) + "/result.json", "w").write(json.dumps(result))
    return 0
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    runtime = tmp_path / "bundle/runtime/python/edgekit_runtime"
    runtime.mkdir(parents=True)
    (runtime / "__init__.py").write_text("")
    (runtime / "probe.py").write_text(PROBE)
    return tmp_path / "bundle"


def job(tmp_path: Path, **words: object) -> Path:
    path = tmp_path / "work/job.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"threads": 1, "hold_mib": 1} | words))
    return path


def test_the_process_is_pinned_and_the_result_says_to_what(bundle: Path, tmp_path: Path) -> None:
    path, before = job(tmp_path), os.sched_getaffinity(0)
    Local().run(bundle, path, 30)
    result = json.loads((path.parent / "result.json").read_bytes())
    assert result["pinned_cpus"] == result["cpus"]
    assert len(result["cpus"]) == 1
    assert (result["cores"], result["cpu_parts"]) == (
        _machine.physical_cores(),
        _machine.cpu_parts(),
    )  # of all its CPUs
    assert os.sched_getaffinity(0) == before  # edgekit itself is not


def test_what_fits_runs_within_its_limit_and_what_does_not_is_ended_by_it(bundle: Path, tmp_path: Path) -> None:
    assert isinstance(Local(), Confining)
    path = job(tmp_path, hold_mib=150)
    with Local().within(MemoryLimit(400 * MIB, "resident")) as place:
        place.run(bundle, path, 30)
        assert json.loads((path.parent / "result.json").read_bytes())["held"] == 150 * MIB
        assert 150 * MIB <= (place.peak_bytes or 0) <= 400 * MIB
    with (
        Local().within(MemoryLimit(100 * MIB, "resident")) as place,
        pytest.raises(OverLimit, match="killed there"),
    ):
        place.run(bundle, path, 30)


def test_what_the_machine_holds_for_others_is_taken_off_the_limit(bundle: Path, tmp_path: Path) -> None:
    limit = MemoryLimit(400 * MIB, "resident", elsewhere_bytes=300 * MIB)
    with Local().within(limit) as place, pytest.raises(OverLimit):
        place.run(bundle, job(tmp_path, hold_mib=150), 30)
    assert MemoryLimit(400 * MIB, "anonymous", 300 * MIB).enforced_bytes == 400 * MIB
    assert MemoryLimit(1, "resident", 300 * MIB).enforced_bytes == MIB


def test_what_takes_too_long_within_the_limit_did_not_get_by(bundle: Path, tmp_path: Path) -> None:
    with Local().within(MemoryLimit(400 * MIB, "resident")) as place, pytest.raises(OverLimit, match="not done after"):
        place.run(bundle, job(tmp_path, sleep_s=60), 0.5)


def test_another_signal_is_no_matter_of_memory(bundle: Path, tmp_path: Path) -> None:
    with (
        Local().within(MemoryLimit(400 * MIB, "resident")) as place,
        pytest.raises(ValidationFailed, match="killed by signal 15"),
    ):
        place.run(bundle, job(tmp_path, signal=signal.SIGTERM), 30)


@pytest.mark.parametrize(("kills", "said"), [([3, 4], "memory, .* MiB, ran out while"), ([3, 3], "killed by signal 9")])
def test_without_a_limit_the_machine_s_memory_may_run_out(
    kills: list[int], said: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_killed_for_memory", lambda: kills.pop(0))
    with pytest.raises(ValidationFailed, match=said) as caught:
        Local().run(bundle, job(tmp_path, signal=signal.SIGKILL), 30)
    assert caught.value.remedy


def test_this_machine_tells_how_often_its_memory_ran_out() -> None:
    assert local._killed_for_memory() >= 0
