"""The CPU variants of ggml (GGML_CPU_ALL_VARIANTS in its src/CMakeLists.txt, 0.25.3) and what each needs of a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_AVX2 = ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
_AVX512 = (*_AVX2, "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")
_ARM8_2 = ("neon", "dotprod", "fp16")


def _sets(rows: Mapping[str, tuple[str, ...]]) -> Mapping[str, frozenset[str]]:
    return MappingProxyType({name: frozenset(features) for name, features in rows.items()})


# By architecture and system, each list from the least to the most demanding.
X86 = _sets({
    "x64": (),
    "sse42": ("sse4_2",),
    "sandybridge": ("sse4_2", "avx"),
    "ivybridge": ("sse4_2", "avx", "f16c"),
    "piledriver": ("sse4_2", "avx", "f16c", "fma"),
    "haswell": _AVX2,
    "alderlake": (*_AVX2, "avx_vnni"),
    "skylakex": _AVX512,
    "cannonlake": (*_AVX512, "avx512vbmi"),
    "cascadelake": (*_AVX512, "avx512_vnni"),
    "cooperlake": (*_AVX512, "avx512_vnni", "avx512_bf16"),
    "icelake": (*_AVX512, "avx512vbmi", "avx512_vnni"),
    "zen4": (*_AVX512, "avx512vbmi", "avx512_vnni", "avx512_bf16"),
    "sapphirerapids": (*_AVX512, "avx512vbmi", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8"),
})  # fmt: skip
ARM_LINUX = _sets({
    "armv8.0_1": ("neon",),
    "armv8.2_1": ("neon", "dotprod"),
    "armv8.2_2": _ARM8_2,
    "armv8.2_3": (*_ARM8_2, "sve"),
    "armv8.6_1": (*_ARM8_2, "sve", "i8mm"),
    "armv8.6_2": (*_ARM8_2, "sve", "i8mm", "sve2"),
    "armv9.2_1": (*_ARM8_2, "sve", "i8mm", "sme"),
    "armv9.2_2": (*_ARM8_2, "sve", "i8mm", "sve2", "sme"),
})  # fmt: skip
ARM_ANDROID = _sets({
    "android_armv8.0_1": ("neon",),
    "android_armv8.2_1": ("neon", "dotprod"),
    "android_armv8.2_2": _ARM8_2,
    "android_armv8.6_1": (*_ARM8_2, "i8mm"),
    "android_armv9.0_1": (*_ARM8_2, "i8mm", "sve2"),
    "android_armv9.2_1": (*_ARM8_2, "i8mm", "sve", "sme"),
    "android_armv9.2_2": (*_ARM8_2, "i8mm", "sve", "sve2", "sme"),
})  # fmt: skip
ARM_APPLE = _sets({
    "apple_m1": ("neon", "dotprod"),
    "apple_m2_m3": ("neon", "dotprod", "i8mm"),
    "apple_m4": ("neon", "dotprod", "i8mm", "sme"),
})  # fmt: skip

_ARM_BY_OS = {"linux": ARM_LINUX, "android": ARM_ANDROID, "macos": ARM_APPLE, "ios": ARM_APPLE}
EVERY_VARIANT: Mapping[str, frozenset[str]] = {**X86, **ARM_LINUX, **ARM_ANDROID, **ARM_APPLE}


def best_variant(arch: str, os: str, features: frozenset[str]) -> str:
    """The most demanding variant that a CPU with `features` runs; "" where ggml has none for the system."""
    table = X86 if arch == "x86_64" else _ARM_BY_OS.get(os, {}) if arch == "aarch64" else {}
    return next((name for name, needs in reversed([*table.items()]) if needs <= features), "")
