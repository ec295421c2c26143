"""What runs on the device: the C probe, compiled here, the engine's libraries, and the C library both were built for.

Android has another C library, and no loader for programs built for Debian's: so Debian's is brought along, with its
loader, which starts the probe. All of it comes from what `edgekit targets prepare` made for that architecture.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import MissingTool, TargetNotPrepared
from edgekit.resources import runtime
from edgekit.targets.preparing.store import home, writing_errors
from edgekit.targets.preparing.units import prepared, unit_of, units

PROBE = "edgekit-probe"
LOADERS = {"aarch64": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
SYSTEM = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"),
    *("libstdc++.so.6", "libgcc_s.so.1"),
)
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-D_FORTIFY_SOURCE=2")


@dataclass(frozen=True)
class Kit:
    """Files by the name they have in one folder on the device; `library` is the engine's among them."""

    files: Mapping[str, Path]
    loader: str
    library: str

    def command(self, folder: str) -> str:
        """How the probe is started from a folder beside `folder`, where the kit lies."""
        return f"{folder}/{self.loader} --library-path {folder} {folder}/{PROBE}"


def kit(arch: str, engine: str, scratch: Path) -> Kit:
    """Everything for that architecture. Raises TargetNotPrepared, MissingTool without a compiler."""
    found = {}
    for unit in units((arch,), (engine,))[1:]:  # the first is the emulator, which a device needs not
        ready = prepared(unit)
        if ready is None:
            raise TargetNotPrepared(
                f"{unit.name}, whose libraries run on the device, is not prepared",
                f"edgekit targets prepare {arch} --engine {engine}; without a network, with --from DIR",
            )
        found[unit.name] = ready.folder
    files = _system(found[arch] / "root", arch)
    files |= _libraries(found[unit_of(arch, engine)] / "site", engine)
    files[PROBE] = compiled(arch, scratch)
    name = "libllama.so" if engine == "llama.cpp" else "libonnxruntime.so"
    return Kit(files, LOADERS[arch], min((each for each in files if each.startswith(name)), key=len))


def compiled(arch: str, scratch: Path) -> Path:
    """The probe for that architecture, kept by what it was made of. Raises MissingTool, TargetNotPrepared."""
    prefix = "" if platform.machine() == arch else f"{arch}-linux-gnu-"
    compiler = shutil.which(f"{prefix}gcc")
    if compiler is None:
        package = f"gcc-{arch.replace('_', '-')}-linux-gnu" if prefix else "gcc"
        raise MissingTool(
            f"there is no {prefix}gcc here, which compiles the probe for {arch}", f"apt-get install {package}"
        )
    sources = runtime("c")
    place = home() / f"probe-{arch}-{_digest(sources, compiler)}" / PROBE
    if place.is_file():
        return place
    made = scratch / PROBE
    command = [compiler, *_FLAGS, "edgekit.c", "probe.c", "-o", str(made), "-ldl", "-lpthread", "-lm"]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        words = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-200:])
        raise TargetNotPrepared(
            f"{prefix}gcc cannot compile the probe: {words}", "see that libc's headers are installed"
        )
    with writing_errors(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".probe-", delete=False) as part:
            shutil.copyfile(made, part.name)
        Path(part.name).chmod(0o755)
        Path(part.name).rename(place)
    return place


def _digest(sources: Path, compiler: str) -> str:
    """Of the sources, the flags and the compiler itself."""
    status = Path(compiler).stat()
    digest = hashlib.sha256(f"{compiler} {status.st_size} {status.st_mtime_ns} {_FLAGS}".encode())
    for path in sorted(sources.rglob("*.[ch]")):
        digest.update(f"{path.relative_to(sources)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _system(root: Path, arch: str) -> dict[str, Path]:
    """The loader and the system's libraries, wherever the root has them."""
    folders = [root / "usr" / "lib" / f"{arch}-linux-gnu", root / "usr" / "lib", root / "usr" / "lib64", root / "lib64"]
    found = {}
    for name in (LOADERS[arch], *SYSTEM):
        path = next((folder / name for folder in folders if (folder / name).exists()), None)
        if path is None:
            raise TargetNotPrepared(f"there is no {name} in {root}", f"edgekit targets prepare {arch} --force")
        found[name] = path
    return found


def _libraries(site: Path, engine: str) -> dict[str, Path]:
    """The engine's own, a file each; of llama.cpp also one for each kind of CPU."""
    if engine == "llama.cpp":
        folder, pattern = site / "llama_cpp" / "lib", "lib*.so*"
    else:
        folder, pattern = site / "onnxruntime" / "capi", "libonnxruntime.so*"
    found = {path.name: path for path in sorted(folder.glob(pattern)) if _is_asked_for(path)}
    if not found:
        raise TargetNotPrepared(f"there is no library of {engine} in {folder}", "edgekit targets prepare --force")
    return found


def _is_asked_for(path: Path) -> bool:
    """Whether it has the name that other libraries ask for: of libx.so, libx.so.0 and libx.so.0.1.2 the second."""
    stem, _, version = path.name.partition(".so")
    versions = [each.name.partition(".so")[2].lstrip(".") for each in path.parent.glob(f"{stem}.so*")]
    short = [each for each in versions if each.isdigit()]
    return version.lstrip(".") == (short[0] if short else min(versions))
