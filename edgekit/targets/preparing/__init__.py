"""Preparing emulated targets, once: the emulator, per architecture a small root with Python, and the engines."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.device import load_profile
from edgekit.errors import UnknownCpu, UnknownDevice, UsageError
from edgekit.progress import Progress, Silent
from edgekit.targets.preparing import debian, downloads, store
from edgekit.targets.preparing.cpus import find
from edgekit.targets.preparing.units import ARCHITECTURES, ENGINES, QEMU, Unit, check_host, prepared, qemu
from edgekit.targets.preparing.units import units as units_for  # a submodule is called units

ENGINE_CHOICES = (*ENGINES, "all")


@dataclass(frozen=True)
class Step:
    """What became of one unit: `new` is False where it was there already. `size_bytes` of its folder."""

    name: str
    new: bool
    versions: dict[str, str]
    size_bytes: int


def prepare(
    names: Sequence[str] = (),
    *,
    engine: str = "onnxruntime",
    source: Path | None = None,
    mirror: str = debian.MIRROR,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Step]:
    """Make what `names` (architectures, CPUs or devices; none: every architecture) need, where it is not there yet.

    `source` is a folder that `download` made: nothing is then fetched. Raises UsageError, UnknownCpu, MissingTool,
    TargetNotPrepared, OutputBusy, OutputUnwritable or NoSpace; what was being prepared is then not there.
    """
    progress = progress or Silent()
    mirror, engines = debian.check_mirror(mirror), _engines(engine)
    check_host()
    done = []
    if _cpu_words(names):  # the emulator itself is asked which architecture a CPU is of
        done.append(_ready(qemu(), source, mirror, force, progress))
    architectures = _architectures(names, store.home() / QEMU)
    rest = units_for(architectures, engines)[len(done) :]
    return done + [_ready(unit, source, mirror, force, progress) for unit in rest]


def download(
    folder: Path,
    names: Sequence[str] = (),
    *,
    engine: str = "onnxruntime",
    mirror: str = debian.MIRROR,
    progress: Progress | None = None,
) -> list[Step]:
    """Fetch into `folder` what `prepare(names, source=folder)` needs, and prepare nothing. Raises as `prepare`."""
    progress = progress or Silent()
    mirror, engines = debian.check_mirror(mirror), _engines(engine)
    check_host()
    done = []
    if _cpu_words(names):
        done.append(_fetched(folder, qemu(), mirror, progress))
        with tempfile.TemporaryDirectory(prefix="edgekit-qemu-") as name:
            found = downloads.take(folder, QEMU, qemu().wants)
            qemu().build(found.folder, Path(name), progress)
            architectures = _architectures(names, Path(name))
    else:
        architectures = _architectures(names, Path())
    rest = units_for(architectures, engines)[len(done) :]
    return done + [_fetched(folder, unit, mirror, progress) for unit in rest]


def clean(name: str = "") -> list[str]:
    """Remove what is prepared under `name`, an architecture's engines with it; everything for "". The names removed."""
    there = store.names()
    gone = [each for each in there if not name or each == name or each.startswith(f"{name}-")]
    if name and not gone:
        raise UsageError(f"nothing is prepared by the name {name!r}", f"there is {', '.join(there) or 'nothing'}")
    if gone:
        store.remove(gone)
    return gone


def _ready(unit: Unit, source: Path | None, mirror: str, force: bool, progress: Progress) -> Step:
    found = prepared(unit)
    if found is not None and not force:
        return Step(unit.name, False, dict(found.versions), found.size_bytes())
    with store.preparing(unit.need_bytes) as temporary:
        if source is None:
            progress.step(f"fetch {unit.name}")
            files = temporary / "files"
            files.mkdir()
            unit.fetch(files, mirror)
            taken = downloads.Downloaded(files, unit.wants, downloads.described(files))
        else:
            progress.step(f"check {unit.name} in {source}")
            taken = downloads.take(source, unit.name, unit.wants)
        progress.step(f"prepare {unit.name}")
        work = temporary / unit.name
        work.mkdir()
        further = unit.build(taken.folder, work, progress)
        store.record(work, unit.name, {**taken.versions, **further}, taken.files)
        store.put(work, unit.name)
    made = prepared(unit)
    assert made is not None
    return Step(unit.name, True, dict(made.versions), made.size_bytes())


def _fetched(folder: Path, unit: Unit, mirror: str, progress: Progress) -> Step:
    progress.step(f"fetch {unit.name}")
    new = downloads.add(folder, unit.name, unit.wants, lambda part: unit.fetch(part, mirror))
    files = downloads.take(folder, unit.name, unit.wants).files
    return Step(unit.name, new, dict(unit.wants), sum(each.size_bytes for each in files))


def _engines(engine: str) -> tuple[str, ...]:
    if engine not in ENGINE_CHOICES:
        raise UsageError(f"there is no engine {engine!r}", f"choose one of {', '.join(ENGINE_CHOICES)}")
    return ENGINES if engine == "all" else (engine,)


def _cpu_words(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in ARCHITECTURES]


def _architectures(names: Sequence[str], emulators: Path) -> list[str]:
    """Those that the names mean, each once, in the order of ARCHITECTURES."""
    if not names:
        return list(ARCHITECTURES)
    found = {name if name in ARCHITECTURES else _architecture(name, emulators) for name in names}
    return [arch for arch in ARCHITECTURES if arch in found]


def _architecture(name: str, emulators: Path) -> str:
    """Of a CPU, or of a device by the CPU that its profile names."""
    try:
        return find(name, emulators).arch
    except UnknownCpu:
        try:
            profile = load_profile(name)
        except UnknownDevice:
            profile = None
        if profile is None:
            raise
    if not profile.cpu.qemu_cpu:
        raise UsageError(f"the profile {name} names no CPU to emulate", f"choose one of {', '.join(ARCHITECTURES)}")
    return find(profile.cpu.qemu_cpu, emulators).arch
