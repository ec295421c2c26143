"""How much is to go, and what that comes to for a model. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.model import StudentSpec
from edgekit.pruning.record import Removed
from edgekit.students.families import Family
from edgekit.students.shape import Shape, inner_step, resolved


@dataclass(frozen=True)
class Amounts:
    """Shares, 0 to 1, of each layer's heads and feed-forward channels, the number of layers, or the share of single
    weights that go. UsageError for what cannot be.
    """

    heads: float = 0.0
    ffn: float = 0.0
    layers: int = 0
    unstructured: float = 0.0

    def __post_init__(self) -> None:
        for name in ("heads", "ffn", "unstructured"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UsageError(f"--{name} is {share:.4g}, a share", "give more than 0% and less than 100%")
        if self.layers < 0:
            raise UsageError(f"--layers is {self.layers}", "give how many are to go")
        structured = bool(self.heads or self.ffn or self.layers)
        if structured == bool(self.unstructured):
            what = "weights go either in structures or one by one" if structured else "nothing is to go"
            raise UsageError(what, "give some of --heads, --ffn and --layers, or --unstructured alone")


def target_of(source: Shape, family: Family, amounts: Amounts) -> Shape:
    """The shape that is left; UsageError where a share comes to nothing, or to all there is.

    Heads go in whole key/value groups where they share keys; channels in steps that block quantizers take.
    """
    layers = source.layers - amounts.layers
    if layers < 1:
        raise UsageError(f"--layers is {amounts.layers}, the model has {source.layers}", "leave one layer at least")
    heads = inner = None
    if amounts.heads:
        groups = source.kv_heads if source.kv_heads > 1 else source.heads
        name = "heads" if groups == source.heads else "key/value heads"
        heads = _left("heads", name, groups, 1, amounts.heads) * (source.heads // groups)
    if amounts.ffn:
        inner = _left("ffn", "channels", source.inner, inner_step(source), amounts.ffn)
    return resolved(source, family, StudentSpec(layers=layers, heads=heads, intermediate=inner))


def _left(flag: str, name: str, have: int, step: int, share: float) -> int:
    """What is left of `have` in whole steps, as near to the share as they allow."""
    gone = round(have * share / step) * step
    if not 0 < gone < have:
        unit = f"in steps of {step}" if step > 1 else "each whole"
        nearest = f"{100 * step / have:.3g}%" if gone == 0 else f"{100 * (have - step) / have:.3g}%"
        what = "none" if gone == 0 else "all"
        hint = f"give {nearest}" if have > step else "they cannot be pruned"
        raise UsageError(f"--{flag}: {share:.3%} of {have} {name}, {unit}, is {what} of them", hint)
    return have - gone


def removed(source: Shape, target: Shape) -> tuple[Removed, ...]:
    """What is gone between two shapes."""
    pairs = (
        Removed(what="layers", gone=source.layers - target.layers, had=source.layers),
        Removed(what="heads", gone=source.heads - target.heads, had=source.heads),
        Removed(what="key/value heads", gone=source.kv_heads - target.kv_heads, had=source.kv_heads),
        Removed(what="feed-forward channels", gone=source.inner - target.inner, had=source.inner),
    )
    shares_keys = source.kv_heads != source.heads
    return tuple(each for each in pairs if each.gone and (shares_keys or each.what != "key/value heads"))
