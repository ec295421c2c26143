"""A student's shape: what a specification comes to for a family, and the student as a source model without weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from edgekit.errors import BadModel, UnsupportedModel, UsageError
from edgekit.model import SourceModel, StudentSpec, TensorInfo, open_model
from edgekit.students.families import Axis, Family, Place, family_of, place_of

_Kind = TypeVar("_Kind")

# Lists in the configuration with one entry a layer.
KINDS = ("layer_types", "no_rope_layers")
_INNER_STEPS = (256, 64, 32, 8)


@dataclass(frozen=True)
class Shape:
    """Sizes of a model: `inner` is the feed-forward's width, `head_size` the channels of one head."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int

    def size_of(self, axis: Axis, fixed: int) -> int:
        """The size of an axis in this shape; `fixed` where it is none of the shape's."""
        sizes: Mapping[Axis, int] = {
            "hidden": self.hidden,
            "pooled": self.hidden,
            "read": self.hidden,
            "query": self.heads * self.head_size,
            "out": self.heads * self.head_size,
            "key": self.kv_heads * self.head_size,
            "value": self.kv_heads * self.head_size,
            "head": self.heads,
            "inner": self.inner,
        }
        return sizes.get(axis, fixed)


def shape_of(config: Mapping[str, Any], family: Family) -> Shape:
    """The shape that config.json tells; UnsupportedModel where heads were pruned before, layer by layer."""
    if config.get("pruned_heads"):
        raise UnsupportedModel(
            "some of its heads were pruned before (pruned_heads in config.json)", "start from the model as it was"
        )
    keys = family.keys
    hidden, heads = _size(config, keys.hidden), _size(config, keys.heads)
    kv_heads = heads
    if keys.kv_heads and config.get(keys.kv_heads) is not None:
        kv_heads = _size(config, keys.kv_heads)
    head_size = config.get(keys.head_size) if keys.head_size else None
    if head_size is None:
        head_size = family.head_size or hidden // heads
    shape = Shape(_size(config, keys.layers), hidden, heads, kv_heads, int(head_size), _size(config, keys.inner))
    if heads % kv_heads or (not family.has_free_heads and hidden % heads):
        raise BadModel(f"config.json: {heads} heads of {kv_heads} keys over {hidden} channels do not divide")
    return shape


def stored_shape(model: SourceModel) -> tuple[Family, Shape]:
    """The family and the shape of a model; BadModel where its configuration tells other layers than it has weights of.

    UnsupportedModel for a family that is not known.
    """
    family = family_of(model.model_type)
    shape = shape_of(model.config, family)
    places = (place_of(family, tensor.name, len(tensor.shape)) for tensor in model.tensors)
    stored = 1 + max((place.layer for place in places if place is not None and place.layer is not None), default=-1)
    if stored != shape.layers:
        raise BadModel(f"config.json: {family.keys.layers} is {shape.layers}, the weights are of {stored} layers")
    return family, shape


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise BadModel(f"config.json: {key} is {value!r}, a positive whole number is expected")


def resolved(source: Shape, family: Family, spec: StudentSpec) -> Shape:
    """The shape that `spec` comes to; UsageError where it is larger than the source, or its heads do not divide.

    A narrower residual stream takes the feed-forward and the heads with it in proportion, unless they are given: heads
    keep their size where the new width is a multiple of it, else there are as many as before, each of fewer channels.
    Where key/value heads are shared, whole groups go; query heads within each group where that alone divides.
    """
    for name, asked, has in (
        ("layers", spec.layers, source.layers),
        ("hidden", spec.hidden, source.hidden),
        ("heads", spec.heads, source.heads),
        ("intermediate", spec.intermediate, source.inner),
    ):
        if asked is not None and not 1 <= asked <= has:
            raise UsageError(f"a student with {name}={asked} is asked for, the model has {has}", f"give 1 to {has}")
    hidden = spec.hidden or source.hidden
    inner = spec.intermediate or _scaled_inner(source, hidden)
    shape = replace(source, layers=spec.layers or source.layers, hidden=hidden, inner=inner)
    return _with_free_heads(shape, source, spec.heads) if family.has_free_heads else _with_heads(shape, family, spec)


def inner_step(source: Shape) -> int:
    """The steps in which feed-forward channels go: those that block quantizers take, where the source's are of such."""
    return next((step for step in _INNER_STEPS if source.inner % step == 0 and source.inner >= 8 * step), 1)


def _scaled_inner(source: Shape, hidden: int) -> int:
    """In proportion to the width."""
    step = inner_step(source)
    return min(source.inner, max(step, round(source.inner * hidden / source.hidden / step) * step))


