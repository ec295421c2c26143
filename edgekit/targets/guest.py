"""What runs inside the emulator: the start-up of the probe, and the x86 CPU's own account of its features.

Under qemu-user an x86 process reads this machine's /proc/cpuinfo, not the emulated CPU's; a runtime that believed it
would think of VNNI where there is none. So the root it sees is given a /proc/cpuinfo made from CPUID.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import TargetNotPrepared, UnknownCpu, plain
from edgekit.targets.preparing.tools import run

DOING = "doing"
MAPS = "maps"
SYSTEM_INFO = "system-info"

# Notes what is being done, for whom an illegal instruction ends; then runs the probe, and tells where the engine's
# libraries were loaded and what the engine says of the CPU.
START = f"""
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
folder = os.path.dirname(os.path.abspath(sys.argv[1]))
def doing(what):
    with open(os.path.join(folder, {DOING!r}), "w") as file: file.write(what)
steps = {{"numpy": "importing numpy", "onnxruntime": "loading the engine", "llama_cpp": "loading the engine"}}
def heard(event, arguments):
    if event == "import" and arguments[0] in steps: doing(steps.pop(arguments[0]))
sys.addaudithook(heard)
doing("starting the runtime")
from edgekit_runtime.probe import main
from edgekit_runtime import _session
if hasattr(_session, "load"):
    load = _session.load
    def told(*arguments, **options):
        session = load(*arguments, **options)
        doing("running the model")
        return session
    _session.load = told
status = main(sys.argv[1:])
with open("/proc/self/maps") as file: lines = [line for line in file if ".so" in line]
with open(os.path.join(folder, {MAPS!r}), "w") as file: file.writelines(lines)
if "llama_cpp" in sys.modules:
    with open(os.path.join(folder, {SYSTEM_INFO!r}), "wb") as file:
        file.write(sys.modules["llama_cpp"].llama_print_system_info())
sys.exit(status)
"""

# Runs CPUID for each "leaf,subleaf" and prints [[eax, ebx, ecx, edx], ...]. The function it calls, of the System V ABI:
#   mov r8, rdx; mov eax, edi; mov ecx, esi; push rbx; cpuid; mov [r8], eax; mov [r8+4], ebx; mov [r8+8], ecx;
#   mov [r8+12], edx; pop rbx; ret
_CPUID = """
import ctypes, json, mmap, sys
code = bytes.fromhex("4989d089f889f1530fa241890041895804418948084189500c5bc3")
page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))(address)
def cpuid(leaf, subleaf):
    found = (ctypes.c_uint32 * 4)()
    call(leaf, subleaf, found)
    return list(found)
