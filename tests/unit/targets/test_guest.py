"""The /proc/cpuinfo made for an emulated x86 CPU."""

from __future__ import annotations

from edgekit_runtime import _machine

from edgekit.targets import guest


def registers(**values: int) -> dict[tuple[int, int], list[int]]:
    leaves = [*guest._FEATURES, *guest._BRAND_LEAVES]
    found = {leaf: [0, 0, 0, 0] for leaf in leaves}
    found[1, 0][guest._ECX] = values.get("leaf1_ecx", 0)
    found[7, 0][guest._EBX] = values.get("leaf7_ebx", 0)
    found[7, 0][guest._ECX] = values.get("leaf7_ecx", 0)
    return found


def test_the_runtime_reads_the_features_that_cpuid_tells() -> None:
    haswell = registers(leaf1_ecx=1 << 28 | 1 << 12 | 1 << 20, leaf7_ebx=1 << 5)
    features = _machine.isa_features(guest._cpuinfo(haswell, "Haswell"))
    assert features == {"avx", "fma", "sse4_2", "avx2"}


def test_vnni_is_told_only_where_there_is_some() -> None:
    assert "avx512_vnni" in (_machine.isa_features(guest._cpuinfo(registers(leaf7_ecx=1 << 11), "x")) or ())
    assert _machine.isa_features(guest._cpuinfo(registers(), "x")) == frozenset()


def test_one_core_of_the_name_that_cpuid_spells_or_else_of_qemus() -> None:
    named = registers()
    named[0x80000002, 0] = [int.from_bytes(part, "little") for part in (b"Some", b" CPU", b"\0\0\0\0", b"\0\0\0\0")]
    text = guest._cpuinfo(named, "Nehalem")
    assert "model name\t: Some CPU\n" in text
    assert "model name\t: Nehalem\n" in guest._cpuinfo(registers(), "Nehalem")
    assert _machine.physical_cores(text) == 1
