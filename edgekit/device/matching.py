"""Whether a machine that measured is the device of a profile, told by its processor's numbers and its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from edgekit.device.host import ARM_PARTS
from edgekit.device.profile import DeviceProfile

# The kernel, firmware and graphics keep up to this share of what is sold as memory.
_KEPT_SHARE = 0.15
_ARM_LTD = "0x41"
# Vendor, family, models, steppings: the CPUID numbers of the x86 microarchitectures that shipped profiles name.
_X86_PARTS = (
    ("GenuineIntel", 6, {0xBE}, None, "Gracemont"),
    ("GenuineIntel", 6, {0x8E}, {0xA}, "Kaby Lake R"),
    ("AuthenticAMD", 25, {*range(0x10, 0x20), *range(0x60, 0x80), *range(0xA0, 0xB0)}, None, "Zen 4"),
)


def is_same(profile: DeviceProfile, facts: Mapping[str, Any]) -> bool:
    """Whether the machine of these `facts` (`arch`, `system`, `cores`, `cpu_parts`, `ram_total_bytes`, as a probe's
    result.json has them) is the device: same architecture, same cores of the same kinds, about the same memory.

    What is not known of either makes it another one.
    """
    sold, seen = profile.ram.total_bytes.value, facts.get("ram_total_bytes")
    if profile.os not in ("linux", "android") or not str(facts.get("system", "")).startswith("Linux"):
        return False
    if profile.cpu.arch != facts.get("arch") or profile.cores != facts.get("cores"):
        return False
    if sold is None or not isinstance(seen, int) or not (1 - _KEPT_SHARE) * sold <= seen <= sold:
        return False
    kinds: Counter[str] = Counter()
    for cluster in profile.cpu.clusters:
        kinds[cluster.microarchitecture] += cluster.count
    return bool(kinds) and Counter(microarchitecture(str(part)) for part in facts.get("cpu_parts") or ()) == kinds


def microarchitecture(part: str) -> str | None:
    """Of a core: "Cortex-A76" of "0x41:0xd0b", "Zen 4" of "AuthenticAMD:25:17:1"; None where it is not known."""
    words = part.split(":")
    if len(words) == 2:
        return ARM_PARTS.get(words[1].lower()) if words[0] == _ARM_LTD else None
    if len(words) != 4 or not all(word.isdigit() for word in words[1:]):
        return None
    vendor, family, model, stepping = words[0], *(int(word) for word in words[1:])
    for its_vendor, its_family, models, steppings, name in _X86_PARTS:
        same_model = (vendor, family) == (its_vendor, its_family) and model in models
        if same_model and (steppings is None or stepping in steppings):
            return name
    return None
