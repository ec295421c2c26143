"""What the merged model's files hold: every tensor with where its values come from. Decided before any is read."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.adapters.changes import take_products, take_tokens
from edgekit.adapters.naming import Naming, naming
from edgekit.adapters.pieces import (
    FLOATS,
    OUTPUT,
    Base,
    Combination,
    Layout,
    Merging,
    Piece,
    Weighted,
    add,
    other_shape,
    renamed,
)
from edgekit.adapters.stored import Adapter
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadAdapter

_INPUTS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tokens_embed", "tok_embeddings")


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
    heads = {OUTPUT} if tied else set()
    names = naming(modules, stored, heads) if modules else _of_saved(saved, stored)
    merge = Merging(base, given, combination, names)
    _take_base(merge)
    if tied:
        merge.pieces.pop(f"{OUTPUT}.weight", None)
    embedding = _input_embedding(merge)
    before = merge.pieces[embedding] if embedding else None
    unties = tied and _unties(merge, embedding)
    if unties and before is not None:
        add(merge, renamed(before, f"{OUTPUT}.weight"), merge.files[before.info.name])
    _take_saved(merge, kept_tied=tied and not unties)
    take_tokens(merge)
    take_products(merge, kept_tied=tied and not unties)
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
    own = any(name.rsplit(".", 2)[-2:] == [output, "weight"] for name in stored for output in (OUTPUT, "embed_out"))
    return not own or base.config.get("tie_word_embeddings") is True


def _of_saved(modules: Sequence[str], stored: Sequence[str]) -> Naming:
    """For adapters that only replace whole tensors: by those of them that the base has under some prefix."""
    ends = {name.split(".", 1)[-1] for name in stored}
    known = [each for each in modules if f"{each}.weight" in ends or f"{each.split('.', 1)[-1]}.weight" in stored]
    return naming(known, stored, ())


def _take_base(merge: Merging) -> None:
    base = merge.base
    for file, infos in base.shards:
        path = base.folder / file
        for info in infos:
            name = merge.names.of_base(info.name)
            if not base.keeps(name):
                continue
            source = path if path.is_file() and path.suffix == ".safetensors" else None
            piece = Piece(TensorInfo(name, info.dtype, info.shape), base.store, info.name, (), source)
            add(merge, piece, file)


def _input_embedding(merge: Merging) -> str:
    """The name of the input embedding's weight, "" where it cannot be told."""
    endings = tuple(f".{name}.weight" for name in _INPUTS)
    found = [name for name in merge.pieces if f".{name}".endswith(endings)]
    return found[0] if len(found) == 1 else ""


def _unties(merge: Merging, embedding: str) -> bool:
    """Whether what the adapter does to the input embedding, or to the output, does not hold for the other.

    Rows that were trained alone hold for both, as in PEFT; equal replacements of both stay one.
    """
    output, stem = f"{OUTPUT}.weight", embedding.removesuffix(".weight")
    of = merge.names.of_adapter
    products = {of(module) for each in merge.given for module in each.adapter.products}
    saved = {of(name): (each.adapter, key) for each in merge.given for name, key in each.adapter.saved.items()}
    if any(each.adapter.config.ties for each in merge.given):
        return False
    if OUTPUT in products or stem in products:
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


def _take_saved(merge: Merging, *, kept_tied: bool) -> None:
    """Whole tensors in place of the base's; those that it does not have (a new head) go to the last file."""
    last = merge.base.shards[-1][0]
    for each in merge.given:
        adapter = each.adapter
        if adapter.saved and each.weight != 1:
            merge.notes.append(f"{adapter.where} replaces {len(adapter.saved)} tensors as a whole, whatever its weight")
        for plain, key in adapter.saved.items():
            name, found = merge.names.of_adapter(plain), adapter.store.tensors[key]
            if kept_tied and name == f"{OUTPUT}.weight":
                continue
            old = merge.pieces.get(name)
            if found.dtype not in FLOATS:
                raise BadAdapter(f"{adapter.where}: {key} is stored as {found.dtype}, a float is expected")
            continues = merge.base.decodes and adapter.config.task_type in (None, "CAUSAL_LM")
            if old is None and continues and name != f"{OUTPUT}.weight":
                raise BadAdapter(
                    f"{adapter.where} was made for another architecture: it replaces {name}, which {merge.base.path}"
                    " does not have",
                    "give the base that it was trained on with --base",
                )
            if old is not None and not _may_replace(merge, name, old.info.shape, found.shape):
                raise other_shape(adapter.where, name, found.shape, merge.base.path, old.info.shape)
            dtype = old.info.dtype if old is not None and old.info.dtype in FLOATS else found.dtype
            add(merge, Piece(TensorInfo(name, dtype, found.shape), adapter.store, key), merge.files.get(name, last))


def _may_replace(merge: Merging, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Of the same shape, an embedding with other rows, or a classifier's head with other labels."""
    if old == new:
        return True
    embeds = name == f"{OUTPUT}.weight" or f".{name}".endswith(tuple(f".{each}.weight" for each in _INPUTS))
    labels = not merge.base.decodes and len(old) == 2 - name.endswith(".bias")
    return len(old) == len(new) and len(old) > 0 and old[1:] == new[1:] and (embeds or labels)


def _vocabulary(merge: Merging, embedding: str, before: Piece | None, tied: bool) -> int | None:
    """The rows of the input embedding where they changed; BadAdapter where the output has others."""
    if before is None:
        return None
    rows = merge.pieces[embedding].info.shape[0]
    output = merge.pieces.get(f"{OUTPUT}.weight")
    if not tied and output is not None and output.info.shape[0] != rows:
        raise BadAdapter(
            f"the input embedding has {rows} rows and the output {output.info.shape[0]} once merged",
            "save the adapter with both: modules_to_save, or save_embedding_layers=True",
        )
    return rows if rows != before.info.shape[0] else None


def _finished(merge: Merging, unties: bool, vocabulary: int | None) -> Layout:
    shards: dict[str, list[Piece]] = {file: [] for file, _ in merge.base.shards}
    for name, piece in merge.pieces.items():
        shards[merge.files[name]].append(piece)
    changed = sum(1 for piece in merge.pieces.values() if piece.changes or piece.origin is not merge.base.store)
    kept = tuple((file, tuple(pieces)) for file, pieces in shards.items() if pieces)
    return Layout(kept, unties, vocabulary, changed, tuple(merge.notes))
