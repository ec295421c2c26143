"""Where a family keeps its layers, heads and channels: one row each, which names the space that each axis spans.

Cutting weights and telling a student's shape both read these rows, so that they cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.errors import UnsupportedModel

# hidden: the residual stream. query, key, value, out: heads x head size, of the projections' rows and the output
# projection's columns (key and value: of the key/value heads). head: one entry a head. inner: the feed-forward's
# channels. pooled: what a classifier's dense layer makes of the first token. read: pooled where there is such a layer,
# hidden otherwise. fixed: never cut (vocabulary, positions, labels, a head's own norm).
Axis = Literal["hidden", "query", "key", "value", "out", "head", "inner", "pooled", "read", "fixed"]
Axes = tuple[Axis, ...]

_VECTOR: Axes = ("hidden",)
_TABLE: Axes = ("fixed", "hidden")
_POOLER: Axes = ("pooled", "hidden")
_LABELS: Axes = ("fixed", "read")


@dataclass(frozen=True)
class Keys:
    """What the configuration calls the sizes; "" for what the family does not have."""

    layers: str = "num_hidden_layers"
    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    kv_heads: str = ""
    head_size: str = ""
    inner: str = "intermediate_size"


@dataclass(frozen=True)
class Family:
    """One family of transformers modules.

    `layers` is the path of the list of layers below any of `prefixes`; `inside` maps the modules of a layer to the axes
    of their weights (a bias, or a norm, has the first of them), `outside` the rest of the encoder or decoder, `tops`
    what stands on it for a task. `queries` is the module of a layer that makes the queries, `attended` the one that
    reads the heads' outputs and `narrowed` the one that reads the feed-forward's channels. `pooled` are the modules
    whose output is the space "pooled". `head_size` is the configuration's default where it is not hidden / heads.
    `shares_heads`: all layers share a table by head, so that the same heads must go everywhere. `tied`: the default of
    tie_word_embeddings.
    """

    model_types: tuple[str, ...]
    prefixes: tuple[str, ...]
    layers: str
    inside: Mapping[str, Axes]
    outside: Mapping[str, Axes]
    tops: Mapping[str, Axes]
    queries: str
    attended: str
    narrowed: str
    pooled: tuple[str, ...] = ()
    keys: Keys = field(default_factory=Keys)
    head_size: int | None = None
    shares_heads: bool = False
    tied: bool = False

    @property
    def has_free_heads(self) -> bool:
        """Whether the heads' size is configured of its own, so that they need not span the residual stream."""
        return bool(self.keys.head_size)


_BERT_LAYER: Mapping[str, Axes] = {
    "attention.self.query": ("query", "hidden"),
    "attention.self.key": ("key", "hidden"),
    "attention.self.value": ("value", "hidden"),
    "attention.output.dense": ("hidden", "out"),
    "attention.output.LayerNorm": _VECTOR,
    "intermediate.dense": ("inner", "hidden"),
    "output.dense": ("hidden", "inner"),
    "output.LayerNorm": _VECTOR,
}
_BERT_OUTER: Mapping[str, Axes] = {
    "embeddings.word_embeddings": _TABLE,
    "embeddings.position_embeddings": _TABLE,
    "embeddings.token_type_embeddings": _TABLE,
    "embeddings.LayerNorm": _VECTOR,
}
_ROBERTA_TOPS: Mapping[str, Axes] = {
    "classifier.dense": _POOLER,
    "classifier.out_proj": _LABELS,
    "classifier": ("fixed", "hidden"),
}
_DISTILBERT_LAYER: Mapping[str, Axes] = {
    "attention.q_lin": ("query", "hidden"),
    "attention.k_lin": ("key", "hidden"),
    "attention.v_lin": ("value", "hidden"),
    "attention.out_lin": ("hidden", "out"),
    "sa_layer_norm": _VECTOR,
    "ffn.lin1": ("inner", "hidden"),
    "ffn.lin2": ("hidden", "inner"),
    "output_layer_norm": _VECTOR,
}
_MPNET_LAYER: Mapping[str, Axes] = {
    "attention.attn.q": ("query", "hidden"),
    "attention.attn.k": ("key", "hidden"),
    "attention.attn.v": ("value", "hidden"),
    "attention.attn.o": ("hidden", "out"),
    "attention.LayerNorm": _VECTOR,
    "intermediate.dense": ("inner", "hidden"),
    "output.dense": ("hidden", "inner"),
    "output.LayerNorm": _VECTOR,
}
_LLAMA_LAYER: Mapping[str, Axes] = {
    "self_attn.q_proj": ("query", "hidden"),
    "self_attn.k_proj": ("key", "hidden"),
    "self_attn.v_proj": ("value", "hidden"),
    "self_attn.o_proj": ("hidden", "out"),
    "self_attn.q_norm": ("fixed",),
    "self_attn.k_norm": ("fixed",),
    "mlp.gate_proj": ("inner", "hidden"),
    "mlp.up_proj": ("inner", "hidden"),
    "mlp.down_proj": ("hidden", "inner"),
    "input_layernorm": _VECTOR,
    "post_attention_layernorm": _VECTOR,
    "pre_feedforward_layernorm": _VECTOR,
    "post_feedforward_layernorm": _VECTOR,
}
_VIT_LAYER: Mapping[str, Axes] = {
    "attention.attention.query": ("query", "hidden"),
    "attention.attention.key": ("key", "hidden"),
    "attention.attention.value": ("value", "hidden"),
    "attention.output.dense": ("hidden", "out"),
    "intermediate.dense": ("inner", "hidden"),
    "output.dense": ("hidden", "inner"),
    "layernorm_before": _VECTOR,
    "layernorm_after": _VECTOR,
}
_VIT_OUTER: Mapping[str, Axes] = {
    "embeddings.cls_token": ("fixed", "fixed", "hidden"),
    "embeddings.distillation_token": ("fixed", "fixed", "hidden"),
    "embeddings.position_embeddings": ("fixed", "fixed", "hidden"),
    "embeddings.patch_embeddings.projection": ("hidden", "fixed", "fixed", "fixed"),
    "layernorm": _VECTOR,
}
_DECODER_KEYS = Keys(kv_heads="num_key_value_heads", head_size="head_dim")


