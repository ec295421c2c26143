"""What adapters add to one weight, some rows at a time: float32, by the formulas that PEFT merges by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float32]
    Read = Callable[[slice], Values]
    Step = Callable[[Values, slice], Values]

_BLOCK_ELEMENTS = 4 * 2**20


@dataclass(frozen=True)
class LowRank:
    """scaling * B A: `a` [rank, inputs], `b` [outputs, rank]. `transposed` where the weight it changes is stored as
    [inputs, outputs]: embeddings, and GPT-2's Conv1D (fan_in_fan_out).
    """

    a: Values
    b: Values
    scaling: float
    transposed: bool = False

    def rows(self, rows: slice) -> Values:
        """Those rows of the stored weight's change, two axes."""
        import numpy as np

        product: Values = self.a[:, rows].T @ self.b.T if self.transposed else self.b[rows] @ self.a
        return product * np.float32(self.scaling)


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of a tensor in blocks of 16 MiB of float32 or of one row; one block for a scalar."""
    if not shape:
        yield slice(0, 1)
        return
    width = 1
    for axis in shape[1:]:
        width *= axis
    count = max(1, _BLOCK_ELEMENTS // max(width, 1))
    for first in range(0, shape[0], count):
        yield slice(first, min(first + count, shape[0]))


def adding(products: list[LowRank]) -> Step:
    """W + sum of the products (Hu et al. 2021, LoRA)."""

    def step(values: Values, rows: slice) -> Values:
        for product in products:
            values = values + product.rows(rows).reshape(values.shape)
        return values

    return step


def with_magnitudes(product: LowRank, magnitudes: Values, read: Read, shape: tuple[int, ...]) -> Step:
    """m * (W + dW) / ||W + dW||, the norm taken of each output's weights (Liu et al. 2024, DoRA)."""
    import numpy as np

    def scaled_by(norms: npt.NDArray[np.float64], wanted: Values) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):  # what has no direction becomes NaN, and is refused
            return (wanted / norms).astype(np.float32)

    def changed(values: Values, rows: slice) -> Values:
        return values.reshape(len(values), -1) + product.rows(rows)

    if product.transposed:
        squares = np.zeros(len(magnitudes), np.float64)
        for rows in row_blocks(shape):
            squares += np.square(changed(read(rows), rows), dtype=np.float64).sum(axis=0)
        factors = scaled_by(np.sqrt(squares), magnitudes)
        return lambda values, rows: changed(values, rows) * factors

    def step(values: Values, rows: slice) -> Values:
        wide = changed(values, rows)
        norms = np.sqrt(np.square(wide, dtype=np.float64).sum(axis=1, keepdims=True))
        scaled: Values = wide * scaled_by(norms, magnitudes[rows, None])
        return scaled.reshape(values.shape)

    return step


def adding_vector(vector: Values) -> Step:
    """The bias of B, scaled already."""
    return lambda values, rows: values + vector[rows]


def replacing_rows(indices: tuple[int, ...], trained: Values) -> Step:
    """Rows that were trained alone: `trained` [len(indices), width]."""
    import numpy as np

    where = np.asarray(indices, np.int64)

    def step(values: Values, rows: slice) -> Values:
        inside = (where >= rows.start) & (where < rows.stop)
        values[where[inside] - rows.start] = trained[inside]
        return values

    return step


def combined(products: list[LowRank], weights: list[float]) -> LowRank:
    """PEFT's combination "linear": the factors are added up, not the products, so that each A meets every B.

    A = sum of sign(w s) sqrt(|w s|) A_i and B = sum of sqrt(|w s|) B_i, with the scalings s; one rank is needed.
    """
    import numpy as np

    factors = [weight * product.scaling for weight, product in zip(weights, products, strict=True)]
    a = sum((np.float32(np.sign(f) * abs(f) ** 0.5) * p.a for f, p in zip(factors, products, strict=True)), start=0.0)
    b = sum((np.float32(abs(f) ** 0.5) * p.b for f, p in zip(factors, products, strict=True)), start=0.0)
    return LowRank(np.asarray(a, np.float32), np.asarray(b, np.float32), 1.0, products[0].transposed)
