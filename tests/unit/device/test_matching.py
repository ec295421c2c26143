from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.device import load_profile, profiles
from edgekit.device.matching import is_same, microarchitecture

PI_5 = load_profile("raspberry-pi-5-8gb")
GIB = 2**30
# What a probe says on a Raspberry Pi 5 of 8 GB: of 8 GiB the kernel sees 7.9.
FACTS: dict[str, Any] = {
    "arch": "aarch64",
    "system": "Linux-6.12.25+rpt-rpi-2712-aarch64-with-glibc2.36",
    "cores": 4,
    "cpu_parts": ["0x41:0xd0b"] * 4,
    "ram_total_bytes": int(7.87 * GIB),
}


def test_a_device_is_known_by_its_cores_and_memory() -> None:
    assert is_same(PI_5, FACTS)


@pytest.mark.parametrize(
    "other",
    [
        {"arch": "x86_64"},
        {"system": "Darwin-25.0"},
        {"cores": 3},
        {"cores": None},
        {"cpu_parts": ["0x41:0xd08"] * 4},  # a Raspberry Pi 4
        {"cpu_parts": ["0x41:0xd0b"] * 3},
        {"cpu_parts": ["0x41:0xd0b"] * 3 + ["0x41:0xd05"]},
        {"cpu_parts": ["0x51:0xd0b"] * 4},  # another maker's
        {"cpu_parts": []},
        {"cpu_parts": None},
        {"ram_total_bytes": int(3.9 * GIB)},
        {"ram_total_bytes": int(6.7 * GIB)},
        {"ram_total_bytes": int(8.1 * GIB)},
        {"ram_total_bytes": None},
    ],
    ids=str,
)
def test_another_machine_or_an_unknown_one_is_not_the_device(other: dict[str, Any]) -> None:
    assert not is_same(PI_5, FACTS | other)


def test_siblings_differ_by_their_memory() -> None:
    sizes = {name: load_profile(name) for name in ("raspberry-pi-5-4gb", "raspberry-pi-5-8gb", "raspberry-pi-5-16gb")}
    assert [name for name, profile in sizes.items() if is_same(profile, FACTS)] == ["raspberry-pi-5-8gb"]


def test_x86_cores_are_known_by_family_model_and_stepping() -> None:
    facts = FACTS | {
        "arch": "x86_64",
        "cpu_parts": ["GenuineIntel:6:190:0"] * 4,
        "ram_total_bytes": int(7.6 * GIB),
    }
    assert is_same(load_profile("intel-n100-8gb"), facts)
    assert not is_same(load_profile("intel-n100-16gb"), facts)
    assert not is_same(load_profile("intel-n305"), facts)
    assert not is_same(PI_5, facts)
    assert microarchitecture("GenuineIntel:6:142:10") == "Kaby Lake R"
    assert microarchitecture("GenuineIntel:6:142:9") is None
    assert microarchitecture("AuthenticAMD:25:17:1") == "Zen 4"
    assert microarchitecture("AuthenticAMD:25:1:1") is None


@given(st.text(max_size=40))
def test_no_word_of_a_hostile_probe_breaks_it(part: str) -> None:
    assert microarchitecture(part) is None
    assert not is_same(PI_5, FACTS | {"cpu_parts": [part] * 4})


def test_no_machine_is_two_devices_of_different_memory_or_cores() -> None:
    same = [profile for profile in profiles() if is_same(profile, FACTS)]
    assert {profile.name for profile in same} == {"raspberry-pi-5-8gb"}
