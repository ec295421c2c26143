"""Detecting the machine edgekit runs on: what it says of itself and, if asked, what a few seconds of bursts measure."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from edgekit.device.profile import (
    KNOWN_FEATURES,
    Cluster,
    Cpu,
    DeviceProfile,
    Features,
    Figure,
    MemoryBandwidth,
    Ram,
)
from edgekit.device.variants import best_variant
from edgekit.errors import UnknownDevice

# What an app may use where the system sets no limit of its own; the rest is the system's and its file cache.
APP_SHARE = 0.75

_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64", "armv7l": "armv7", "armv8l": "armv7"}
_SYSTEMS: Mapping[str, Literal["linux", "macos", "windows"]] = {"Darwin": "macos", "Windows": "windows"}
# The kernel's names of ARM features -> the standard ones (those of x86 are the standard ones already).
_ARM_FEATURES = {"asimd": "neon", "asimddp": "dotprod", "asimdhp": "fp16", "fphp": "fp16"}
_DARWIN_FEATURES = {
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.arm.FEAT_SME2": "sme2",
}
# CPU implementer 0x41 (Arm Ltd), part numbers from Arm's technical reference manuals.
ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd08": "Cortex-A72", "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd48": "Cortex-X2", "0xd49": "Neoverse-N2",
    "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3", "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd82": "Cortex-X4",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a machine says of itself; None where it says nothing. `limit_bytes` is a container's."""

    title: str
    features: frozenset[str] | None
    features_source: str
    clusters: tuple[Cluster, ...]
    total_bytes: int | None
    total_source: str
    limit_bytes: int | None = None


def detect(*, measure: bool = True) -> DeviceProfile:
    """The profile of this machine, named "host". With `measure`, about four seconds of bursts for bandwidth, fp32 and
    int8 throughput (ten on a busy machine).

    Cores are those this process may use (affinity, control group), hyper-threads counted once. What an app may use is
    three quarters of the memory limit or of all memory. UnknownDevice on an architecture that no profile can describe.
    """
    arch = _arch()
    facts = darwin_facts(_sysctl()) if sys.platform == "darwin" else linux_facts(Path("/"), _affinity())
    features = None if facts.features is None else facts.features & KNOWN_FEATURES[arch]
    os_name = _SYSTEMS.get(platform.system(), "linux")
    cpu = Cpu(
        arch=cast(Literal["x86_64", "aarch64", "armv7", "wasm32"], arch),
        isa=Features(value=(), status="unknown")
        if features is None
        else Features(value=tuple(sorted(features)), status="measured", source=facts.features_source),
        clusters=facts.clusters,
        ggml_variant="" if features is None else best_variant(arch, os_name, features),
    )
    profile = DeviceProfile(
        name="host",
        title=f"this machine ({facts.title})",
        os=os_name,
        form_factor="host",
        soc=facts.title,
        cpu=cpu,
        ram=_ram(facts),
    )
    return measured(profile) if measure else profile


def measured(profile: DeviceProfile) -> DeviceProfile:
    """`profile`, which is of this machine, with the speeds that bursts on all of its cores reach now."""
    from edgekit.device.burst import measure_speeds

    speeds = measure_speeds(profile.cores, profile.ram_budget_bytes)
    return with_speeds(
        profile,
        fp32=speeds.fp32_flops_per_s,
        int8=speeds.int8_ops_per_s,
        bandwidth=MemoryBandwidth(
            sustained_bytes_per_s=speeds.sustained_bytes_per_s, one_thread_bytes_per_s=speeds.one_thread_bytes_per_s
        ),
    )


def with_speeds(profile: DeviceProfile, *, fp32: Figure, int8: Figure, bandwidth: MemoryBandwidth) -> DeviceProfile:
    cpu = profile.cpu.model_copy(update={"fp32_flops_per_s": fp32, "int8_ops_per_s": int8})
    return profile.model_copy(update={"cpu": cpu, "memory_bandwidth": bandwidth})


def _arch() -> str:
    machine = platform.machine().lower()
    arch = _ARCHITECTURES.get(machine, machine)
    if arch not in KNOWN_FEATURES:
        raise UnknownDevice(f"this machine is a {machine}", f"profiles describe {', '.join(sorted(KNOWN_FEATURES))}")
    return arch


def _ram(facts: Facts) -> Ram:
    if facts.total_bytes is None:
        unknown = Figure(status="unknown")
        return Ram(total_bytes=unknown, app_bytes=unknown)
    total = Figure(value=facts.total_bytes, status="measured", source=facts.total_source)
    limited = facts.limit_bytes is not None and facts.limit_bytes < facts.total_bytes
    base = facts.limit_bytes if limited and facts.limit_bytes else facts.total_bytes
    source = f"{APP_SHARE:.0%} of {'the control group limit' if limited else 'all memory'}"
    return Ram(total_bytes=total, app_bytes=Figure(value=int(base * APP_SHARE), status="derived", source=source))


def linux_facts(root: Path, allowed: frozenset[int]) -> Facts:
    """Facts from the /proc and /sys under `root`, for a process that may run on the logical CPUs `allowed`."""
    blocks = _cpuinfo_blocks(_read(root / "proc/cpuinfo"))
    flags = [set((block.get("flags") or block.get("Features") or "").split()) for block in blocks]
    flags = [names for names in flags if names]
    shared = frozenset(_ARM_FEATURES.get(name, name) for name in set.intersection(*flags)) if flags else None
    total = re.search(r"^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    return Facts(
        title=_linux_title(root, blocks),
        features=frozenset({*shared, "sse3"}) if shared and "pni" in shared else shared,
        features_source="/proc/cpuinfo, what every core has",
        clusters=_linux_clusters(root, blocks, allowed),
        total_bytes=int(total.group(1)) * 1024 if total else None,
        total_source="/proc/meminfo",
        limit_bytes=_memory_limit(root),
    )


