"""Device profiles: facts about hardware, as data. `load_profile` reads one, `detect` makes one of this machine.

A profile is a TOML file; docs/devices.md says what stands in it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from edgekit.device.source import Sibling, Summary, siblings, summaries
    from edgekit.device.table import markdown_table
    from edgekit.device.toml import to_toml

# Imported when asked for: `edgekit devices list` needs no pydantic.
_HOMES = {
    "Cluster": "profile",
    "Cpu": "profile",
    "DeviceProfile": "profile",
    "Features": "profile",
    "Figure": "profile",
    "Gpu": "profile",
    "KNOWN_FEATURES": "profile",
    "MemoryBandwidth": "profile",
    "Ram": "profile",
    "Status": "profile",
    "Storage": "profile",
    "Sibling": "source",
    "Summary": "source",
    "check_profile": "files",
    "detect": "host",
    "load_profile": "files",
    "markdown_table": "table",
    "profiles": "files",
    "siblings": "source",
    "summaries": "source",
    "to_toml": "toml",
}

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
    "Sibling",
    "Status",
    "Storage",
    "Summary",
    "check_profile",
    "detect",
    "load_profile",
    "markdown_table",
    "profiles",
    "siblings",
    "summaries",
    "to_toml",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit.device' has no attribute {name!r}")
    return getattr(import_module(f"edgekit.device.{_HOMES[name]}"), name)
