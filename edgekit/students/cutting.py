"""The cut itself: a smaller module of the same class, whose weights are chosen rows and columns of the source's."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UnsupportedModel
from edgekit.students.families import Axis, Family, family_of, has_pooled, place_of
from edgekit.students.shape import Shape, settings, shape_of

if TYPE_CHECKING:
    import torch
    from torch import nn

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Kept:
    """What of the source stays, as rising indices: `layers` [layers], and by the source's layer `heads` (query heads),
    `kv_heads`, `inner` and, where heads get smaller, `query` and `value`: of each kept head [heads, channels] those
    that stay. `hidden` and `pooled` are one choice for the whole model.
    """

    layers: Sequence[int]
    hidden: Indices
    pooled: Indices
    heads: Mapping[int, Indices]
    kv_heads: Mapping[int, Indices]
    inner: Mapping[int, Indices]
    query: Mapping[int, Indices]
    value: Mapping[int, Indices]

    def rows(self, axis: Axis, layer: int | None, head_size: int) -> Indices | None:
        """Indices along an axis of a tensor of the source's layer; None for all."""
        if axis == "hidden":
            return self.hidden
        if axis in ("pooled", "read"):
            return self.pooled
        if axis == "fixed":
            return None
        at = self.layers[0] if layer is None else layer  # outside of the layers heads are the same everywhere
        if axis == "head":
            return self.heads[at]
        if axis == "inner":
            return self.inner[at]
        heads = self.kv_heads[at] if axis in ("key", "value") else self.heads[at]
        within = (self.query if axis in ("query", "key") else self.value).get(at)
        if within is None:
            within = np.broadcast_to(np.arange(head_size), (len(heads), head_size))
        return (heads[:, None] * head_size + within).ravel()


def everything(shape: Shape) -> Kept:
    """All that a model of `shape` has."""
    layers = range(shape.layers)
    hidden = np.arange(shape.hidden)
    return Kept(
        layers=tuple(layers),
        hidden=hidden,
        pooled=hidden,
        heads={layer: np.arange(shape.heads) for layer in layers},
        kv_heads={layer: np.arange(shape.kv_heads) for layer in layers},
        inner={layer: np.arange(shape.inner) for layer in layers},
        query={},
        value={},
    )


def module_family(module: nn.Module) -> tuple[Family, Shape]:
    """The family and the shape of a transformers module; UnsupportedModel for one of no known family."""
    config: Any = getattr(module, "config", None)
    family = family_of(str(getattr(config, "model_type", "")))
    return family, shape_of(config.to_dict(), family)


def cut(module: nn.Module, target: Shape, kept: Kept) -> nn.Module:
    """A new module of the same class and of the shape `target`, in eval mode, with the kept weights; `module` stays as
    it is.

    Where heads get smaller the queries are scaled by sqrt(new / old head size), which their module divides by anew.
    """
    import torch

    family, source = module_family(module)
    config: Any = copy.deepcopy(module.config)
    for name, value in settings(config.to_dict(), family, target).items():
        setattr(config, name, value)
    smaller = _like(module, config)
    weights = module.state_dict()
    pooled = has_pooled(family, weights)
    rescale = (target.head_size / source.head_size) ** 0.5
    chosen: dict[str, torch.Tensor] = {}
    for name, wanted in smaller.state_dict().items():
        place = place_of(family, name, wanted.ndim)
        if place is None:
            raise UnsupportedModel(
                f"tensor {name} of {type(module).__name__} is none that {family.model_types[0]} is known to have",
                "its model type and its code do not belong together",
            )
        layer = None if place.layer is None else kept.layers[place.layer]
        tensor = weights[name if layer is None else _renumbered(name, family, layer)]
        for position, axis in enumerate(place.axes):
            axis = "hidden" if axis == "read" and not pooled else axis
            rows = kept.rows(axis, layer, source.head_size)
            if rows is not None and len(rows) != tensor.shape[position]:
                tensor = tensor.index_select(position, torch.from_numpy(rows))
        chosen[name] = tensor * rescale if place.module == family.queries and rescale != 1.0 else tensor
    smaller.load_state_dict(chosen)
    return smaller.eval()


def _renumbered(name: str, family: Family, layer: int) -> str:
    before, _, after = name.partition(f"{family.layers}.")
    return f"{before}{family.layers}.{layer}.{after.split('.', 1)[1]}"


def _like(module: nn.Module, config: Any) -> nn.Module:
    """An uninitialised module of the same class, float32, with eager attention, without a pooler if `module` has none.

    The weights are replaced at once: drawing them would only take time and numbers from the user's generator.
    """
    import torch
    from transformers.modeling_utils import no_init_weights

    takes = inspect.signature(type(module).__init__).parameters
    without = "add_pooling_layer" in takes and getattr(module, "pooler", None) is None
    options: dict[str, Any] = {"add_pooling_layer": False} if without else {}
    build: Any = type(module)
    with torch.random.fork_rng(devices=[]), no_init_weights():
        made: Any = build._from_config(config, attn_implementation="eager", dtype=torch.float32, **options)
    made.tie_weights()  # left out with the rest of the initialisation
    smaller: nn.Module = made
    return smaller