def _decoder(model_types: tuple[str, ...], *, head_size: int | None = None, tied: bool = False) -> Family:
    return Family(
        model_types,
        ("model.", ""),
        "layers",
        _LLAMA_LAYER,
        {"embed_tokens": _TABLE, "norm": _VECTOR},
        {"lm_head": ("fixed", "hidden"), "score": ("fixed", "hidden")},
        queries="self_attn.q_proj",
        attended="self_attn.o_proj",
        narrowed="mlp.down_proj",
        keys=_DECODER_KEYS,
        head_size=head_size,
        tied=tied,
    )


FAMILIES: tuple[Family, ...] = (
    Family(
        ("bert",), ("bert.", ""), "encoder.layer", _BERT_LAYER, _BERT_OUTER,
        {"pooler.dense": _POOLER, "classifier": _LABELS},
        queries="attention.self.query", attended="attention.output.dense", narrowed="output.dense",
        pooled=("pooler.dense",),
    ),
    Family(
        ("roberta", "xlm-roberta", "camembert"), ("roberta.", ""), "encoder.layer", _BERT_LAYER, _BERT_OUTER,
        _ROBERTA_TOPS,
        queries="attention.self.query", attended="attention.output.dense", narrowed="output.dense",
        pooled=("classifier.dense",),
    ),
    Family(
        ("distilbert",), ("distilbert.", ""), "transformer.layer", _DISTILBERT_LAYER, _BERT_OUTER,
        {"pre_classifier": _POOLER, "classifier": _LABELS},
        queries="attention.q_lin", attended="attention.out_lin", narrowed="ffn.lin2",
        pooled=("pre_classifier",),
        keys=Keys("n_layers", "dim", "n_heads", inner="hidden_dim"),
    ),
    Family(
        ("mpnet",), ("mpnet.", ""), "encoder.layer", _MPNET_LAYER,
        {**_BERT_OUTER, "encoder.relative_attention_bias": ("fixed", "head")}, _ROBERTA_TOPS,
        queries="attention.attn.q", attended="attention.attn.o", narrowed="output.dense",
        pooled=("classifier.dense",), shares_heads=True,
    ),
    _decoder(("llama", "mistral", "qwen2")),
    _decoder(("smollm3",), tied=True),
    _decoder(("qwen3",), head_size=128),
    _decoder(("gemma2", "gemma3_text"), head_size=256, tied=True),
    Family(
        ("vit", "deit"), ("vit.", "deit.", ""), "encoder.layer", _VIT_LAYER, _VIT_OUTER,
        dict.fromkeys(("classifier", "cls_classifier", "distillation_classifier"), ("fixed", "hidden")),
        queries="attention.attention.query", attended="attention.output.dense", narrowed="output.dense",
    ),
)  # fmt: skip


def family_of(model_type: str) -> Family:
    """The family's row; UnsupportedModel, naming those there are, where there is none."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.model_types)
    raise UnsupportedModel(
        f"nothing is known of where a {model_type or 'nameless'} model keeps its heads and channels",
        f"smaller ones are made of {known}; or give a smaller model with the same tokenizer",
    )


@dataclass(frozen=True)
class Place:
    """Where a tensor belongs: its layer (None outside of them), the module's path there, and its axes."""

    layer: int | None
    module: str
    axes: Axes
    is_top: bool = False


def place_of(family: Family, name: str, rank: int) -> Place | None:
    """The place of the tensor `name` of `rank` axes, None for one that the family does not have."""
    for prefix in family.prefixes:
        if not name.startswith(prefix):
            continue
        inner = name.removeprefix(prefix)
        match = re.fullmatch(rf"{re.escape(family.layers)}\.(\d+)\.(.+)", inner)
        if match is not None:
            found = _row(family.inside, match[2], rank)
            return None if found is None else Place(int(match[1]), *found)
        found = _row(family.outside, inner, rank)
        if found is not None:
            return Place(None, *found)
    found = _row(family.tops, name, rank) or _row(family.tops, name.removeprefix(family.prefixes[0]), rank)
    return None if found is None else Place(None, *found, is_top=True)


def has_pooled(family: Family, names: Iterable[str]) -> bool:
    """Whether among the tensors there is the layer that makes the space "pooled"."""
    stems = tuple(f"{module}.weight" for module in family.pooled)
    return bool(stems) and any(name.endswith(stems) for name in names)


def _row(rows: Mapping[str, Axes], name: str, rank: int) -> tuple[str, Axes] | None:
    """(module, axes) of a tensor: of the parameter itself, or of its module's weight or bias."""
    stem, _, last = name.rpartition(".")
    module = name if name in rows else stem
    if module not in rows or (module == stem and last not in ("weight", "bias", "gamma", "beta")):
        return None
    axes = rows[module]
    axes = axes[:1] if rank == 1 else axes
    return (module, axes) if len(axes) == rank else None
