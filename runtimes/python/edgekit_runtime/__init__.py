"""edgekit's runtime: open a bundle, prove that it is the one that was packed, run it.

    import edgekit_runtime as rt
    with rt.open("minilm.bundle") as session:
        vectors = session.embed(["one text", "another"])

It needs numpy and the engine of the bundle: onnxruntime and tokenizers, or llama-cpp-python. `verify` needs neither.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._bundle import verify
from .errors import (
    BadInput,
    BundleInvalid,
    Busy,
    Cancelled,
    Closed,
    LoadFailed,
    MemoryBudget,
    PromptTooLong,
    RunFailed,
    RuntimeFailure,
    UnsupportedDevice,
    WrongTask,
)

if TYPE_CHECKING:
    from ._session import Session

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "BundleInvalid",
    "Busy",
    "Cancelled",
    "Closed",
    "LoadFailed",
    "MemoryBudget",
    "PromptTooLong",
    "RunFailed",
    "RuntimeFailure",
    "UnsupportedDevice",
    "WrongTask",
    "open",
    "verify",
]


def open(
    folder: str | os.PathLike[str],
    *,
    threads: int | None = None,
    memory_budget: int | None = None,
    low_memory: bool = False,
    verify: bool = True,
) -> Session:
    """A session on the bundle in `folder`, every file of it proven first.

    `threads` defaults to those of the device it was packed for (its fast cores), at most the physical cores that this
    process may use. `memory_budget` (bytes) is held against the peak
    that was measured when the bundle was packed, before anything is loaded. `low_memory` trades speed for less private
    memory. `verify=False` skips the hashes, for a folder verified before.

    Raises BundleInvalid, UnsupportedDevice, MemoryBudget, LoadFailed.
    """
    try:
        from ._session import open_session
    except ImportError as error:
        raise LoadFailed(f"{error.name or 'a dependency'} is not installed: pip install numpy") from error
    return open_session(folder, threads, memory_budget, low_memory, verify)