def _cpuinfo_blocks(text: str) -> list[dict[str, str]]:
    """One mapping for each logical CPU."""
    blocks = [dict(re.findall(r"^([^:\n]+?)\s*:[ \t]*(.*)$", block, re.MULTILINE)) for block in text.split("\n\n")]
    return [block for block in blocks if "processor" in block]


def _linux_title(root: Path, blocks: list[dict[str, str]]) -> str:
    board = _read(root / "proc/device-tree/model").strip("\0 \n")
    names = [_core_name(block) for block in blocks]
    return board or (names[0] if names else "unknown CPU")


def _core_name(block: Mapping[str, str]) -> str:
    part = block.get("CPU part", "").lower()
    if block.get("CPU implementer") == "0x41" and part in ARM_PARTS:
        return ARM_PARTS[part]
    return block.get("model name") or (f"ARM part {part}" if part else "unknown CPU")


def _linux_clusters(root: Path, blocks: list[dict[str, str]], allowed: frozenset[int]) -> tuple[Cluster, ...]:
    """Cores that may be used, by name and top speed; hyper-threads count once; a CPU quota takes from the last."""
    cores: dict[tuple[str, str], tuple[str, float | None]] = {}
    for block in blocks:
        number = int(block["processor"])
        if number in allowed:
            key = (block.get("physical id", ""), block.get("core id", f"cpu{number}"))
            khz = _read(root / f"sys/devices/system/cpu/cpu{number}/cpufreq/cpuinfo_max_freq").strip()
            cores.setdefault(key, (_core_name(block), int(khz) / 1000 if khz.isdigit() else None))
    left = min(len(cores) or len(allowed) or 1, _cpu_quota(root) or 1 << 20)
    kinds = list(cores.values()) or [("unknown CPU", None)] * left
    clusters = []
    for name, mhz in sorted(set(kinds), key=lambda kind: (-(kind[1] or 0), kind[0])):
        count = min(left, kinds.count((name, mhz)))
        left -= count
        if count:
            clusters.append(
                Cluster(
                    microarchitecture=name, count=count, mhz=mhz, status="measured", source="/proc/cpuinfo, cpufreq"
                )
            )
    return tuple(clusters)


def _cpu_quota(root: Path) -> int | None:
    """Whole CPUs that the control group grants, rounded up; None without a limit."""
    quotas = []
    for folder in _group_folders(root, "cpu"):
        words = _read(folder / "cpu.max").split() or [
            _read(folder / "cpu.cfs_quota_us").strip(),
            _read(folder / "cpu.cfs_period_us").strip(),
        ]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
            quotas.append(max(1, -(-int(words[0]) // int(words[1]))))
    return min(quotas, default=None)


def _memory_limit(root: Path) -> int | None:
    """The tightest memory limit of the control groups around this process, in bytes; None without one."""
    limits = []
    for folder in _group_folders(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            if text.isdigit() and 0 < int(text) < 1 << 60:  # version 1 writes "no limit" as a number near 2**63
                limits.append(int(text))
    return min(limits, default=None)


def _group_folders(root: Path, controller: str) -> list[Path]:
    """The folders of this process's control groups, version 1 and 2, from its own up to the mount."""
    folders = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup"
        base = mount / controller if controllers else mount
        parts = [part for part in path.split("/") if part not in ("", "..")]
        folders += [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return folders or [root / "sys/fs/cgroup"]


def darwin_facts(sysctl: Mapping[str, str]) -> Facts:
    """Facts from the values of macOS's sysctl."""
    x86 = f"{sysctl.get('machdep.cpu.features', '')} {sysctl.get('machdep.cpu.leaf7_features', '')}".lower()
    found = {name for key, name in _DARWIN_FEATURES.items() if sysctl.get(key) == "1"}
    if x86.strip():
        found |= {name.replace(".", "_").replace("avx1_0", "avx") for name in x86.split()}
    elif found:
        found.add("neon")
    title = sysctl.get("machdep.cpu.brand_string") or "Mac"
    clusters = []
    for level, word in (("hw.perflevel0", "performance"), ("hw.perflevel1", "efficiency")):
        count = sysctl.get(f"{level}.physicalcpu", "0")
        if count.isdigit() and int(count):
            clusters.append(_darwin_cluster(f"{title} {word}", int(count)))
    if not clusters:
        count = sysctl.get("hw.physicalcpu", "1")
        clusters = [_darwin_cluster(title, int(count) if count.isdigit() else 1)]
    total = sysctl.get("hw.memsize", "")
    return Facts(
        title=title,
        features=frozenset(found) or None,
        features_source="sysctl",
        clusters=tuple(clusters),
        total_bytes=int(total) if total.isdigit() else None,
        total_source="sysctl hw.memsize",
    )


def _darwin_cluster(name: str, count: int) -> Cluster:
    return Cluster(microarchitecture=name, count=count, status="measured", source="sysctl")


def _sysctl() -> dict[str, str]:
    done = subprocess.run(["/usr/sbin/sysctl", "-a"], capture_output=True, text=True, check=False, timeout=20)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
