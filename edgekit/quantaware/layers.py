"""Layers that compute in training what the deployment computes, with gradients as if nothing had been rounded.

The straight-through estimator (Bengio, Léonard and Courville 2013, arXiv:1308.3432), with integer arithmetic simulated
in the forward pass (Jacob et al. 2018, arXiv:1712.05877). A layer stays the module it was, by the same names; only its
`forward` is replaced, until `detach` puts it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MethodType
from typing import TYPE_CHECKING, Any, Literal

from edgekit.quantaware import grids

if TYPE_CHECKING:
    import torch
    from torch import nn

    Forward = Callable[..., torch.Tensor]

Kind = Literal["int8", "int8-7bit", "uint8-table", "q4_0"]
"""How a weight is deployed; "int8-7bit" is int8 with reduce_range."""

# The largest count of products of 8-bit codes whose sum float32 holds exactly, whatever they are.
_EXACT_PRODUCTS: Mapping[int, int] = {
    largest: 2**24 // (255 * largest) for largest in (grids.EIGHT_BITS, grids.SEVEN_BITS)
}
_LARGEST: Mapping[str, int] = {"int8": grids.EIGHT_BITS, "int8-7bit": grids.SEVEN_BITS}


_MASK: ContextVar[torch.Tensor | None] = ContextVar("mask", default=None)


@contextmanager
def padded_by(mask: torch.Tensor | None) -> Iterator[None]:
    """Within it, what lies outside of the batch's attention mask [examples, tokens] counts for no range: an engine that
    is asked one text at a time sees no padding.
    """
    before = _MASK.set(mask)
    try:
        yield
    finally:
        _MASK.reset(before)


def _counted(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The values with zeros for padding; None where there is none to leave out. Every range holds zero anyhow."""
    if mask is None or values.shape[:-1] != mask.shape:
        return None
    return values * mask.unsqueeze(-1)


