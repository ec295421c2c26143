"""The commands: each checks its flags and returns an unexecuted call, which `edgekit.cli` runs."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.commands.bundles import compare, demo, inspect_, run, runtime_, validate, verify
from edgekit.commands.machines import (
    devices_check,
    devices_detect,
    devices_list,
    devices_show,
    targets_clean,
    targets_list,
    targets_prepare,
)
from edgekit.commands.outcome import Call, Outcome
from edgekit.commands.packing import pack, plan
from edgekit.commands.teaching import distill, merge, prune, qat

COMMANDS: dict[str, Callable[..., Call]] = {
    "pack": pack,
    "plan": plan,
    "distill": distill,
    "prune": prune,
    "qat": qat,
    "validate": validate,
    "compare": compare,
    "run": run,
    "demo": demo,
    "inspect": inspect_,
    "merge": merge,
    "verify": verify,
    "runtime": runtime_,
    "devices list": devices_list,
    "devices show": devices_show,
    "devices detect": devices_detect,
    "devices check": devices_check,
    "targets list": targets_list,
    "targets prepare": targets_prepare,
    "targets clean": targets_clean,
}

__all__ = ["COMMANDS", "Call", "Outcome"]
