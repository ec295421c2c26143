"""What adapters change in a tensor: their products, the bias of B, rows that were trained alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.adapters.naming import require
from edgekit.adapters.pieces import FLOATS, OUTPUT, Combination, Merging, Piece, Weighted, add, other_shape
from edgekit.adapters.products import LowRank, adding, adding_vector, combined, replacing_rows, with_magnitudes
from edgekit.adapters.stored import Adapter, Parts
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadAdapter

if TYPE_CHECKING:
    from edgekit.adapters.pieces import Change
    from edgekit.adapters.products import Read, Step

_CONV1D = frozenset(["gpt2", "openai-gpt", "imagegpt", "decision_transformer"])
"""Families whose linear layers store [inputs, outputs]."""


def take_tokens(merge: Merging) -> None:
    for each in merge.given:
        adapter = each.adapter
        for module, key in adapter.tokens.items():
            stem = merge.names.of_adapter(module)
            require(stem, merge.pieces, adapter.where, merge.base.path)
            rows, trained = _rows_of(adapter, module), adapter.store.tensors[key].shape
            old = merge.pieces[f"{stem}.weight"]
            if trained != (len(rows), *old.info.shape[1:]) or max(rows, default=0) >= old.info.shape[0]:
                raise other_shape(adapter.where, key, trained, merge.base.path, old.info.shape)
            if each.weight != 1:
                raise BadAdapter(
                    f"{adapter.where} replaces rows of {stem}, which has no weight", "give it the weight 1"
                )
            change = _rows_replaced(adapter, key, rows)
            add(merge, _changed(merge, old, change), merge.files[old.info.name])


def _rows_of(adapter: Adapter, module: str) -> tuple[int, ...]:
    for ending, rows in adapter.config.token_rows.items():
        if not ending or module == ending or module.endswith(f".{ending}"):
            return rows
    raise BadAdapter(f"{adapter.where}: trainable_token_indices do not say which rows of {module} were trained")


def _rows_replaced(adapter: Adapter, key: str, rows: tuple[int, ...]) -> Change:
    return lambda _: replacing_rows(rows, adapter.store.read(key))


def take_products(merge: Merging, *, kept_tied: bool) -> None:
    """The products of all adapters on one weight are one change: DoRA's stands alone."""
    users: dict[str, list[tuple[Weighted, str, Parts]]] = {}
    for each in merge.given:
        for module, parts in each.adapter.products.items():
            stem = merge.names.of_adapter(module)
            if not (kept_tied and stem == OUTPUT):
                require(stem, merge.pieces, each.adapter.where, merge.base.path)
                users.setdefault(stem, []).append((each, module, parts))
    for stem, used in users.items():
        old = merge.pieces[f"{stem}.weight"]
        turned = [_is_transposed(merge, each.adapter, parts, old.info) for each, _, parts in used]
        change = _weight_change(used, turned, merge.combination, old.info.shape)
        add(merge, _changed(merge, old, change), merge.files[old.info.name])
        for each, module, parts in used:
            if parts.bias:
                _take_bias(merge, stem, each, module, parts)


def _is_transposed(merge: Merging, adapter: Adapter, parts: Parts, info: TensorInfo) -> bool:
    """Whether the weight is stored as [inputs, outputs]; BadAdapter where it fits in no way."""
    shape, tensors = info.shape, adapter.store.tensors
    inputs, outputs = tensors[parts.a].elements // tensors[parts.a].shape[0], tensors[parts.b].shape[0]
    plain = len(shape) >= 2 and shape[0] == outputs and info.elements == outputs * inputs
    swapped = shape == (inputs, outputs)
    if parts.embedding and swapped:
        return True
    # PEFT heeds fan_in_fan_out for Conv1D alone: of a square matrix only the class of its layer tells.
    conv1d = merge.base.config.get("model_type") in _CONV1D or (adapter.config.fan_in_fan_out and not plain)
    linear = info.name.rsplit(".", 2)[-2] in (OUTPUT, "score", "classifier")
    if not parts.embedding and swapped and conv1d and not (plain and linear):
        return True
    if parts.embedding or not plain or len(tensors[parts.a].shape) != len(shape):
        raise other_shape(adapter.where, f"product on {info.name}", (outputs, inputs), merge.base.path, shape)
    return False


def _weight_change(
    used: list[tuple[Weighted, str, Parts]], turned: list[bool], combination: Combination, shape: tuple[int, ...]
) -> Change:
    """Read when the tensor's turn comes, and let go of with it."""

    def change(read: Read) -> Step:
        products = [
            _product(each.adapter, module, parts, transposed)
            for (each, module, parts), transposed in zip(used, turned, strict=True)
        ]
        weights = [each.weight for each, _, _ in used]
        first, _, parts = used[0]
        if parts.magnitude:
            magnitudes = first.adapter.store.read(parts.magnitude).reshape(-1)
            return with_magnitudes(products[0], magnitudes, read, shape)
        if combination == "linear":
            return adding([combined(products, weights)])
        scaled = [LowRank(p.a, p.b, p.scaling * w, p.transposed) for p, w in zip(products, weights, strict=True)]
        return adding(scaled)

    return change


def _product(adapter: Adapter, module: str, parts: Parts, transposed: bool) -> LowRank:
    a, b = adapter.store.read(parts.a), adapter.store.read(parts.b)
    return LowRank(a.reshape(len(a), -1), b.reshape(len(b), -1), adapter.config.scaling(module), transposed)


def _take_bias(merge: Merging, stem: str, each: Weighted, module: str, parts: Parts) -> None:
    old = merge.pieces.get(f"{stem}.bias")
    if old is None:
        raise BadAdapter(
            f"{each.adapter.where} adds a bias to {stem}, which has none in {merge.base.path}",
            "train it without lora_bias, or on a base with biases",
        )
    scale = each.weight * each.adapter.config.scaling(module)

    def change(_: Read) -> Step:
        return adding_vector(each.adapter.store.read(parts.bias).reshape(-1) * scale)

    add(merge, _changed(merge, old, change), merge.files[old.info.name])


def _changed(merge: Merging, old: Piece, change: Change) -> Piece:
    if old.info.dtype not in FLOATS:
        raise BadAdapter(
            f"{merge.base.path}: {old.info.name} is stored as {old.info.dtype}, which nothing is merged into",
            "give the unquantized base with --base",
        )
    return Piece(old.info, old.origin, old.key, (*old.changes, change), None)
