"""Digests by which a checkpoint or a cache knows what it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_PART = 2**24


def examples_sha256(examples: Sequence[Mapping[str, NDArray[Any]]]) -> str:
    """Over names, shapes, types and contents, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        for name in sorted(example):
            array = np.ascontiguousarray(example[name])
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def module_sha256(module: torch.nn.Module) -> str:
    """Over the class, and the names, shapes, types and values of all parameters and stored buffers."""
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, tensor in named_tensors(module).items():
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().reshape(-1)
        for start in range(0, flat.numel(), _PART):
            part = flat[start : start + _PART].cpu().contiguous()
            digest.update(part.view(_bytes()).numpy().tobytes())
    return digest.hexdigest()


def named_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and stored buffers by name, those that are tied to an earlier one left out."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if hasattr(tensor, "numel") and id(tensor) not in seen:  # a module may store other things too
            seen.add(id(tensor))
            found[name] = tensor
    return found


def _bytes() -> torch.dtype:
    import torch

    return torch.uint8