def _with_free_heads(shape: Shape, source: Shape, asked: int | None) -> Shape:
    group = source.heads // source.kv_heads
    if asked is None:
        share = shape.hidden / source.hidden
        if source.kv_heads == 1:
            return replace(shape, heads=max(1, round(source.heads * share)))
        kv_heads = max(1, round(source.kv_heads * share))
        return replace(shape, heads=kv_heads * group, kv_heads=kv_heads)
    if asked % group == 0:
        return replace(shape, heads=asked, kv_heads=asked // group)
    if asked % source.kv_heads == 0:
        return replace(shape, heads=asked)
    raise UsageError(
        f"{asked} heads do not divide: {group} query heads share each of {source.kv_heads} key/value heads",
        f"give a multiple of {group} or of {source.kv_heads}",
    )


def _with_heads(shape: Shape, family: Family, spec: StudentSpec) -> Shape:
    """Heads that span the residual stream, or, by transformers' `pruned_heads`, a part of what would span it."""
    hidden, size = shape.hidden, shape.head_size
    heads = spec.heads
    if heads is None:
        heads = hidden // size if hidden % size == 0 else shape.heads
    if heads * size < hidden and family.shares_heads:
        raise UsageError(
            f"{heads} heads of {size} do not span a width of {hidden}, and all layers of this family share a table of"
            " them",
            f"give hidden={heads * size} with them",
        )
    if heads * size <= hidden and hidden % size == 0:
        return replace(shape, heads=heads, kv_heads=heads)
    if heads * size > hidden and hidden % heads == 0:
        return replace(shape, heads=heads, kv_heads=heads, head_size=hidden // heads)
    raise UsageError(
        f"{heads} heads do not divide a width of {hidden}: the model's are of {size} channels",
        f"give hidden as a multiple of {size}, as {max(1, hidden // size) * size}",
    )


def settings(config: Mapping[str, Any], family: Family, target: Shape) -> dict[str, Any]:
    """What the configuration says otherwise for a student of the shape `target`."""
    keys = family.keys
    changed: dict[str, Any] = {keys.layers: target.layers, keys.hidden: target.hidden, keys.inner: target.inner}
    if family.has_free_heads:
        changed |= {keys.heads: target.heads, keys.kv_heads: target.kv_heads}
        if config.get(keys.head_size) is not None or target.hidden != target.heads * target.head_size:
            changed[keys.head_size] = target.head_size
    else:
        changed[keys.heads] = spanning = target.hidden // target.head_size
        if target.heads < spanning:
            gone = list(range(target.heads, spanning))
            changed["pruned_heads"] = dict.fromkeys(range(target.layers), gone)
    for key in KINDS:
        if isinstance(kinds := config.get(key), list):
            changed[key] = continued(kinds, target.layers)
    return changed


def continued(kinds: Sequence[_Kind], count: int) -> list[_Kind]:
    """The first `count` of a pattern that repeats; kinds that do not repeat are their own pattern."""
    period = next(
        (size for size in range(1, len(kinds)) if all(kind == kinds[at % size] for at, kind in enumerate(kinds))),
        len(kinds),
    )
    return [kinds[at % period] for at in range(count)]


def shaped(model: SourceModel, spec: StudentSpec) -> SourceModel:
    """The student as a source model of configuration and float32 tensors by shape: what planning reads.

    Pure, but for a given model, whose headers are opened. Its folder and tokenizer are the source's.
    """
    if spec.given is not None:
        given = open_model(spec.given)
        if model.labels and not given.labels:  # an encoder, which is given the teacher's
            return replace(given, task=model.task, kind=model.kind, labels=model.labels, training=model.training)
        return replace(open_model(spec.given, task=model.task), training=model.training)
    family, source = stored_shape(model)
    target = resolved(source, family, spec)
    config = {**model.config, **settings(model.config, family, target)}
    config.pop("quantization_config", None)
    if "pruned_heads" in config:  # JSON knows no other keys
        config["pruned_heads"] = {str(layer): gone for layer, gone in config["pruned_heads"].items()}
    tensors = tuple(
        TensorInfo(name, "F32", tuple(map(target.size_of, place.axes, shape)))
        for name, shape, place in _kept(model, family, target)
    )
    return replace(model, config=config, tensors=tensors, quantized=None, quantization=None)


def _kept(model: SourceModel, family: Family, target: Shape) -> Iterator[tuple[str, tuple[int, ...], Place]]:
    """The stored tensors that the task's module has, of the first layers, by the names that it is saved under."""
    tied = bool(model.config.get("tie_word_embeddings", family.tied))
    for tensor in model.tensors:
        place = place_of(family, tensor.name, len(tensor.shape))
        if place is None or (place.is_top and not _stands(place.module, model, family, tied)):
            continue
        if place.layer is not None and place.layer >= target.layers:
            continue
        stem, _, last = tensor.name.rpartition(".")
        # Checkpoints converted from TensorFlow name a norm's weight and bias so.
        last = {"gamma": "weight", "beta": "bias"}.get(last, last)
        name = f"{stem}.{last}" if stem else last
        yield name.removeprefix(family.prefixes[0] if model.task == "embedding" else ""), tensor.shape, place


def _stands(module: str, model: SourceModel, family: Family, tied: bool) -> bool:
    """Whether the task's module has this part on top of its encoder or decoder."""
    if model.task == "causal-lm":
        return module == "lm_head" and not tied
    if model.task == "text-classification":
        return module != "lm_head"
    return model.task != "embedding" and module != "lm_head" and module not in family.pooled
