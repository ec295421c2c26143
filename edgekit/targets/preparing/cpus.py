"""The CPUs that the emulators know, asked of the emulators themselves."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgekit.errors import UnknownCpu
from edgekit.targets.preparing.tools import run

_ARCHITECTURES = ("aarch64", "x86_64")


@dataclass(frozen=True)
class Cpu:
    """A CPU as qemu spells it."""

    name: str
    arch: str


def find(name: str, emulators: Path) -> Cpu:
    """The CPU of that name, whatever its case; where both architectures have one ("max"), the ARM one.

    `emulators` is the folder of qemu-aarch64 and qemu-x86_64. Raises UnknownCpu with the nearest names.
    """
    cpus = [Cpu(each, arch) for arch in _ARCHITECTURES for each in known(emulators, arch)]
    for cpu in cpus:
        if cpu.name.lower() == name.lower():
            return cpu
    spelt = {cpu.name.lower(): cpu.name for cpu in reversed(cpus)}
    near = difflib.get_close_matches(name.lower(), spelt, n=3, cutoff=0.5)
    raise UnknownCpu(
        f"the emulator knows no CPU {name!r}",
        f"did you mean {', '.join(spelt[each] for each in near)}?"
        if near
        else "choose one such as cortex-a76, Haswell",
    )


@cache
def known(emulators: Path, arch: str) -> tuple[str, ...]:
    """Their names: the first words of the lines that are set in, up to the list of features."""
    command = [str(emulators / f"qemu-{arch}"), "-cpu", "help"]
    told = run(command, "asking the emulator for its CPUs", "prepare with --force", fine=(0, 1))
    listed = told.partition("Recognized CPUID flags")[0].splitlines()
    return tuple(line.split()[0] for line in listed if line.startswith("  ") and line.strip())
