"""Single weights set to zero by their magnitude (Han et al. 2015), and what a compressed file gains by that.

Matrices stay as large as they were, and no engine here skips zeros: neither memory nor time is gained.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekit.errors import UsageError
from edgekit.pruning.record import Compressed
from edgekit.students.cutting import module_family
from edgekit.students.families import place_of

if TYPE_CHECKING:
    import torch
    from torch import nn

_LEVEL = 6


def masks(module: nn.Module, share: float) -> dict[str, torch.Tensor]:
    """By name of each matrix in a layer: true where a weight stays. Of each matrix the smallest `share` goes.

    Embeddings, norms and biases, and what stands on top, stay whole: they are few, or looked up row by row.
    """
    import torch

    family, _ = module_family(module)
    found: dict[str, torch.Tensor] = {}
    for name, parameter in module.named_parameters():
        place = place_of(family, name, parameter.ndim)
        if place is None or place.layer is None or parameter.ndim != 2:
            continue
        gone = round(parameter.numel() * share)
        mask = torch.ones(parameter.numel(), dtype=torch.bool)
        mask[parameter.detach().abs().flatten().argsort(stable=True)[:gone]] = False
        found[name] = mask.reshape(parameter.shape)
    return found


def zero(module: nn.Module, kept: Mapping[str, torch.Tensor]) -> None:
    """Set to zero what is not kept, in place."""
    import torch

    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, mask in kept.items():
            parameters[name].mul_(mask.to(parameters[name].device))


def compressed(before: nn.Module, after: nn.Module) -> Iterator[Compressed]:
    """The bytes of both models' weights, deflated, as float32 and as int8; each is measured when it is asked for."""
    ways: tuple[tuple[Literal["float32", "int8 per row"], Callable[[nn.Module], Iterator[bytes]]], ...] = (
        ("float32", _floats),
        ("int8 per row", _rounded),
    )
    for name, stored in ways:
        plain, small = _deflated(stored(before))
        yield Compressed(stored_as=name, plain_bytes=plain, before_bytes=small, after_bytes=_deflated(stored(after))[1])


def check_gain(share: float, ways: Iterable[Compressed]) -> None:
    """UsageError unless one of them is smaller than before: zeros gain nothing else. No more are asked for than it
    takes to know.
    """
    larger = []
    for each in ways:
        if each.after_bytes < each.before_bytes:
            return
        larger.append(f"{each.after_bytes:,} deflated bytes as {each.stored_as}, {each.before_bytes:,} before")
    told = "; ".join(larger)
    raise UsageError(
        f"--unstructured {100 * share:.3g}% makes no compressed file smaller: {told}",
        "give a larger share, or cut structures: --heads, --ffn, --layers",
    )


def _deflated(parts: Iterator[bytes]) -> tuple[int, int]:
    """(bytes in, bytes out), in the memory of one tensor."""
    squeeze = zlib.compressobj(_LEVEL)
    plain = small = 0
    for part in parts:
        plain += len(part)
        small += len(squeeze.compress(part))
    return plain, small + len(squeeze.flush())


def _floats(module: nn.Module) -> Iterator[bytes]:
    for parameter in module.parameters():
        yield parameter.detach().float().numpy().tobytes()


def _rounded(module: nn.Module) -> Iterator[bytes]:
    """Matrices as int8 with a float32 scale a row, the rest as float32."""
    for parameter in module.parameters():
        values = parameter.detach().float().numpy()
        if values.ndim != 2:
            yield values.tobytes()
            continue
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True, initial=0.0) / 127, 1e-30)
        yield scales.tobytes()
        yield np.rint(values / scales).astype(np.int8).tobytes()
