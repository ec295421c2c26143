"""What the merged model's files hold: every tensor with where its values come from. Decided before any is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.adapters.naming import Naming, naming, require
from edgekit.adapters.products import LowRank, adding, adding_vector, combined, replacing_rows, with_magnitudes
from edgekit.adapters.stored import Adapter, Parts
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadAdapter

if TYPE_CHECKING:
    from edgekit.adapters.products import Read, Step
    from edgekit.checkpoint import Checkpoint

    Change = Callable[[Read], Step]

Combination = Literal["cat", "linear"]
FLOATS = ("F32", "F16", "BF16", "F64")
_CONV1D = frozenset(["gpt2", "openai-gpt", "imagegpt", "decision_transformer"])
_OUTPUT = "lm_head"
_INPUTS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tokens_embed", "tok_embeddings")


@dataclass(frozen=True)
class Base:
    """The full-precision model. `shards` are its weight files' names with their tensors, `path` what people call it.

    `keeps` tells by its merged name whether a tensor stays, where the adapter has another head than the base.
    `decodes`: it is a language model, whose output may be tied to its input embedding.
    """

    path: str
    folder: Path
    store: Checkpoint
    shards: Sequence[tuple[str, Sequence[TensorInfo]]]
    config: Mapping[str, Any]
    decodes: bool
    keeps: Callable[[str], bool] = lambda _: True


@dataclass(frozen=True)
class Weighted:
    adapter: Adapter
    weight: float = 1.0


@dataclass(frozen=True)
class Piece:
    """A tensor of the merged model: `key` of `origin`, changed in turn. `file` is the base's file it may be copied
    from as it is, None where there is none.
    """

    info: TensorInfo
    origin: Checkpoint
    key: str
    changes: tuple[Change, ...] = ()
    file: Path | None = None


@dataclass(frozen=True)
class Layout:
    """`shards` by file name. `unties`: the output was tied to the input embedding and is so no more. `vocabulary` is
    the number of rows of the input embedding where it differs from the base's. `changed` counts tensors.
    """

    shards: tuple[tuple[str, tuple[Piece, ...]], ...]
    unties: bool = False
    vocabulary: int | None = None
    changed: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class _Merge:
    """What is gathered while a layout is made. `pieces` are by name in the merged model, `files` give their shard."""

    base: Base
    given: Sequence[Weighted]
    combination: Combination
    names: Naming
    pieces: dict[str, Piece] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def laid_out(base: Base, given: Sequence[Weighted], combination: Combination = "cat") -> Layout:
    """The merged model: base + sum of weight * scaling * B A ("cat"), or by combined factors ("linear").

    BadAdapter where a module is not in the base or has another shape there, where the base's weights are no floats, and
    for combinations that have no meaning.
    """
    _check_combination(given, combination)
    stored = [info.name for _, infos in base.shards for info in infos]
    tied = _is_tied(base, stored)
    modules = [module for each in given for module in (*each.adapter.products, *each.adapter.tokens)]
    saved = [name.rsplit(".", 1)[0] for each in given for name in each.adapter.saved if name.endswith(".weight")]
    heads = {_OUTPUT} if tied else set()
    names = naming(modules, stored, heads) if modules else _of_saved(saved, stored)
    merge = _Merge(base, given, combination, names)
    _take_base(merge)
    if tied:
        merge.pieces.pop(f"{_OUTPUT}.weight", None)
    embedding = _input_embedding(merge)
    before = merge.pieces[embedding] if embedding else None
    unties = tied and _unties(merge, embedding)
    if unties and before is not None:
        _add(merge, _renamed(before, f"{_OUTPUT}.weight"), merge.files[before.info.name])
    _take_saved(merge, kept_tied=tied and not unties)
    _take_tokens(merge)
    _take_products(merge, kept_tied=tied and not unties)
    vocabulary = _vocabulary(merge, embedding, before, tied and not unties)
    return _finished(merge, unties, vocabulary)


def _check_combination(given: Sequence[Weighted], combination: Combination) -> None:
    several = len(given) > 1 or any(each.weight != 1 for each in given)
    for each in given:
        if several and each.adapter.config.dora:
            raise BadAdapter(
                f"{each.adapter.where} is a DoRA: its magnitudes are not additive, so it has no weight beside others",
                "merge it alone, then the others into what that gave",
            )
    owners: dict[str, str] = {}
    for each in given:
        for name in each.adapter.saved:
            if name in owners:
                raise BadAdapter(
                    f"{owners[name]} and {each.adapter.where} both replace {name} as a whole",
                    "only one of the adapters may have it in modules_to_save",
                )
            owners[name] = each.adapter.where
    if combination == "linear":
        for module in {module for each in given for module in each.adapter.products}:
            ranks = {each.adapter.config.rank_of(module) for each in given if module in each.adapter.products}
            if len(ranks) > 1:
                raise BadAdapter(
                    f"{module} has ranks {sorted(ranks)}, combining factors (linear) needs one",
                    "leave --combination out: products are added, whatever their ranks",
                )


def _is_tied(base: Base, stored: Sequence[str]) -> bool:
    """The output shares the input embedding's weights. A stored one that the configuration ignores does not count."""
    if not base.decodes:
        return False
    return f"{_OUTPUT}.weight" not in stored or base.config.get("tie_word_embeddings") is True


