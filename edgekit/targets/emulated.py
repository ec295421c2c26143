"""An emulated CPU: the bundle's runtime under qemu-user, with instructions that this machine may lack, and only those.

It computes as that CPU does: what starts there starts on the device, what it answers the device answers. How fast is
another matter: no time and no memory is ever told from here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import TargetNotPrepared, UsageError, ValidationFailed
from edgekit.resources import probe_runtime
from edgekit.targets import Conditions, Kind, endings
from edgekit.targets.guest import MAPS, START, SYSTEM_INFO, environment, last_doing, python_of, search_path, view
from edgekit.targets.kernels import Listing, library_ranges
from edgekit.targets.preparing.cpus import Cpu, find
from edgekit.targets.preparing.store import Prepared, home, read
from edgekit.targets.preparing.tools import tied
from edgekit.targets.preparing.units import Unit, qemu, unit_of, units

MAX_INPUTS = 64
# About two minutes of an emulated language model.
MAX_PARAMETER_TOKENS = 2e10
# Of the probe's figures those that only a clock or a memory gauge gives.
_UNTRUE = re.compile(r".*(_ms|_per_s|rss_bytes|anonymous_bytes)$")
# The engine's code, among everything a process has mapped; its kernels lie there.
_LIBRARIES = {"onnxruntime": r"/onnxruntime/capi/[^/]*\.so", "llama.cpp": r"/libggml-cpu[^/]*\.so"}
_VNNI = {"avx512_vnni", "avx_vnni"}


@contextmanager
def opened(rest: str, conditions: Conditions) -> Iterator[Emulated]:
    """See targets.Module. Raises UsageError, UnknownCpu or TargetNotPrepared."""
    named = rest or conditions.device.cpu.qemu_cpu
    if not named:
        raise UsageError(
            f"the profile {conditions.device.name} names no CPU to emulate",
            "name one: --on emulated:cortex-a76, or of x86 without VNNI emulated:Haswell",
        )
    emulator = _needed(qemu(), named)
    cpu = find(named, emulator.folder)
    _, machine = units((cpu.arch,), ())
    root = _needed(machine, cpu.arch)
    if conditions.engine is not None:
        _engine(cpu, conditions.engine)
    with tempfile.TemporaryDirectory(prefix="edgekit-emulated-") as name:
        seen = root.folder / "root"
        if cpu.arch == "x86_64":
            conditions.progress.step(f"ask {cpu.name} for its features")
            seen = Path(name) / "view"
            program = emulator.folder / f"qemu-{cpu.arch}"
            view(root.folder / "root", program, _python(root), cpu.name, seen)
        yield Emulated(cpu, emulator, root, seen)


class Emulated:
    """See targets.Target. `seen` is the root as the guest sees it."""

    kind: Kind = "emulated"
    max_inputs = MAX_INPUTS
    max_parameter_tokens = MAX_PARAMETER_TOKENS
    times = False

    def __init__(self, cpu: Cpu, emulator: Prepared, root: Prepared, seen: Path) -> None:
        self._cpu, self._emulator, self._root, self._seen = cpu, emulator, root, seen

    @property
    def name(self) -> str:
        return f"emulated:{self._cpu.name}"

    def run(self, bundle: Path, job: Path, timeout_s: float) -> None:
        engine = str(json.loads((bundle / "edgekit.json").read_bytes())["engine"])
        site = _engine(self._cpu, engine).folder / "site"
        guest = _Guest(self._cpu, self._emulator, self._root, self._seen, site, engine)
        asked = {**json.loads(job.read_bytes()), "threads": 1}
        result, kernels = guest.probe(bundle, job.parent, asked, timeout_s)
        result = {name: value for name, value in result.items() if not _UNTRUE.match(name)}
        result |= {
            "cpu": self._cpu.name,
            "emulator": f"qemu-user {self._emulator.versions['qemu-user']}",
            "kernels": kernels,
        }
        if asked.get("goldens") and asked.get("isa_safety", True) and _was_guarded(self._cpu, result, kernels):
            unguarded = {**asked, "isa_safety": False, "fidelity": {}, "tokenize": []}
            with tempfile.TemporaryDirectory(prefix="unguarded-", dir=job.parent) as name:
                found, _ = guest.probe(bundle, Path(name), unguarded, timeout_s)
            if found.get("isa_safety") is False:  # an older runtime knows no such key, and kept its guard
                result["unsafe_goldens"] = found["goldens"]
        (job.parent / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Guest:
    """All that a run of one bundle's probe takes."""

    cpu: Cpu
    emulator: Prepared
    root: Prepared
    seen: Path
    engine_site: Path
    engine: str

    def probe(
        self, bundle: Path, folder: Path, job: Mapping[str, Any], timeout_s: float
    ) -> tuple[dict[str, Any], list[str]]:
        """(result.json, the kernels seen in words), of `job` run in `folder`."""
        asked = folder / "emulated.json"
        asked.write_text(json.dumps(job), encoding="utf-8")
        code, told, listing = self._run(bundle, folder, asked, timeout_s)
        if code != 0:
            raise self._failure(code, told, folder)
        result: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
        maps = (folder / MAPS).read_text(encoding="utf-8", errors="replace")
        kernels = listing.words(library_ranges(maps, _LIBRARIES[self.engine]))
        if (info := folder / SYSTEM_INFO).is_file():
            kernels.insert(0, _variant(maps, info.read_text(encoding="utf-8", errors="replace")))
        return result, kernels

    def _run(self, bundle: Path, folder: Path, asked: Path, timeout_s: float) -> tuple[int, str, Listing]:
        """(exit status, what it said on standard error, the instructions seen)."""
        root = self.root.folder / "root"
        path = search_path([self.root.folder / "site", self.engine_site, probe_runtime(bundle)])
        listing = Listing(self.cpu.arch)
        reading, writing = os.pipe()
        program = str(self.emulator.folder / f"qemu-{self.cpu.arch}")
        command = [program, "-L", str(self.seen), "-cpu", self.cpu.name, "-d", "in_asm", "-D", f"/dev/fd/{writing}"]
        with os.fdopen(reading, "rb") as stream:
            reader = threading.Thread(target=listing.read, args=(stream,), daemon=True)
            try:
                process = subprocess.Popen(
                    tied([*command, str(_python(self.root)), "-c", START, str(asked)]),
                    env=environment(root, path, folder),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd=folder,
                    pass_fds=(writing,),
                    text=True,
                    errors="replace",
                )
            finally:
                os.close(writing)
            reader.start()
            try:
                told = _ended(process, self.cpu.name, timeout_s)
            finally:
                reader.join()  # whatever happened, the process is gone, and its listing with it
        return process.returncode, told, listing

    def _failure(self, code: int, told: str, folder: Path) -> ValidationFailed:
        """Raises NoSpace where that is why."""
        doing, told = last_doing(folder), "\n".join(each for each in told.splitlines() if not each.startswith("qemu"))
        endings.check_disk(code, told, folder)
        if code in (-signal.SIGILL, -signal.SIGSEGV, -signal.SIGBUS):
            what = "illegal instruction" if code == -signal.SIGILL else f"{signal.Signals(-code).name}"
            built = f"numpy {self.root.versions['numpy']}" if "numpy" in doing else self.engine
            return ValidationFailed(
                f"{what} on {self.cpu.name} while {doing}",
                f"{built} is built for newer CPUs than that: the bundle does not run there",
            )
        return endings.failure(code, told, f"emulated:{self.cpu.name}")


