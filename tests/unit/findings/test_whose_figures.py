"""A figure is the device's only where the device measured it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgekit.device import load_profile
from edgekit.findings import is_device
from edgekit.findings.rows import cpu_of
from edgekit.validation import Examined

PI_5 = {
    "arch": "aarch64",
    "system": "Linux-6.12",
    "cores": 4,
    "cpu_parts": ["0x41:0xd0b"] * 4,
    "ram_total_bytes": int(7.87 * 2**30),
}
HERE: dict[str, Any] = {
    "arch": "x86_64",
    "system": "Linux-6.18",
    "cores": 2,
    "cpu_parts": ["AuthenticAMD:25:17:1"] * 2,
    "ram_total_bytes": 23 * 2**30,
}


@pytest.mark.parametrize(
    ("kind", "times", "result", "device", "expected"),
    [
        ("ssh", True, PI_5, "raspberry-pi-5-8gb", True),
        ("ssh", True, PI_5, "raspberry-pi-5-4gb", False),
        ("ssh", True, PI_5, "raspberry-pi-4-8gb", False),
        ("ssh", True, HERE, "raspberry-pi-5-8gb", False),
        ("ssh", True, {}, "raspberry-pi-5-8gb", False),
        ("local", True, HERE, "raspberry-pi-5-8gb", False),
        ("local", True, PI_5, "raspberry-pi-5-8gb", True),
        ("emulated", False, PI_5, "raspberry-pi-5-8gb", False),
    ],
)
def test_only_the_device_itself(kind: str, times: bool, result: dict[str, Any], device: str, expected: bool) -> None:
    examined = SimpleNamespace(
        target=SimpleNamespace(kind=kind, times=times), measurement=SimpleNamespace(result=result)
    )
    assert is_device(cast(Examined, examined), load_profile(device)) is expected


def test_a_cpu_that_tells_no_name_is_told_by_its_architecture() -> None:
    assert cpu_of({"cpu": None, "arch": "aarch64"}) == "an unnamed aarch64 CPU"
    assert cpu_of({"cpu": "Cortex-A76", "arch": "aarch64"}) == "Cortex-A76"