def _of_saved(modules: Sequence[str], stored: Sequence[str]) -> Naming:
    """For adapters that only replace whole tensors: by those of them that the base has under some prefix."""
    ends = {name.split(".", 1)[-1] for name in stored}
    known = [each for each in modules if f"{each}.weight" in ends or f"{each.split('.', 1)[-1]}.weight" in stored]
    return naming(known, stored, ())


def _take_base(merge: _Merge) -> None:
    base = merge.base
    for file, infos in base.shards:
        path = base.folder / file
        for info in infos:
            name = merge.names.of_base(info.name)
            if not base.keeps(name):
                continue
            source = path if path.is_file() and path.suffix == ".safetensors" else None
            piece = Piece(TensorInfo(name, info.dtype, info.shape), base.store, info.name, (), source)
            _add(merge, piece, file)


def _add(merge: _Merge, piece: Piece, file: str) -> None:
    merge.pieces[piece.info.name] = piece
    merge.files[piece.info.name] = file


def _renamed(piece: Piece, name: str) -> Piece:
    info = TensorInfo(name, piece.info.dtype, piece.info.shape)
    return Piece(info, piece.origin, piece.key, piece.changes, piece.file)


def _input_embedding(merge: _Merge) -> str:
    """The name of the input embedding's weight, "" where it cannot be told."""
    endings = tuple(f".{name}.weight" for name in _INPUTS)
    found = [name for name in merge.pieces if f".{name}".endswith(endings)]
    return found[0] if len(found) == 1 else ""


def _unties(merge: _Merge, embedding: str) -> bool:
    """Whether what the adapter does to the input embedding, or to the output, does not hold for the other.

    Rows that were trained alone hold for both, as in PEFT; equal replacements of both stay one.
    """
    output, stem = f"{_OUTPUT}.weight", embedding.removesuffix(".weight")
    of = merge.names.of_adapter
    products = {of(module) for each in merge.given for module in each.adapter.products}
    saved = {of(name): (each.adapter, key) for each in merge.given for name, key in each.adapter.saved.items()}
    if any(each.adapter.config.ties for each in merge.given):
        return False
    if _OUTPUT in products or stem in products:
        return True
    if embedding in saved and output in saved:
        return not _equal(saved[embedding], saved[output])
    if output in saved:
        return True
    if embedding not in saved:
        return False
    adapter, key = saved[embedding]
    resized = adapter.store.tensors[key].shape != merge.pieces[embedding].info.shape
    if resized:  # the output has new rows too, and they are nowhere else
        merge.notes.append("the output stays tied to the input embedding, which has other rows than the base's")
    return not resized


def _equal(one: tuple[Adapter, str], other: tuple[Adapter, str]) -> bool:
    import numpy as np

    from edgekit.adapters.products import row_blocks

    infos = [adapter.store.tensors[key] for adapter, key in (one, other)]
    if infos[0].shape != infos[1].shape:
        return False
    return all(
        np.array_equal(one[0].store.read(one[1], rows), other[0].store.read(other[1], rows))
        for rows in row_blocks(infos[0].shape)
    )