def _ended(process: subprocess.Popen[str], cpu: str, timeout_s: float) -> str:
    """What it said, once it is gone. Its standard input stays open as long as we live, and it ends with that."""
    assert process.stdin is not None
    assert process.stderr is not None
    said: list[str] = []
    stderr = process.stderr
    listener = threading.Thread(target=lambda: said.append(stderr.read()), daemon=True)
    listener.start()
    try:
        process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ValidationFailed(
            f"the emulated {cpu} took more than {timeout_s:.0f} s", "give fewer --eval rows, or a smaller model"
        ) from error
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        listener.join()
        stderr.close()
    return "".join(said)


def _python(root: Prepared) -> Path:
    return python_of(root.folder / "root", root.versions["python"])


def _engine(cpu: Cpu, engine: str) -> Prepared:
    name = unit_of(cpu.arch, engine)
    unit = next(each for each in units((cpu.arch,), (engine,)) if each.name == name)
    return _needed(unit, f"{cpu.arch} --engine {engine}")


def _needed(unit: Unit, words: str) -> Prepared:
    """The unit, prepared for the versions that are installed here; `words` follow `edgekit targets prepare`."""
    found = read(unit.name)
    why = f"there is no {unit.name} in {home()}" if found is None else unit.stale(found)
    if found is None or why:
        raise TargetNotPrepared(
            f"{unit.name} is not prepared: {why}",
            f"edgekit targets prepare {words}; without a network, add --from DIR, made elsewhere with --download DIR",
        )
    return found


def _was_guarded(cpu: Cpu, result: Mapping[str, Any], kernels: list[str]) -> bool:
    """Whether int8 products ran here that would saturate without the runtime's guard: ONNX Runtime's for AVX2."""
    has_int8 = any(words.startswith("int8 products") and "(AVX2;" in words for words in kernels)
    onnx = str(result.get("engine", "")).startswith("onnxruntime")
    return cpu.arch == "x86_64" and onnx and has_int8 and not _VNNI & set(result.get("isa") or ())


def _variant(maps: str, info: str) -> str:
    """ "ggml CPU variant armv8.2_2 (NEON ARM_FMA DOTPROD)": the library loaded, and what it says of itself."""
    found = re.search(r"/libggml-cpu-?([^/]*?)\.so", maps)
    features = re.findall(r"(\w+) = 1\b", info)
    return f"ggml CPU variant {found[1] if found else 'unknown'} ({' '.join(features) or 'no features told'})"
