from __future__ import annotations

import os
from pathlib import Path

import pytest
from edgekit_runtime import UnsupportedDevice, _machine

PI_5 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes crc32 fphp asimdhp asimddp

processor\t: 1
Features\t: fp asimd evtstrm aes crc32 fphp asimdhp asimddp

Model\t\t: Raspberry Pi 5
"""
HYPERTHREADED = "\n\n".join(
    f"processor\t: {thread}\nphysical id\t: 0\ncore id\t\t: {thread % 2}\nflags\t\t: avx2 {'avx512f' * (thread == 0)}"
    for thread in range(4)
)


def test_arm_features_have_their_standard_names() -> None:
    features = _machine.isa_features(PI_5)
    assert features is not None
    assert {"neon", "dotprod", "fp16"} <= features
    assert "i8mm" not in features


def test_a_feature_that_one_core_lacks_is_not_counted_on() -> None:
    features = _machine.isa_features(HYPERTHREADED)
    assert features is not None
    assert "avx2" in features
    assert "avx512f" not in features


def test_unknown_features_are_none() -> None:
    assert _machine.isa_features("") is None


def test_hyperthreads_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(_machine, "_cpu_quota", lambda: None)
    assert _machine.physical_cores(HYPERTHREADED) == 2
    assert _machine.physical_cores("") == 4


def test_cores_tell_what_they_are_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    arm = "\n\n".join(
        f"processor\t: {n}\nCPU implementer\t: 0x41\nCPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1"
        for n, part in enumerate(("0xd05", "0xd0b"))
    )
    assert _machine.cpu_parts(arm) == ["0x41:0xd05", "0x41:0xd0b"]
    numbers = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 190\nmodel name\t: N100\nstepping\t: 0"
    threads = [block + "\n" + numbers for block in HYPERTHREADED.split("\n\n")]
    assert _machine.cpu_parts("\n\n".join(threads)) == ["GenuineIntel:6:190:0"] * 2
    assert _machine.cpu_parts(PI_5) == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1}, raising=False)
    assert _machine.cpu_parts(arm) == ["0x41:0xd0b"]


def test_affinity_and_quota_bound_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1}, raising=False)
    monkeypatch.setattr(_machine, "_cpu_quota", lambda: None)
    assert _machine.physical_cores(PI_5) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert _machine.physical_cores(PI_5) == 2
    monkeypatch.setattr(_machine, "_cpu_quota", lambda: 1)
    assert _machine.physical_cores(PI_5) == 1


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("", None)]
)
def test_the_quota_of_the_control_group(monkeypatch: pytest.MonkeyPatch, text: str, quota: int | None) -> None:
    monkeypatch.setattr(_machine, "_read", lambda _: text)
    assert _machine._cpu_quota() == quota


def test_a_missing_feature_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "arch", lambda: "x86_64")
    monkeypatch.setattr(_machine, "isa_features", lambda: frozenset({"avx", "sse4_2"}))
    assert _machine.check_isa({"x86_64": ["avx"], "aarch64": ["i8mm"]}) == []
    assert _machine.check_isa({}) == []
    with pytest.raises(UnsupportedDevice, match="lacks avx2"):
        _machine.check_isa({"x86_64": ["avx", "avx2"]})


def test_features_that_cannot_be_read_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "arch", lambda: "x86_64")
    monkeypatch.setattr(_machine, "isa_features", lambda: None)
    (note,) = _machine.check_isa({"x86_64": ["avx2"]})
    assert "avx2" in note


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_memory_of_this_process_on_linux() -> None:
    found = _machine.memory_bytes()
    peak, anonymous, mapped = found["peak_rss_bytes"], found["anonymous_bytes"], found["file_rss_bytes"]
    assert peak is not None
    assert anonymous is not None
    assert mapped is not None
    assert 2**20 < anonymous < peak


def test_memory_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "_read", lambda _: None)
    assert set(_machine.memory_bytes().values()) == {None}
