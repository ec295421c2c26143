"""Students by depth: fewer layers, picked evenly and taken over as they are (DistilBERT: Sanh et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    kinds = kinds_of(module, shape.layers)
    return nearest(evenly(shape.layers, layers), kinds, continued(kinds, layers))


def kinds_of(module: nn.Module, layers: int) -> list[tuple[Any, ...]]:
    """What tells the module's layers apart in its configuration, by layer."""
    lists = [kinds for key in KINDS if isinstance(kinds := getattr(module.config, key, None), list)]
    return [tuple(kinds[layer] for kinds in lists) for layer in range(layers)]


def evenly(have: int, want: int) -> tuple[int, ...]:
    """`want` of `have` indices at equal steps, from the first to the last; the last alone for one."""
    if want == 1:
        return (have - 1,)
    return tuple((2 * place * (have - 1) + want - 1) // (2 * (want - 1)) for place in range(want))


def nearest(ideal: Sequence[int], kinds: Sequence[object], wanted: Sequence[object]) -> tuple[int, ...]:
    """Rising indices of the wanted kinds with the least sum of distances to the ideal ones; the ideal ones themselves
    where no such choice exists.
    """
    best: dict[int, tuple[int, tuple[int, ...]]] = {-1: (0, ())}  # by the last index taken: (cost, indices)
    for place, kind in enumerate(wanted):
        reached: dict[int, tuple[int, tuple[int, ...]]] = {}
        cheapest: tuple[int, tuple[int, ...]] | None = best.get(-1)
        for at, have in enumerate(kinds):
            if have == kind and cheapest is not None:
                cost, taken = cheapest
                reached[at] = (cost + abs(at - ideal[place]), (*taken, at))
            if at in best and (cheapest is None or best[at][0] < cheapest[0]):
                cheapest = best[at]
        best = reached
    return min(best.values(), key=lambda found: found[0])[1] if best else tuple(ideal)