def straight_through(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """`rounded`, exactly, with the gradient of `values`."""
    return rounded.detach() + (values - values.detach())


def integer_product(codes: torch.Tensor, weights: torch.Tensor, largest: int) -> torch.Tensor:
    """Whole numbers [..., columns] by [rows, columns] -> [..., rows], exact, then rounded to float32 as an int32 is."""
    import torch
    from torch.nn.functional import linear

    most = _EXACT_PRODUCTS[largest]
    if codes.shape[-1] <= most:
        return linear(codes, weights)
    parts = zip(torch.split(codes, most, dim=-1), torch.split(weights, most, dim=-1), strict=True)
    total = torch.zeros((*codes.shape[:-1], len(weights)), dtype=torch.float64, device=codes.device)
    for left, right in parts:
        total += linear(left, right)
    return total.to(torch.float32)


@cache
def _int8_function() -> Any:
    """MatMulInteger between DynamicQuantizeLinear and its scales: the autograd function, made once torch is there."""
    import torch

    class Int8(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, values: torch.Tensor, weight: torch.Tensor, mask: torch.Tensor | None, largest: int, apart: bool
        ) -> torch.Tensor:
            rows = grids.int8_rows(weight, largest)
            seen = grids.dynamic_uint8(values, apart=apart, counted=_counted(values, mask))
            product = integer_product(seen.codes, rows.codes, largest)
            ctx.save_for_backward(values, mask, seen.codes, seen.scale, rows.values)
            # The order of ONNX Runtime's fused operators: both scales first.
            return product * (seen.scale * rows.scales)

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            (gradient,) = gradients
            values, mask, codes, scale, weight = ctx.saved_tensors
            rounded = codes * scale
            of_values = of_weight = None
            if ctx.needs_input_grad[0]:
                of_values = gradient @ weight
                of_values = of_values + range_gradient(of_values, values, rounded, scale, _counted(values, mask))
            if ctx.needs_input_grad[1]:
                of_weight = gradient.flatten(0, -2).T @ rounded.flatten(0, -2)
            return of_values, of_weight, None, None, None

    return Int8


def range_gradient(
    gradient: torch.Tensor,
    values: torch.Tensor,
    rounded: torch.Tensor,
    scale: torch.Tensor,
    counted: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the gradient of `rounded` tells the largest and smallest values, which set the step for all others.

    rounded = step * round(values / step), so that d rounded / d step = (rounded - values) / step with a
    straight-through round (Esser et al. 2020, Learned Step Size Quantization, arXiv:1902.08153); the step is
    (high - low) / 255. This is how a model learns to do without outliers. `scale` and `counted` as of
    `grids.dynamic_uint8`.
    """
    axes = tuple(axis for axis, size in enumerate(scale.shape) if size == 1)
    of_step = (gradient * (rounded - values)).sum(dim=axes, keepdim=True) / scale / 255
    seen = values if counted is None else counted
    high, low = seen.amax(dim=axes, keepdim=True), seen.amin(dim=axes, keepdim=True)
    at_high, at_low = (seen == high) & (high > 0), (seen == low) & (low < 0)
    found: torch.Tensor = at_high * (of_step / at_high.sum(dim=axes, keepdim=True).clamp(min=1))
    return found - at_low * (of_step / at_low.sum(dim=axes, keepdim=True).clamp(min=1))


def _int8_linear(largest: int, apart: bool) -> Forward:
    def forward(self: nn.Linear, values: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.autocast(values.device.type, enabled=False):  # 16-bit floats do not hold the sums
            product: torch.Tensor = _int8_function().apply(
                values.float(), self.weight.float(), _MASK.get(), largest, apart
            )
            return product if self.bias is None else product + self.bias.float()

    return forward


def _q4_0_linear(self: nn.Linear, values: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import linear

    return linear(values, straight_through(self.weight, grids.q4_0(self.weight.float())), self.bias)


def _q4_0_embedding(self: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    chosen = self.weight[ids]
    return straight_through(chosen, grids.q4_0(chosen.float().flatten(0, -2)).reshape(chosen.shape))


def _table_embedding(self: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    chosen = self.weight[ids]
    return straight_through(chosen, grids.uint8_table(self.weight.detach().float()).rounded(chosen.float()))


def _forward(part: nn.Module, kind: Kind, apart: bool) -> Forward:
    from torch import nn

    if isinstance(part, nn.Linear):
        return _q4_0_linear if kind == "q4_0" else _int8_linear(_LARGEST[kind], apart)
    return _q4_0_embedding if kind == "q4_0" else _table_embedding


def is_plain(part: nn.Module) -> bool:
    """Whether it is a matrix product or a table and nothing more: classes that add to it compute something else."""
    from torch import nn

    return type(part).forward in (nn.Linear.forward, nn.Embedding.forward)


def attach(module: nn.Module, kinds: Mapping[str, Kind], *, apart: bool = True) -> None:
    """Make the submodules named in `kinds` compute as deployed; all of them are plain (`is_plain`). `apart` as in
    `grids.dynamic_uint8`.
    """
    for name, kind in kinds.items():
        part = module.get_submodule(name)
        part.forward = MethodType(_forward(part, kind, apart), part)


def detach(module: nn.Module) -> None:
    """Make every submodule compute in float again."""
    for part in module.modules():
        part.__dict__.pop("forward", None)


def settle(module: nn.Module, kinds: Mapping[str, Kind]) -> None:
    """Put the weights named in `kinds` on their grids for good, so that the quantizer finds nothing left to round."""
    import torch

    with torch.no_grad():
        for name, kind in kinds.items():
            weight: torch.Tensor = module.get_submodule(name).weight  # type: ignore[assignment]
            weight.copy_(_SETTLED[kind](weight.float()))


_SETTLED: Mapping[Kind, Callable[[torch.Tensor], torch.Tensor]] = {
    "int8": lambda weight: grids.settled_rows(weight, grids.EIGHT_BITS),
    "int8-7bit": lambda weight: grids.settled_rows(weight, grids.SEVEN_BITS),
    "uint8-table": grids.settled_table,
    "q4_0": grids.q4_0,
}
