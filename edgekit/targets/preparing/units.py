"""What can be prepared, each in a folder of its own: the emulator; per architecture a Python and each engine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgekit.errors import MissingTool, TargetNotPrepared
from edgekit.progress import Progress
from edgekit.targets.preparing import debian, llama, wheels
from edgekit.targets.preparing.archives import unpack_deb
from edgekit.targets.preparing.store import Prepared, read
from edgekit.targets.preparing.tools import run

ARCHITECTURES = ("aarch64", "x86_64")
QEMU = "qemu"
ENGINES = ("onnxruntime", "llama.cpp")

_ROOT_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
# Dependencies in name only: nothing that Python or an engine loads.
_LEFT_OUT = ("debconf_", "dpkg_", "tar_", "tzdata_", "media-types_", "netbase_", "readline-common_")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
# What every bundle's runtime may import, besides an engine.
_LIBRARIES = ("numpy", "tokenizers", "pillow", "jinja2", "markupsafe")


@dataclass(frozen=True)
class Unit:
    """`wants` are versions that what is prepared must have, because they are those here. `fetch(folder, mirror)` gets
    files from the network; `build(downloaded, work, progress)` makes them usable and returns further versions.
    """

    name: str
    wants: Mapping[str, str]
    need_bytes: int
    fetch: Callable[[Path, str], None]
    build: Callable[[Path, Path, Progress], Mapping[str, str]]

    def stale(self, found: Prepared) -> str:
        """How what is prepared differs from what is here, in words; "" where it does not."""
        for what, wanted in self.wants.items():
            if found.versions.get(what) != wanted:
                return f"it was prepared for {what} {found.versions.get(what, 'of no version')}, here is {wanted}"
        return ""


def unit_of(arch: str, engine: str = "") -> str:
    """The name of an architecture's unit, or of its engine's."""
    return f"{arch}-{engine}" if engine else arch


def qemu() -> Unit:
    host = platform.machine()
    return Unit(QEMU, {"host": host}, 700 * 2**20, partial(_fetch_qemu, host), _build_qemu)


def units(architectures: Sequence[str], engines: Sequence[str]) -> list[Unit]:
    """All that is needed to emulate those architectures with those engines, the emulator first."""
    found = [qemu()]
    for arch in architectures:
        libraries = wheels.installed(_LIBRARIES)
        found.append(
            Unit(arch, libraries, 600 * 2**20, partial(_fetch_root, libraries, arch), partial(_build_root, arch))
        )
        found += [_engine(arch, engine) for engine in engines]
    return found


def _engine(arch: str, engine: str) -> Unit:
    name = unit_of(arch, engine)
    if engine == "onnxruntime":
        versions = _version("onnxruntime")
        return Unit(name, versions, 200 * 2**20, partial(_fetch_wheels, versions, arch), _build_wheels)
    versions = _version(llama.SDIST)
    fetch = partial(_fetch_llama, versions[llama.SDIST], arch)
    return Unit(name, versions, 700 * 2**20, fetch, partial(_build_llama, arch))


def _version(package: str) -> dict[str, str]:
    found = wheels.installed((package,))
    if not found:
        raise MissingTool(
            f"{package} is not installed here, and what is prepared is of the same version",
            f"pip install {package}, or give another --engine",
        )
    return found


def check_host() -> None:
    """TargetNotPrepared where no emulator runs: it makes Linux's own system calls."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in debian.NAMES:
        raise TargetNotPrepared(
            f"no emulator runs on {system} {machine}", "use Linux on x86_64 or aarch64, in a virtual machine perhaps"
        )


def _fetch_qemu(host: str, folder: Path, mirror: str) -> None:
    debian.fetch(("qemu-user",), host, folder, mirror, with_dependencies=False)


def _build_qemu(downloaded: Path, work: Path, progress: Progress) -> Mapping[str, str]:
    del progress
    programs = {f"usr/bin/qemu-{arch}": arch for arch in ARCHITECTURES}
    unpacked = work / "unpacked"
    unpacked.mkdir()
    for path in sorted(downloaded.glob("*.deb")):
        unpack_deb(path, unpacked, programs.__contains__)
    for name in programs:
        if not (unpacked / name).is_file():
            raise TargetNotPrepared(f"there is no {name} in the emulator's package", "download it again")
        (unpacked / name).rename(work / Path(name).name)
    for folder in ("usr/bin", "usr", "."):
        (unpacked / folder).rmdir()
    told = run([str(work / f"qemu-{ARCHITECTURES[0]}"), "--version"], "starting the emulator", "is this Linux?")
    return {"qemu-user": told.split()[2]}


def _fetch_root(libraries: Mapping[str, str], arch: str, folder: Path, mirror: str) -> None:
    debian.fetch(_ROOT_PACKAGES, arch, folder, mirror, with_dependencies=True)
    wheels.fetch(libraries, arch, folder)


def _build_root(arch: str, downloaded: Path, work: Path, progress: Progress) -> Mapping[str, str]:
    del progress
    root = work / "root"
    for link, target in _LINKS.items():
        (root / target).mkdir(parents=True)
        (root / link).symlink_to(target)
    for path in sorted(downloaded.glob("*.deb")):
        if not path.name.startswith(_LEFT_OUT):
            unpack_deb(path, root, _runs)
    if not (root / "usr" / "bin" / f"python{wheels.PYTHON}").is_file():
        raise TargetNotPrepared(f"there is no Python {wheels.PYTHON} in the packages for {arch}", "download them again")
    wheels.unpack(downloaded, work / "site")
    return {"python": wheels.PYTHON}


def _runs(name: str) -> bool:
    """What a process needs: libraries and Python."""
    return name.startswith(("usr/lib/", "usr/lib64/", "lib/", "lib64/", "usr/bin/python"))


def _fetch_wheels(versions: Mapping[str, str], arch: str, folder: Path, mirror: str) -> None:
    del mirror
    wheels.fetch(versions, arch, folder)


def _build_wheels(downloaded: Path, work: Path, progress: Progress) -> Mapping[str, str]:
    del progress
    wheels.unpack(downloaded, work / "site")
    return {}


def _fetch_llama(version: str, arch: str, folder: Path, mirror: str) -> None:
    del mirror
    llama.fetch(version, arch, folder)


def _build_llama(arch: str, downloaded: Path, work: Path, progress: Progress) -> Mapping[str, str]:
    llama.build(downloaded, arch, work, progress)
    return {}


def prepared(unit: Unit) -> Prepared | None:
    """The unit, if it is there and of the versions wanted."""
    found = read(unit.name)
    return found if found is not None and not unit.stale(found) else None
