"""The grids that deployments put weights and activations on, in torch, bit for bit as their quantizers compute them.

    int8_rows       ONNX Runtime's quantize_dynamic: int8 weights, symmetric, a float32 scale for each output
    uint8_table     the same of embeddings: uint8, one scale and zero point for the table
    dynamic_uint8   ONNX's DynamicQuantizeLinear: uint8 activations, ranges taken as they come
    q4_0            ggml's Q4_0: blocks of 32 weights in 16 steps of one float16 scale

Whole numbers are held as float32, in which products of them are summed exactly as long as sums stay below 2^24.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

Q4_0_BLOCK = 32
EIGHT_BITS, SEVEN_BITS = 127, 64
"""The largest code of a weight; ONNX Runtime's reduce_range keeps -64 to 64."""
_FIXED_AFTER = 8


class Rows(NamedTuple):
    """`codes` [rows, columns] and `scales` [rows], float32: a weight is code times scale."""

    codes: torch.Tensor
    scales: torch.Tensor

    @property
    def values(self) -> torch.Tensor:
        return self.codes * self.scales[:, None]


class Table(NamedTuple):
    """`scale` and `zero_point` of a whole table, float32 []: a value is (code - zero_point) * scale."""

    scale: torch.Tensor
    zero_point: torch.Tensor

    def codes(self, values: torch.Tensor) -> torch.Tensor:
        return ((values / self.scale).round() + self.zero_point).clamp(0, 255)

    def rounded(self, values: torch.Tensor) -> torch.Tensor:
        return (self.codes(values) - self.zero_point) * self.scale


class Activations(NamedTuple):
    """`codes` like the values, already less their zero point (-255 to 255); `scale` broadcasts against them."""

    codes: torch.Tensor
    scale: torch.Tensor


def int8_rows(weight: torch.Tensor, largest: int) -> Rows:
    """float32 [rows, columns] to codes of -`largest` to `largest`; rows of zeros, or next to it, get the scale 1."""
    import torch

    peaks = weight.abs().amax(dim=1)
    # The quantizer takes the quotient in double precision: 2 * peak / 254 and peak / 127 round alike.
    scales = (2 * peaks.double() / (2 * largest)).to(torch.float32)
    scales = torch.where(scales < torch.finfo(torch.float32).tiny, torch.ones_like(scales), scales)
    return Rows((weight / scales[:, None]).round().clamp(-128, 127), scales)


def uint8_table(table: torch.Tensor) -> Table:
    """float32 of any shape to 0 ... 255 over its range and zero."""
    import torch

    low, high = table.amin().clamp(max=0).double(), table.amax().clamp(min=0).double()
    scale = (high - low) / 255
    if float(scale) < torch.finfo(torch.float32).tiny:
        return Table(torch.ones_like(table.new_empty(())), torch.zeros_like(table.new_empty(())))
    return Table(scale.to(torch.float32), (-low / scale).round().to(torch.float32))


def dynamic_uint8(values: torch.Tensor, *, apart: bool, counted: torch.Tensor | None = None) -> Activations:
    """float32 [examples, ...] to uint8 over the range of the tensor and zero; `apart` takes a range for each example,
    as an engine does that is asked one at a time. `counted` are the values with zeros for what such an engine would not
    see, padding: the range is theirs.
    """
    import torch

    seen = values if counted is None else counted
    axes = tuple(range(1 if apart and values.dim() > 1 else 0, values.dim()))
    low = seen.amin(dim=axes, keepdim=True).clamp(max=0)
    high = seen.amax(dim=axes, keepdim=True).clamp(min=0)
    scale = torch.where(high == low, torch.ones_like(high), (high - low) / 255)
    zero_point = (-low / scale).clamp(0, 255).round()
    codes = ((values / scale).round() + zero_point).clamp(0, 255) - zero_point
    return Activations(codes, scale)


def q4_0(weight: torch.Tensor) -> torch.Tensor:
    """float32 [rows, columns], columns a multiple of 32, to what ggml's quantize_row_q4_0_ref makes of them."""
    import torch

    blocks = weight.reshape(-1, Q4_0_BLOCK)
    steps = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True)) / -8
    inverse = torch.where(steps == 0, torch.zeros_like(steps), 1 / steps)
    codes = (blocks * inverse + 8.5).trunc().clamp(0, 15) - 8
    return (codes * steps.half().float()).reshape(weight.shape)


def settled_rows(weight: torch.Tensor, largest: int) -> torch.Tensor:
    """The weight on its grid, repeated until the quantizer gives back the very same floats (its scales are taken from
    the largest value, which is rounded itself).
    """
    for _ in range(_FIXED_AFTER):
        before, weight = weight, int8_rows(weight, largest).values
        if weight.equal(before):
            break
    return weight


def settled_table(table: torch.Tensor) -> torch.Tensor:
    """The table on its grid; as `settled_rows`."""
    for _ in range(_FIXED_AFTER):
        before, table = table, uint8_table(table).rounded(table)
        if table.equal(before):
            break
    return table
