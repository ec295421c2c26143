"""What each head, channel and layer of a module matters to its answers, measured on examples.

"taylor": the first-order change of the loss when a unit is scaled to nothing: with a gate g = 1 on its output, the
gradient dL/dg of each example, squared (Michel et al. 2019, "Are Sixteen Heads Really Better than One?"; Molchanov et
al. 2019, "Importance Estimation for Neural Network Pruning"). Needs a loss whose gradient is not zero at the source
itself: `own_loss` is one.

"activation": the energy that a unit adds to the residual stream: the mean square of its output times the squares of
the weights that read it (as Wanda weighs single weights, Sun et al. 2023). Needs no loss and no backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadModel, NoData, UsageError
from edgekit.progress import Progress, Silent
from edgekit.students.cutting import module_family
from edgekit.students.families import Family
from edgekit.students.shape import Shape

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgekit.training.batches import Batch

Importance = Literal["taylor", "activation"]
Table = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Importance in units of no meaning beyond their order; higher is dearer.

    `heads` [layers, heads], `query` and `value` [layers, heads, head size] (query: None for decoders, whose heads are
    never made smaller), `inner` [layers, channels], `hidden` [channels], `pooled` [channels] where there is such a
    space, `layers` [layers].
    """

    kind: Importance
    heads: Table
    value: Table
    query: Table | None
    inner: Table
    hidden: Table
    pooled: Table | None
    layers: Table


def importance(
    module: nn.Module,
    batches: Iterable[Batch],
    loss: Callable[[nn.Module, Batch], torch.Tensor],
    kind: Importance = "taylor",
    progress: Progress | None = None,
) -> Scores:
    """Scores of the module on `batches`, whose mean loss `loss` gives ("activation" only runs it).

    The module is left as it was. UsageError for an unknown kind, NoData without a batch, BadModel where the scores are
    no numbers.
    """
    if kind not in get_args(Importance):
        raise UsageError(f"there is no importance {kind!r}", f"choose one of {', '.join(get_args(Importance))}")
    family, shape = module_family(module)
    probe = _Gates(module, family, shape) if kind == "taylor" else _Energies(module, family, shape)
    batches = list(batches)
    if not batches:
        raise NoData("there is nothing to measure the importance on", "give some examples")
    (progress or Silent()).step(f"measure what matters ({kind})", len(batches))
    with _undisturbed(module), probe.hooked():
        for batch in batches:
            probe.see(batch, loss)
            (progress or Silent()).advance(1)
    return _scores(kind, probe.sums, shape)


def _scores(kind: Importance, sums: dict[str, list[Table]], shape: Shape) -> Scores:
    if not all(np.isfinite(each).all() for tables in sums.values() for each in tables):
        raise BadModel("the importance of its heads and channels is no number", "its answers, or its loss, overflow")
    size = (shape.layers, shape.heads, shape.head_size)
    return Scores(
        kind,
        np.stack(sums["heads"]),
        np.stack(sums["value"]).reshape(size),
        np.stack(sums["query"]).reshape(size) if "query" in sums else None,
        np.stack(sums["inner"]),
        np.sum(sums["hidden"], axis=0),
        np.sum(sums["pooled"], axis=0) if "pooled" in sums else None,
        np.concatenate(sums["layers"]),
    )


@contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    """In eval mode, with no gradient kept for any weight; as before afterwards."""
    trains, wants = module.training, [parameter.requires_grad for parameter in module.parameters()]
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        module.train(trains)
        for parameter, want in zip(module.parameters(), wants, strict=True):
            parameter.requires_grad_(want)


