"""One process or several (`accelerate launch`): which this one is, and what all of them must agree on."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from edgekit.errors import MissingEngine, UsageError

Result = TypeVar("Result")

_PATIENCE = timedelta(days=3)
"""How long processes wait for each other: one may be computing a teacher's answers for hours."""


_SHARDING = ("FSDP", "DEEPSPEED", "MEGATRON_LM")


def require_accelerate() -> Any:
    """The package; MissingEngine where it is not installed."""
    try:
        return importlib.import_module("accelerate")
    except ImportError as error:
        raise MissingEngine("training needs torch and accelerate", "pip install torch accelerate") from error


def state() -> Any:
    """accelerate's PartialState: process_index, num_processes, device, is_main_process; a group is joined once.

    UsageError where the launcher was told to cut the model into parts.
    """
    partial = require_accelerate().PartialState
    for name in _SHARDING:
        if _is_set(f"ACCELERATE_USE_{name}"):
            raise UsageError(
                f"training shares out examples, and {name} would cut the model into parts", "launch it with --multi_gpu"
            )
    if partial._shared_state:
        return partial()
    import torch

    # Without `cpu`, processes on a machine without a GPU would each believe to be alone.
    on_cpu = _is_set("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return partial(cpu=on_cpu, timeout=_PATIENCE)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def told(compute: Callable[[], Result]) -> Result:
    """What `compute` gives on the main process, on all of them; what it raises there is raised everywhere.

    It is pickled, over the processes' own connection and never to a file.
    """
    here = state()
    if here.num_processes == 1:
        return compute()
    outcome: list[Any] = [None, None]
    if here.is_main_process:
        try:
            outcome[0] = compute()
        except Exception as error:  # the others wait for it: each must hear of it
            outcome[1] = error
    outcome = require_accelerate().utils.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result
