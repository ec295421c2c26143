from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.device import check_profile, detect, host, load_profile, to_toml
from edgekit.device.host import darwin_facts, linux_facts
from edgekit.device.variants import best_variant
from edgekit.errors import UnknownDevice

X86 = (
    "processor\t: {n}\nmodel name\t: Some CPU\nphysical id\t: 0\ncore id\t\t: {core}\n"
    "flags\t\t: pni avx2 avx512_vnni {more}\n\n"
)
ARM = "processor\t: {n}\nFeatures\t: fp asimd asimdhp asimddp {more}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_x86_features_are_those_every_core_has_and_hyperthreads_count_once(tmp_path: Path) -> None:
    cpuinfo = "".join(X86.format(n=n, core=n // 2, more="fma" if n else "") for n in range(8))
    facts = linux_facts(
        machine(tmp_path, {"proc/cpuinfo": cpuinfo, "proc/meminfo": "MemTotal:  1024 kB\n"}), frozenset(range(8))
    )
    assert facts.features == {"pni", "sse3", "avx2", "avx512_vnni"}
    assert [(cluster.microarchitecture, cluster.count) for cluster in facts.clusters] == [("Some CPU", 4)]
    assert facts.total_bytes == 1 << 20


def test_affinity_and_quota_limit_the_cores(tmp_path: Path) -> None:
    cpuinfo = "".join(X86.format(n=n, core=n, more="") for n in range(8))
    root = machine(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert linux_facts(root, frozenset({0, 1, 2})).clusters[0].count == 3
    machine(root, {"sys/fs/cgroup/cpu.max": "150000 100000\n"})
    assert linux_facts(root, frozenset({0, 1, 2})).clusters[0].count == 2
    machine(root, {"sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert linux_facts(root, frozenset({0, 1, 2})).clusters[0].count == 3


def test_arm_clusters_by_part_and_speed(tmp_path: Path) -> None:
    parts = ["0xd46"] * 4 + ["0xd4d"] * 4 + ["0xd4e"]
    files = {"proc/cpuinfo": "".join(ARM.format(n=n, part=part, more="i8mm bf16") for n, part in enumerate(parts))}
    files |= {f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": f"{khz}\n"
              for n, khz in enumerate([1700000] * 4 + [2370000] * 4 + [2910000])}  # fmt: skip
    files["proc/device-tree/model"] = "Some Board\0"
    facts = linux_facts(machine(tmp_path, files), frozenset(range(9)))
    assert facts.title == "Some Board"
    assert facts.features is not None
    assert facts.features >= {"neon", "fp16", "dotprod", "i8mm", "bf16"}
    assert [(cluster.microarchitecture, cluster.count, cluster.mhz) for cluster in facts.clusters] == [
        ("Cortex-X3", 1, 2910),
        ("Cortex-A715", 4, 2370),
        ("Cortex-A510", 4, 1700),
    ]


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, None),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "1000000\n"}, 1000000),
        ("0::/a/b\n", {"sys/fs/cgroup/a/memory.max": "500\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 500),
        ("0::/a\n", {"sys/fs/cgroup/a/memory.max": "900\n", "sys/fs/cgroup/a/memory.high": "800\n"}, 800),
        ("5:memory:/x\n", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "700\n"}, 700),
        ("5:memory:/x\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("5:memory:/outside/of/the/namespace\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "600\n"}, 600),
        ("", {"sys/fs/cgroup/memory.max": "400\n"}, 400),
    ],
)
def test_the_tightest_memory_limit_of_the_control_groups(
    tmp_path: Path, group: str, files: dict[str, str], limit: int | None
) -> None:
    assert linux_facts(machine(tmp_path, {"proc/self/cgroup": group, **files}), frozenset({0})).limit_bytes == limit


def test_a_limited_container_gets_its_share_of_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal: 8388608 kB\n", "sys/fs/cgroup/memory.max": str(2**30)}
    facts = linux_facts(machine(tmp_path, files), frozenset({0}))
    monkeypatch.setattr(host, "linux_facts", lambda root, allowed: facts)
    monkeypatch.setattr(host.sys, "platform", "linux")
    ram = detect(measure=False).ram
    assert (ram.total_bytes.value, ram.app_bytes.value) == (2**33, int(2**30 * 0.75))
    assert "control group limit" in ram.app_bytes.source


def test_a_machine_that_says_nothing_is_unknown_not_guessed(tmp_path: Path) -> None:
    facts = linux_facts(tmp_path, frozenset({0, 1}))
    assert (facts.features, facts.total_bytes, facts.limit_bytes) == (None, None, None)
    assert facts.clusters[0].count == 2


def test_macs() -> None:
    m1 = darwin_facts({
        "machdep.cpu.brand_string": "Apple M1", "hw.memsize": "8589934592", "hw.optional.arm.FEAT_DotProd": "1",
        "hw.optional.arm.FEAT_FP16": "1", "hw.optional.arm.FEAT_I8MM": "0", "hw.perflevel0.physicalcpu": "4",
        "hw.perflevel1.physicalcpu": "4",
    })  # fmt: skip
    assert m1.features == {"neon", "dotprod", "fp16"}
    assert [cluster.count for cluster in m1.clusters] == [4, 4]
    assert m1.total_bytes == 8 * 2**30
    intel = darwin_facts({
        "machdep.cpu.brand_string": "Intel Core i5", "machdep.cpu.features": "FPU SSE4.2 AVX1.0 FMA F16C",
        "machdep.cpu.leaf7_features": "AVX2 BMI2", "hw.physicalcpu": "2",
    })  # fmt: skip
    assert intel.features is not None
    assert intel.features >= {"sse4_2", "avx", "fma", "f16c", "avx2", "bmi2"}
    assert [cluster.count for cluster in intel.clusters] == [2]


def test_an_architecture_no_profile_describes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.platform, "machine", lambda: "riscv64")
    with pytest.raises(UnknownDevice, match="this machine is a riscv64"):
        detect(measure=False)


def test_a_measured_machine_is_a_profile_without_faults(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    profile = detect(measure=True)
    path.write_text(to_toml(profile), encoding="utf-8")
    assert check_profile(path) == []
    assert load_profile(str(path)) == profile
    for figure in (profile.memory_bandwidth.sustained_bytes_per_s, profile.cpu.fp32_flops_per_s):
        assert figure.status == "measured"
    assert profile.cpu.ggml_variant
    assert all(cluster.status == "measured" for cluster in profile.cpu.clusters)


@pytest.mark.parametrize(
    ("arch", "os", "features", "variant"),
    [
        ("x86_64", "linux", {"sse4_2", "avx", "f16c", "fma", "avx2", "bmi2"}, "haswell"),
        ("x86_64", "windows", set(), "x64"),
        ("aarch64", "linux", {"neon", "dotprod", "fp16", "i8mm", "bf16"}, "armv8.2_2"),  # armv8.6_1 wants sve
        ("aarch64", "android", {"neon", "dotprod", "fp16", "i8mm", "bf16"}, "android_armv8.6_1"),
        ("aarch64", "macos", {"neon", "dotprod", "fp16", "i8mm"}, "apple_m2_m3"),
        ("aarch64", "windows", {"neon", "dotprod"}, ""),
        ("armv7", "linux", {"neon"}, ""),
        ("wasm32", "browser", {"simd128"}, ""),
    ],
)
def test_the_most_demanding_variant_that_runs(arch: str, os: str, features: set[str], variant: str) -> None:
    assert best_variant(arch, os, frozenset(features)) == variant