def _take_saved(merge: _Merge, *, kept_tied: bool) -> None:
    """Whole tensors in place of the base's; those that it does not have (a new head) go to the last file."""
    last = merge.base.shards[-1][0]
    for each in merge.given:
        adapter = each.adapter
        if adapter.saved and each.weight != 1:
            merge.notes.append(f"{adapter.where} replaces {len(adapter.saved)} tensors as a whole, whatever its weight")
        for plain, key in adapter.saved.items():
            name, found = merge.names.of_adapter(plain), adapter.store.tensors[key]
            if kept_tied and name == f"{_OUTPUT}.weight":
                continue
            old = merge.pieces.get(name)
            if found.dtype not in FLOATS:
                raise BadAdapter(f"{adapter.where}: {key} is stored as {found.dtype}, a float is expected")
            if old is not None and not _may_replace(merge, name, old.info.shape, found.shape):
                raise _other_shape(adapter.where, name, found.shape, merge.base.path, old.info.shape)
            dtype = old.info.dtype if old is not None and old.info.dtype in FLOATS else found.dtype
            _add(merge, Piece(TensorInfo(name, dtype, found.shape), adapter.store, key), merge.files.get(name, last))


def _may_replace(merge: _Merge, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Of the same shape, an embedding with other rows, or a classifier's head with other labels."""
    if old == new:
        return True
    embeds = name == f"{_OUTPUT}.weight" or f".{name}".endswith(tuple(f".{each}.weight" for each in _INPUTS))
    labels = not merge.base.decodes and len(old) == 2 - name.endswith(".bias")
    return len(old) == len(new) and len(old) > 0 and old[1:] == new[1:] and (embeds or labels)


def _other_shape(where: str, name: str, has: Sequence[int], base: str, wanted: Sequence[int]) -> BadAdapter:
    return BadAdapter(
        f"{where} was made for another architecture: its {name} is {list(has)}, that of {base} is {list(wanted)}",
        "give the base that it was trained on with --base",
    )


def _take_tokens(merge: _Merge) -> None:
    for each in merge.given:
        adapter = each.adapter
        for module, key in adapter.tokens.items():
            stem = merge.names.of_adapter(module)
            require(stem, merge.pieces, adapter.where, merge.base.path)
            rows, trained = _rows_of(adapter, module), adapter.store.tensors[key].shape
            old = merge.pieces[f"{stem}.weight"]
            if trained != (len(rows), *old.info.shape[1:]) or max(rows, default=0) >= old.info.shape[0]:
                raise _other_shape(adapter.where, key, trained, merge.base.path, old.info.shape)
            if each.weight != 1:
                raise BadAdapter(
                    f"{adapter.where} replaces rows of {stem}, which has no weight", "give it the weight 1"
                )
            change = _rows_replaced(adapter, key, rows)
            _add(merge, _changed(merge, old, change), merge.files[old.info.name])


def _rows_of(adapter: Adapter, module: str) -> tuple[int, ...]:
    for ending, rows in adapter.config.token_rows.items():
        if not ending or module == ending or module.endswith(f".{ending}"):
            return rows
    raise BadAdapter(f"{adapter.where}: trainable_token_indices do not say which rows of {module} were trained")


def _rows_replaced(adapter: Adapter, key: str, rows: tuple[int, ...]) -> Change:
    return lambda _: replacing_rows(rows, adapter.store.read(key))


def _take_products(merge: _Merge, *, kept_tied: bool) -> None:
    """The products of all adapters on one weight are one change: DoRA's stands alone."""
    users: dict[str, list[tuple[Weighted, str, Parts]]] = {}
    for each in merge.given:
        for module, parts in each.adapter.products.items():
            stem = merge.names.of_adapter(module)
            if not (kept_tied and stem == _OUTPUT):
                require(stem, merge.pieces, each.adapter.where, merge.base.path)
                users.setdefault(stem, []).append((each, module, parts))
    for stem, used in users.items():
        old = merge.pieces[f"{stem}.weight"]
        turned = [_is_transposed(merge, each.adapter, parts, old.info) for each, _, parts in used]
        change = _weight_change(used, turned[0], merge.combination, old.info.shape)
        _add(merge, _changed(merge, old, change), merge.files[old.info.name])
        for each, module, parts in used:
            if parts.bias:
                _take_bias(merge, stem, each, module, parts)


def _is_transposed(merge: _Merge, adapter: Adapter, parts: Parts, info: TensorInfo) -> bool:
    """Whether the weight is stored as [inputs, outputs]; BadAdapter where it fits in no way."""
    shape, tensors = info.shape, adapter.store.tensors
    inputs, outputs = tensors[parts.a].elements // tensors[parts.a].shape[0], tensors[parts.b].shape[0]
    plain = len(shape) >= 2 and shape[0] == outputs and info.elements == outputs * inputs
    swapped = shape == (inputs, outputs)
    if parts.embedding and swapped:
        return True
    conv1d = merge.base.config.get("model_type") in _CONV1D or adapter.config.fan_in_fan_out
    linear = info.name.rsplit(".", 2)[-2] in (_OUTPUT, "score", "classifier")
    if not parts.embedding and swapped and conv1d and not (plain and linear):
        return True
    if parts.embedding or not plain or len(tensors[parts.a].shape) != len(shape):
        raise _other_shape(adapter.where, f"product on {info.name}", (outputs, inputs), merge.base.path, shape)
    return False


def _weight_change(
    used: list[tuple[Weighted, str, Parts]], transposed: bool, combination: Combination, shape: tuple[int, ...]
) -> Change:
    def change(read: Read) -> Step:
        products = [_product(each.adapter, module, parts, transposed) for each, module, parts in used]
        weights = [each.weight for each, _, _ in used]
        adapter, _, parts = used[0][0].adapter, used[0][1], used[0][2]
        if parts.magnitude:
            magnitudes = adapter.store.read(parts.magnitude).reshape(-1)
            return with_magnitudes(products[0], magnitudes, read, shape)
        if combination == "linear":
            return adding([combined(products, weights)])
        scaled = [LowRank(p.a, p.b, p.scaling * w, p.transposed) for p, w in zip(products, weights, strict=True)]
        return adding(scaled)

    return change


def _product(adapter: Adapter, module: str, parts: Parts, transposed: bool) -> LowRank:
    a, b = adapter.store.read(parts.a), adapter.store.read(parts.b)
    return LowRank(a.reshape(len(a), -1), b.reshape(len(b), -1), adapter.config.scaling(module), transposed)


def _take_bias(merge: _Merge, stem: str, each: Weighted, module: str, parts: Parts) -> None:
    old = merge.pieces.get(f"{stem}.bias")
    if old is None:
        raise BadAdapter(
            f"{each.adapter.where} adds a bias to {stem}, which has none in {merge.base.path}",
            "train it without lora_bias, or on a base with biases",
        )
    scale = each.weight * each.adapter.config.scaling(module)

    def change(_: Read) -> Step:
        return adding_vector(each.adapter.store.read(parts.bias).reshape(-1) * scale)

    _add(merge, _changed(merge, old, change), merge.files[old.info.name])


def _changed(merge: _Merge, old: Piece, change: Change) -> Piece:
    if old.info.dtype not in FLOATS:
        raise BadAdapter(
            f"{merge.base.path}: {old.info.name} is stored as {old.info.dtype}, which nothing is merged into",
            "give the unquantized base with --base",
        )
    return Piece(old.info, old.origin, old.key, (*old.changes, change), None)


def _vocabulary(merge: _Merge, embedding: str, before: Piece | None, tied: bool) -> int | None:
    """The rows of the input embedding where they changed; BadAdapter where the output has others."""
    if before is None:
        return None
    rows = merge.pieces[embedding].info.shape[0]
    output = merge.pieces.get(f"{_OUTPUT}.weight")
    if not tied and output is not None and output.info.shape[0] != rows:
        raise BadAdapter(
            f"the input embedding has {rows} rows and the output {output.info.shape[0]} once merged",
            "save the adapter with both: modules_to_save, or save_embedding_layers=True",
        )
    return rows if rows != before.info.shape[0] else None


def _finished(merge: _Merge, unties: bool, vocabulary: int | None) -> Layout:
    shards: dict[str, list[Piece]] = {file: [] for file, _ in merge.base.shards}
    for name, piece in merge.pieces.items():
        shards[merge.files[name]].append(piece)
    changed = sum(1 for piece in merge.pieces.values() if piece.changes or piece.origin is not merge.base.store)
    kept = tuple((file, tuple(pieces)) for file, pieces in shards.items() if pieces)
    return Layout(kept, unties, vocabulary, changed, tuple(merge.notes))
