"""Students by depth: fewer layers, picked evenly and taken over as they are (DistilBERT: Sanh et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.students.cutting import cut, everything, module_family
from edgekit.students.shape import KINDS, continued

if TYPE_CHECKING:
    from torch import nn


def shallower(module: nn.Module, layers: int, kept: Sequence[int] | None = None) -> nn.Module:
    """A copy of `module` with `layers` layers: those of `kept`, or picked by `layers_to_keep`. UsageError for more
    than there are.
    """
    _, shape = module_family(module)
    if kept is None:
        kept = layers_to_keep(module, layers)
    return cut(module, replace(shape, layers=layers), replace(everything(shape), layers=tuple(kept)))


def layers_to_keep(module: nn.Module, layers: int) -> tuple[int, ...]:
    """`layers` of the module's layers, evenly, the first and the last among them.

    Where layers differ in kind (sliding attention, no rotation), a student has the pattern of its family, and each
    place is taken by a layer of its kind, as near to the even pick as that allows.
    """
    _, shape = module_family(module)
    if not 1 <= layers <= shape.layers:
        raise UsageError(
            f"a student of {layers} layers is asked for, the model has {shape.layers}", f"give 1 to {shape.layers}"
        )
    ideal = evenly(shape.layers, layers)
    distance = np.abs(np.arange(shape.layers)[None] - np.array(ideal)[:, None]).astype(np.float64)
    return cheapest(distance, kinds_of(module, shape.layers))


def dearest_layers(module: nn.Module, layers: int, scores: NDArray[np.float64]) -> tuple[int, ...]:
    """The `layers` layers of the highest scores, in their order, under the same rule for layers that differ in kind."""
    _, shape = module_family(module)
    return cheapest(np.broadcast_to(-scores, (layers, shape.layers)), kinds_of(module, shape.layers))


def kinds_of(module: nn.Module, layers: int) -> list[tuple[Any, ...]]:
    """What tells the module's layers apart in its configuration, by layer."""
    config: Any = module.config
    lists = [kinds for key in KINDS if isinstance(kinds := getattr(config, key, None), list)]
    return [tuple(kinds[layer] for kinds in lists) for layer in range(layers)]


def evenly(have: int, want: int) -> tuple[int, ...]:
    """`want` of `have` indices at equal steps, from the first to the last; the last alone for one."""
    if want == 1:
        return (have - 1,)
    return tuple((2 * place * (have - 1) + want - 1) // (2 * (want - 1)) for place in range(want))


def cheapest(costs: NDArray[np.float64], kinds: Sequence[object]) -> tuple[int, ...]:
    """Rising indices, one a place, with the least sum of `costs` [places, layers], each of the kind of its place.

    There always is one: the places' kinds repeat the pattern of the layers', which the first layers have.
    """
    places, layers = costs.shape
    wanted = continued(kinds, places)
    best: dict[int, tuple[float, tuple[int, ...]]] = {-1: (0.0, ())}  # by the last index taken: (cost, indices)
    for place in range(places):
        reached: dict[int, tuple[float, tuple[int, ...]]] = {}
        before = best.get(-1)
        for at in range(layers):
            if before is not None and kinds[at] == wanted[place]:
                reached[at] = (before[0] + float(costs[place, at]), (*before[1], at))
            if at in best and (before is None or best[at][0] < before[0]):
                before = best[at]
        best = reached
    return min(best.values(), key=lambda found: found[0])[1]