print(json.dumps([cpuid(*map(int, each.split(","))) for each in sys.argv[1:]]))
"""
# qemu's complaint about a feature that it does not emulate; others than these decide no kernel.
_LACKING = re.compile(r"doesn't support requested feature: \S+?\.((?:avx|amx|fma|sse|ssse|f16c)[\w-]*)")
_TOO_OLD = "does not support 64 bit mode"
_EAX, _EBX, _ECX, _EDX = range(4)
_BRAND_LEAVES = tuple((leaf, 0) for leaf in (0x80000002, 0x80000003, 0x80000004))
# (leaf, subleaf), register -> bit: the kernel's name of the feature, for those that decide what software runs.
_FEATURES: Mapping[tuple[int, int], Mapping[int, Mapping[int, str]]] = {
    (1, 0): {
        _ECX: {
            0: "pni", 1: "pclmulqdq", 9: "ssse3", 12: "fma", 13: "cx16", 19: "sse4_1", 20: "sse4_2", 22: "movbe",
            23: "popcnt", 25: "aes", 26: "xsave", 28: "avx", 29: "f16c", 30: "rdrand",
        },
        _EDX: {0: "fpu", 4: "tsc", 8: "cx8", 15: "cmov", 23: "mmx", 24: "fxsr", 25: "sse", 26: "sse2"},
    },
    (7, 0): {
        _EBX: {
            3: "bmi1", 5: "avx2", 8: "bmi2", 9: "erms", 16: "avx512f", 17: "avx512dq", 19: "adx", 28: "avx512cd",
            29: "sha_ni", 30: "avx512bw", 31: "avx512vl",
        },
        _ECX: {1: "avx512vbmi", 6: "avx512_vbmi2", 8: "gfni", 9: "vaes", 10: "vpclmulqdq", 11: "avx512_vnni"},
        _EDX: {22: "amx_bf16", 23: "avx512_fp16", 24: "amx_tile", 25: "amx_int8"},
    },
    (7, 1): {_EAX: {4: "avx_vnni", 5: "avx512_bf16"}},
    (0x80000001, 0): {
        _ECX: {0: "lahf_lm", 5: "abm", 6: "sse4a", 8: "3dnowprefetch"},
        _EDX: {11: "syscall", 20: "nx", 29: "lm"},
    },
}  # fmt: skip


def environment(root: Path, path: str, scratch: Path) -> dict[str, str]:
    """All that a guest's Python is told: nothing of this machine's own variables reaches it."""
    return {
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
    }


def view(root: Path, emulator: Path, python: Path, cpu: str, place: Path) -> None:
    """A folder at `place` that looks as `root` does, with the /proc/cpuinfo of the emulated x86 CPU.

    Raises UnknownCpu where the emulator leaves out instructions that the engines would run on such a CPU.
    """
    (place / "proc").mkdir(parents=True)
    for path in root.iterdir():
        (place / path.name).symlink_to(path)
    leaves = [*_FEATURES, *_BRAND_LEAVES]
    asked = [f"{leaf},{subleaf}" for leaf, subleaf in leaves]
    command = [str(emulator), "-L", str(root), "-cpu", cpu, str(python), "-c", _CPUID, *asked]
    variables = [f"{name}={value}" for name, value in environment(root, "", place).items()]
    doing, remedy = f"asking {cpu} for its features", "prepare again with --force"
    told = run(["env", "-i", *variables, *command], doing, remedy, fine=(0, 1))
    if _TOO_OLD in told:
        raise UnknownCpu(f"{cpu} runs no 64-bit program, and the engines are none else", "name a CPU such as Haswell")
    if lacking := sorted(set(_LACKING.findall(told))):
        named = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise UnknownCpu(
            f"the emulator knows {cpu}, but not its {named}: it would run other kernels than the CPU does",
            "validate on such a machine (--on ssh:USER@HOST), or on emulated:Haswell, which has AVX2",
        )
    answers = next((line for line in told.splitlines() if line.startswith("[[")), None)
    if answers is None:
        raise TargetNotPrepared(f"{doing} failed: {plain(told)[-300:] or 'it said nothing'}", remedy)
    answered = dict(zip(leaves, json.loads(answers), strict=True))
    (place / "proc" / "cpuinfo").write_text(_cpuinfo(answered, cpu), encoding="utf-8")


def _cpuinfo(registers: Mapping[tuple[int, int], list[int]], cpu: str) -> str:
    """/proc/cpuinfo of one core, from CPUID's registers by (leaf, subleaf)."""
    flags = [
        name
        for leaf, by_register in _FEATURES.items()
        for register, bits in by_register.items()
        for bit, name in bits.items()
        if registers[leaf][register] >> bit & 1
    ]
    raw = b"".join(value.to_bytes(4, "little") for leaf in _BRAND_LEAVES for value in registers[leaf])
    brand = raw.decode("latin-1").strip("\0 ") or cpu
    fields = {
        "processor": "0",
        "model name": brand,
        "physical id": "0",
        "core id": "0",
        "cpu cores": "1",
        "flags": " ".join(flags),
    }
    return "".join(f"{name}\t: {value}\n" for name, value in fields.items()) + "\n"


def last_doing(folder: Path) -> str:
    try:
        return (folder / DOING).read_text(encoding="utf-8") or "starting Python"
    except OSError:
        return "starting Python"


def python_of(root: Path, version: str) -> Path:
    return root / "usr" / "bin" / f"python{version}"


def search_path(folders: list[Path]) -> str:
    return os.pathsep.join(str(folder) for folder in folders)
