"""What a bundle can be validated on from here, and what each place is good for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from edgekit.targets.preparing import store
from edgekit.targets.preparing.units import ARCHITECTURES, ENGINES, prepared, qemu, unit_of, units

_EXAMPLES = {"aarch64": "cortex-a53", "x86_64": "Haswell"}


@dataclass(frozen=True)
class Listed:
    """A row of `edgekit targets list`: `state` says what is there, or else what to do about it."""

    target: str
    ready: bool
    state: str
    purpose: str


def listed() -> list[Listed]:
    """Every kind of target, emulated CPUs by architecture."""
    local = Listed("local", True, "this machine", "speed, memory and answers, here, within the device's memory limit")
    return [
        local,
        *(_emulated(arch) for arch in ARCHITECTURES),
        _by_tool("ssh:USER@HOST", "ssh", "apt-get install openssh-client", "everything, on a machine with Python"),
        _by_tool("adb:SERIAL", "adb", "apt-get install adb", "everything, on an Android device; unproven"),
    ]


def _emulated(arch: str) -> Listed:
    target = f"emulated:{_EXAMPLES[arch]}, or another {arch} CPU"
    purpose = "that it starts there, its answers there, the kernels picked; never speed"
    emulator = prepared(qemu())
    root = prepared(units((arch,), ())[1])
    there = [found for engine in ENGINES if (found := store.read(unit_of(arch, engine))) is not None]
    if emulator is None or root is None or not there:
        return Listed(target, False, f"edgekit targets prepare {arch}", purpose)
    told = [" ".join(*each.versions.items()) for each in there]
    size_bytes = sum(each.size_bytes() for each in (root, *there))
    return Listed(target, True, f"{', '.join(told)}; {size_bytes / 1e6:.0f} MB", purpose)


def _by_tool(target: str, tool: str, remedy: str, purpose: str) -> Listed:
    found = shutil.which(tool)
    return Listed(target, found is not None, f"by {found}" if found else remedy, purpose)
