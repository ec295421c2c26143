"""edgekit: pack a trained model for an edge device, with every figure measured or marked as an estimate.

    >>> import edgekit
    >>> packed = edgekit.pack("path/to/model", device="raspberry-pi-5-8gb")
    >>> packed.report.status
    'passed'

The functions here are the commands of the `edgekit` program. Nothing heavy is imported until one is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.bundle import verify
    from edgekit.comparing import compare
    from edgekit.comparison import Comparison
    from edgekit.device import DeviceProfile, check_profile, detect, load_profile, profiles
    from edgekit.distilling import Distilled, distill
    from edgekit.errors import EdgekitError
    from edgekit.inspection import inspect
    from edgekit.limits import Limits, Preferences
    from edgekit.manifest import Manifest
    from edgekit.merging import merge
    from edgekit.model import StudentSpec, from_torch, open_model
    from edgekit.packer import Packed, pack, plan
    from edgekit.planner import Plan
    from edgekit.pruning import Amounts, Pruned, prune
    from edgekit.quantaware.story import qat
    from edgekit.report import Report
    from edgekit.revalidate import validate
    from edgekit.running import run

__version__ = "0.1.0"

_HOMES = {
    "Amounts": "pruning",
    "Comparison": "comparison",
    "DeviceProfile": "device",
    "Distilled": "distilling",
    "EdgekitError": "errors",
    "Limits": "limits",
    "Manifest": "manifest",
    "Packed": "packer",
    "Plan": "planner",
    "Preferences": "limits",
    "Pruned": "pruning",
    "Report": "report",
    "StudentSpec": "model",
    "check_profile": "device",
    "compare": "comparing",
    "detect": "device",
    "distill": "distilling",
    "from_torch": "model",
    "inspect": "inspection",
    "load_profile": "device",
    "merge": "merging",
    "open_model": "model",
    "pack": "packer",
    "plan": "packer",
    "profiles": "device",
    "prune": "pruning",
    "qat": "quantaware.story",
    "run": "running",
    "validate": "revalidate",
    "verify": "bundle",
}

__all__ = [
    "Amounts",
    "Comparison",
    "DeviceProfile",
    "Distilled",
    "EdgekitError",
    "Limits",
    "Manifest",
    "Packed",
    "Plan",
    "Preferences",
    "Pruned",
    "Report",
    "StudentSpec",
    "check_profile",
    "compare",
    "detect",
    "distill",
    "from_torch",
    "inspect",
    "load_profile",
    "merge",
    "open_model",
    "pack",
    "plan",
    "profiles",
    "prune",
    "qat",
    "run",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    return getattr(import_module(f"edgekit.{_HOMES[name]}"), name)