class _Probe:
    """Hooks on the places where units can be told apart. `sums` has a table for each layer (one alone for "pooled").

    A subclass says what is done with what passes by: `passes(key, index, tensor)` may change it.
    """

    def __init__(self, module: nn.Module, family: Family, shape: Shape) -> None:
        self._module, self._family, self._shape = module, family, shape
        self.sums: dict[str, list[Table]] = {}
        self._entered: torch.Tensor | None = None

    def see(self, batch: Batch, loss: Callable[[nn.Module, Batch], torch.Tensor]) -> None:
        raise NotImplementedError

    def passes(self, key: str, index: int, tensor: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def adds(self, index: int, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """What a layer makes of the residual stream."""
        raise NotImplementedError

    def add(self, key: str, index: int, table: torch.Tensor) -> None:
        tables = self.sums.setdefault(key, [])
        value = table.detach().double().cpu().numpy()
        if index == len(tables):
            tables.append(value)
        else:
            tables[index] = tables[index] + value

    @contextmanager
    def hooked(self) -> Iterator[None]:
        handles = []
        layers = _layers_of(self._module, self._family)
        for index, layer in enumerate(layers):
            handles.append(layer.register_forward_pre_hook(self._enters(index)))
            handles.append(layer.register_forward_hook(self._leaves(index)))
            attended = layer.get_submodule(self._family.attended)
            handles.append(attended.register_forward_pre_hook(self._reads("value", index)))
            narrowed = layer.get_submodule(self._family.narrowed)
            handles.append(narrowed.register_forward_pre_hook(self._reads("inner", index)))
            if not self._family.has_free_heads:
                queries = layer.get_submodule(self._family.queries)
                handles.append(queries.register_forward_hook(self._makes("query", index)))
        for name, part in self._module.named_modules():
            if name.endswith(self._family.pooled) and self._family.pooled:
                handles.append(part.register_forward_hook(self._makes("pooled", 0)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _reads(self, key: str, index: int) -> Callable[..., Any]:
        return lambda _, inputs: (self.passes(key, index, inputs[0]), *inputs[1:])

    def _makes(self, key: str, index: int) -> Callable[..., Any]:
        return lambda _, __, output: self.passes(key, index, output)

    def _enters(self, index: int) -> Callable[..., Any]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            self._entered = self.passes("hidden", index, inputs[0])
            return (self._entered, *inputs[1:])

        return hook

    def _leaves(self, index: int) -> Callable[..., Any]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            after = output[0] if isinstance(output, tuple) else output
            assert self._entered is not None
            after = self.adds(index, self._entered, after)
            if index == self._shape.layers - 1:
                after = self.passes("hidden", index + 1, after)
            return (after, *output[1:]) if isinstance(output, tuple) else after

        return hook


class _Gates(_Probe):
    """Gates of ones, one for each unit and example; their gradients, squared and summed over the examples."""

    def __init__(self, module: nn.Module, family: Family, shape: Shape) -> None:
        super().__init__(module, family, shape)
        self._open: dict[tuple[str, int], torch.Tensor] = {}

    def see(self, batch: Batch, loss: Callable[[nn.Module, Batch], torch.Tensor]) -> None:
        import torch

        self._open.clear()
        with torch.enable_grad():
            loss(self._module, batch).backward()  # type: ignore[no-untyped-call]
        for (key, index), gate in sorted(self._open.items(), key=lambda item: item[0]):
            # A mean over the batch: its gradient by one example is that share of the example's own.
            slope = (torch.zeros_like(gate) if gate.grad is None else gate.grad * len(batch)).flatten(1)
            if key == "value":
                heads = slope.reshape(len(slope), self._shape.heads, -1).sum(-1)
                self.add("heads", index, heads.square().sum(0))
            self.add(key, index, slope.square().sum(0))
        self._open.clear()

    def passes(self, key: str, index: int, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * self._gate(key, index, tensor, tensor.shape[-1])

    def adds(self, index: int, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return before + self._gate("layers", index, after, 1) * (after - before)

    def _gate(self, key: str, index: int, like: torch.Tensor, width: int) -> torch.Tensor:
        import torch

        shape = (len(like), *([1] * (like.ndim - 2)), width)
        gate = torch.ones(shape, dtype=like.dtype, device=like.device, requires_grad=True)
        self._open[key, index] = gate
        return gate


class _Energies(_Probe):
    """Mean squares of what passes, times those of the weights that read it; padding is left out."""

    _mask: torch.Tensor | None = None

    def see(self, batch: Batch, loss: Callable[[nn.Module, Batch], torch.Tensor]) -> None:
        import torch

        self._mask = batch.inputs.get("attention_mask")
        with torch.no_grad():
            loss(self._module, batch)

    def passes(self, key: str, index: int, tensor: torch.Tensor) -> torch.Tensor:
        energy = self._energy(tensor)
        if key in ("value", "inner"):
            reader = self._family.attended if key == "value" else self._family.narrowed
            layer = _layers_of(self._module, self._family)[index]
            energy = energy * layer.get_submodule(reader).get_parameter("weight").double().square().sum(0)
        if key == "value":
            self.add("heads", index, energy.reshape(self._shape.heads, -1).sum(-1))
        self.add(key, index, energy)
        return tensor

    def adds(self, index: int, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        change = self._energy(after - before).sum() / self._energy(before).sum().clamp_min(1e-30)
        self.add("layers", index, change[None])
        return after

    def _energy(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum of squares of each channel over examples and tokens, in float64."""
        squares = tensor.double().square()
        if self._mask is not None and tensor.ndim == 3 and tensor.shape[:2] == self._mask.shape:
            squares = squares * self._mask[:, :, None]
        return squares.flatten(0, -2).sum(0)


def _layers_of(module: nn.Module, family: Family) -> list[nn.Module]:
    """The module's layers in order."""
    for prefix in family.prefixes:
        try:
            found = module.get_submodule(f"{prefix}{family.layers}")
        except AttributeError:
            continue
        return list(found.children())
    raise BadModel(f"{type(module).__name__} has no {family.layers}", "its model type and its code do not match")
