"""What this machine says of itself: CPU features, cores, memory of this process. Unknown is None, never a guess."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from .errors import UnsupportedDevice

_CPUINFO = Path("/proc/cpuinfo")
_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64", "armv7l": "armv7", "armv8l": "armv7"}
# What decides which kernels the engines choose; /proc/cpuinfo lists a hundred more.
_X86 = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
)
_ARM = ("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme")
INSTRUCTION_SETS = frozenset(_X86 + _ARM)
# The kernel's ARM names -> the standard ones; x86 flags are spelt the standard way already.
_ARM_FEATURES = {"asimd": "neon", "asimddp": "dotprod", "asimdhp": "fp16", "fphp": "fp16"}


def arch() -> str:
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def isa_features(cpuinfo: str | None = None) -> frozenset[str] | None:
    """ISA features every core has, by standard name (avx2, avx512_vnni, dotprod, i8mm); None where none can be read."""
    text = _read(_CPUINFO) if cpuinfo is None else cpuinfo
    cores = [set(line.split()) for line in re.findall(r"^(?:flags|Features)\s*:(.*)$", text or "", re.MULTILINE)]
    if not cores:
        return None
    shared = set.intersection(*cores)
    return frozenset(_ARM_FEATURES.get(name, name) for name in shared)


def cpu_model() -> str | None:
    text = _read(_CPUINFO) or ""
    for key in ("model name", "Model", "Hardware"):
        if found := re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE):
            return found.group(1).strip()
    return platform.processor() or None


def physical_cores(cpuinfo: str | None = None) -> int:
    """Cores this process may use, hyper-threads counted once, no more than its CPU quota. At least 1."""
    allowed = _allowed()
    count = len(_cores(cpuinfo, allowed)) or len(allowed)
    return max(1, min(count, _cpu_quota() or count))


def cpu_parts(cpuinfo: str | None = None) -> list[str]:
    """What each core is that this process may use: "implementer:part" of ARM ("0x41:0xd0b"), of x86
    "vendor:family:model:stepping" ("AuthenticAMD:25:17:1"). Empty where the system does not say.
    """
    parts = []
    for block in _cores(cpuinfo, _allowed()).values():
        arm = [block.get(key, "").lower() for key in ("CPU implementer", "CPU part")]
        x86 = [block.get(key, "") for key in ("vendor_id", "cpu family", "model", "stepping")]
        if words := next((words for words in (arm, x86) if all(words)), None):
            parts.append(":".join(words))
    return parts


def ram_total_bytes() -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB$", _read(Path("/proc/meminfo")) or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _cores(cpuinfo: str | None, allowed: set[int]) -> dict[tuple[str | None, str], dict[str, str]]:
    """What /proc/cpuinfo says of each physical core among the logical CPUs `allowed`, of its first thread."""
    text = (_read(_CPUINFO) or "") if cpuinfo is None else cpuinfo
    cores: dict[tuple[str | None, str], dict[str, str]] = {}
    for block in text.split("\n\n"):
        fields = dict(re.findall(r"^([^:\n]+?)\s*:[ \t]*(.*?)[ \t]*$", block, re.MULTILINE))
        number = fields.get("processor", "")
        if number.isdigit() and int(number) in allowed:
            cores.setdefault((fields.get("physical id"), fields.get("core id", "cpu" + number)), fields)
    return cores


def _cpu_quota() -> int | None:
    """Whole CPUs that control group 2 grants, rounded up; None without a limit."""
    words = (_read(Path("/sys/fs/cgroup/cpu.max")) or "").split()
    if len(words) != 2 or not words[0].isdigit():
        return None
    return max(1, -(-int(words[0]) // int(words[1])))


def memory_bytes() -> dict[str, int | None]:
    """Of this process: peak resident, and resident now in anonymous and in file-backed pages."""
    text = _read(Path("/proc/self/status")) or ""

    def field(name: str) -> int | None:
        found = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
        return int(found.group(1)) * 1024 if found else None

    return {
        "peak_rss_bytes": field("VmHWM"),
        "anonymous_bytes": field("RssAnon"),
        "file_rss_bytes": field("RssFile"),
    }


def resident_below(folder: Path) -> int | None:
    """Bytes of this process's resident pages that map files below `folder`; None where the system does not say."""
    text = _read(Path("/proc/self/smaps"))
    if text is None:
        return None
    mapped = re.findall(
        r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ [1-9]\d* +(.+)\n(?:[A-Z].*\n)*?Rss: +(\d+) kB", text, re.MULTILINE
    )
    return sum(1024 * int(kib) for path, kib in mapped if Path(path).is_relative_to(folder))


def check_isa(min_isa: dict[str, list[str]]) -> list[str]:
    """UnsupportedDevice if this CPU lacks a feature demanded of its architecture; notes on what cannot be checked."""
    demanded = min_isa.get(arch(), [])
    if not demanded:
        return []
    features = isa_features()
    if features is None:
        return [f"the CPU's features cannot be read here; the bundle needs {', '.join(demanded)} on {arch()}"]
    missing = [name for name in demanded if name not in features]
    if missing:
        raise UnsupportedDevice(
            f"this {arch()} CPU lacks {', '.join(missing)}, which the bundle needs: pack it again for this device"
        )
    return []


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
