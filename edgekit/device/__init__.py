"""Device profiles: facts about hardware, as data. `load_profile` reads one, `detect` makes one of this machine.

A profile is a TOML file; docs/devices.md says what stands in it.
"""

from __future__ import annotations

from edgekit.device.files import check_profile, load_profile, profiles
from edgekit.device.host import detect
from edgekit.device.profile import (
    KNOWN_FEATURES,
    Cluster,
    Cpu,
    DeviceProfile,
    Features,
    Figure,
    Gpu,
    MemoryBandwidth,
    Ram,
    Status,
    Storage,
)
from edgekit.device.table import markdown_table
from edgekit.device.toml import to_toml

__all__ = [
    "KNOWN_FEATURES",
    "Cluster",
    "Cpu",
    "DeviceProfile",
    "Features",
    "Figure",
    "Gpu",
    "MemoryBandwidth",
    "Ram",
    "Status",
    "Storage",
    "check_profile",
    "detect",
    "load_profile",
    "markdown_table",
    "profiles",
    "to_toml",
]
