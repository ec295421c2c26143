"""From a source model to the tensors and the hyperparameters of its GGUF file. Pure: configuration and headers only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import SourceModel
from edgekit.strategies.gguf.families import Family, find_family, is_never_written, supported_types
from edgekit.strategies.gguf.rope import Metadata, Rope, read_rope
from edgekit.strategies.gguf.targets import Target, permute_rotary, plus_one

if TYPE_CHECKING:
    from edgekit.strategies.gguf.targets import Transform

POOLING = {"mean": 1, "cls": 2, "last": 3}


@dataclass(frozen=True)
class Shape:
    """Figures that more than one part needs. `window` is set where it caps the context the engine is exact in."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    window: int | None = None

    @property
    def grouped_query(self) -> bool:
        return self.kv_heads != self.heads


@dataclass(frozen=True)
class Layout:
    """A GGUF file but for its vocabulary: `metadata` with full keys, `targets` in file order."""

    family: Family
    shape: Shape
    metadata: Metadata
    targets: tuple[Target, ...]
    notes: tuple[str, ...] = ()


def lay_out(model: SourceModel) -> Layout:
    """UnsupportedModel where there is no family for the model (naming those there are) or the engine would differ."""
    family = find_family(model.model_type)
    embeds = model.task == "embedding"
    if family is None or family.embeds != embeds:
        raise UnsupportedModel(
            f"model type {model.model_type!r} ({model.architecture}) cannot be written as GGUF for {model.task}",
            f"supported: {supported_types(embeds)}",
        )
    if model.quantized is not None and model.quantization is None:
        raise UnsupportedModel(
            f"the weights are already quantized ({model.quantized}) in a way that is not read",
            "use the unquantized checkpoint",
        )
    config = _text_config(model)
    shape = _read_shape(family, config, model)
    rope = Rope({}) if family.embeds else read_rope(family, config, shape.head_dim)
    if not family.embeds:
        _check_decoder(family, config, shape)
    own = (
        _encoder_metadata(model, config) if family.embeds else _decoder_metadata(family, config, shape) | rope.metadata
    )
    metadata: Metadata = {"general.architecture": family.arch, "general.type": "model", "general.name": model.name}
    if model.licence:
        metadata["general.license"] = model.licence
    metadata |= {f"{family.arch}.{key}": value for key, value in (_common_metadata(config, shape) | own).items()}
    if family.embeds:
        metadata["tokenizer.ggml.token_type_count"] = int(config.get("type_vocab_size", 1))
    notes = () if shape.window is None else (
        f"the engine has no sliding window for {family.arch}: context is limited to its {shape.window} tokens",
    )  # fmt: skip
    return Layout(family, shape, metadata, _targets(family, model, config, shape, rope), notes)


def _text_config(model: SourceModel) -> Mapping[str, Any]:
    nested = model.config.get("text_config")
    return {**model.config, **nested} if isinstance(nested, Mapping) else model.config


def _require(config: Mapping[str, Any], *keys: str) -> int:
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    raise BadModel(f"config.json: {keys[0]} is {config.get(keys[0])!r}, a positive whole number is expected")


def _read_shape(family: Family, config: Mapping[str, Any], model: SourceModel) -> Shape:
    heads = _require(config, "num_attention_heads", "n_heads")
    width = _require(config, "hidden_size", "dim")
    kv_heads = heads if config.get("num_key_value_heads") is None else _require(config, "num_key_value_heads")
    head_dim = config.get("head_dim") or family.head_dim or width // heads
    context = _require(config, "max_position_embeddings")
    if family.embeds:
        context -= _position_offset(model)
    window = _unshared_window(family, config)
    return Shape(
        layers=_require(config, "num_hidden_layers", "n_layers"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=int(head_dim),
        vocabulary=_require(config, "vocab_size"),
        context=context if window is None else min(context, window),
        window=window if window is not None and window < context else None,
    )


def _unshared_window(family: Family, config: Mapping[str, Any]) -> int | None:
    """The sliding window that the model has and the engine, for this family, does not."""
    window = config.get("sliding_window")
    if family.sliding_pattern is not None or not window or config.get("use_sliding_window") is False:
        return None
    layer_types = config.get("layer_types")
    if layer_types is not None and "sliding_attention" not in layer_types:
        return None
    return int(window)


def _position_offset(model: SourceModel) -> int:
    """RoBERTa's positions start behind the padding id."""
    return int(model.config.get("pad_token_id", 1)) + 1 if model.model_type in _OFFSET_POSITIONS else 0


_OFFSET_POSITIONS = ("roberta", "camembert", "xlm-roberta")
# Architectures whose query matrix the engine wants square.
_SPANNED = ("phi3", "qwen2")


def _check_decoder(family: Family, config: Mapping[str, Any], shape: Shape) -> None:
    """Refuse what the engine takes for granted and this model has otherwise."""
    activation = config.get("hidden_activation") or config.get("hidden_act") or family.activations[0]
    if activation not in family.activations:
        _refuse(family, f"activation {activation!r}", f"{family.activations[0]!r}")
    if family.query_scalar:
        large = shape.layers == (46 if family.arch == "gemma2" else 62)
        expected = shape.width // shape.heads if large else shape.head_dim
        scalar = config.get("query_pre_attn_scalar", 256)
        if scalar != expected:
            _refuse(family, f"query_pre_attn_scalar {scalar}", str(expected))
    if family.rope_free_step is not None:
        step = family.rope_free_step
        expected_rope = [int((layer + 1) % step != 0) for layer in range(shape.layers)]
        rope_layers = config.get("no_rope_layers") or expected_rope
        if list(rope_layers) != expected_rope:
            _refuse(family, f"no_rope_layers {rope_layers}", f"every {step}th layer without")
    if family.arch in _SPANNED and shape.head_dim * shape.heads != shape.width:
        _refuse(family, f"{shape.heads} heads of {shape.head_dim}", f"heads that span the width of {shape.width}")
    if config.get("num_local_experts") or config.get("num_experts"):
        _refuse(family, "a mixture of experts", "dense feed-forward layers")
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.get(key) and family.arch != "gemma2" and (family.arch, key) != ("gemma3", "final_logit_softcapping"):
            _refuse(family, f"{key} {config[key]}", "none")


def _refuse(family: Family, found: str, expected: str) -> None:
    raise UnsupportedModel(f"config.json: the engine's {family.arch} does not have {found}, only {expected}")


def _common_metadata(config: Mapping[str, Any], shape: Shape) -> Metadata:
    return {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.width,
        "feed_forward_length": _require(config, "intermediate_size", "hidden_dim"),
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
    }


def _decoder_metadata(family: Family, config: Mapping[str, Any], shape: Shape) -> Metadata:
    metadata: Metadata = {
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "vocab_size": shape.vocabulary,
    }
    if family.sliding_pattern is not None:
        metadata |= _sliding_metadata(family.sliding_pattern, config, shape)
    if family.arch == "gemma2":
        metadata["attn_logit_softcapping"] = float(config.get("attn_logit_softcapping") or 50.0)
    if family.arch in ("gemma2", "gemma3"):
        capping = config.get("final_logit_softcapping", 30.0 if family.arch == "gemma2" else None)
        if capping:
            metadata["final_logit_softcapping"] = float(capping)
    return metadata


def _sliding_metadata(pattern: int, config: Mapping[str, Any], shape: Shape) -> Metadata:
    """The window, and the pattern where it is not the family's own."""
    own = [(layer + 1) % pattern != 0 for layer in range(shape.layers)]
    layer_types = config.get("layer_types")
    step = int(config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or pattern)
    slides = [(layer + 1) % step != 0 for layer in range(shape.layers)]
    if layer_types is not None:
        slides = [kind == "sliding_attention" for kind in layer_types]
    window = int(config.get("sliding_window") or 4096)
    if slides == own:
        return {"attention.sliding_window": window}
    return {"attention.sliding_window": window, "attention.sliding_window_pattern": slides}


def _encoder_metadata(model: SourceModel, config: Mapping[str, Any]) -> Metadata:
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    if activation != "gelu":
        raise UnsupportedModel(f"config.json: the engine's bert does not have activation {activation!r}, only 'gelu'")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UnsupportedModel("config.json: the engine's bert has absolute positions only")
    if config.get("pruned_heads"):
        raise UnsupportedModel(
            "config.json: heads were pruned (pruned_heads), and the engine's bert has as many as span its width",
            "pack it as onnx-int8, or prune the width with the heads",
        )
    if model.pooling not in POOLING:
        raise UnsupportedModel(f"the engine cannot pool by {model.pooling}", f"it can by {', '.join(POOLING)}")
    return {
        "attention.layer_norm_epsilon": float(config.get("layer_norm_eps", 1e-12)),
        "attention.causal": False,
        "pooling_type": POOLING[model.pooling],
    }


def _targets(
    family: Family, model: SourceModel, config: Mapping[str, Any], shape: Shape, rope: Rope
) -> tuple[Target, ...]:
    stored = {tensor.name: tensor.shape for tensor in model.tensors}
    tied = bool(config.get("tie_word_embeddings", family.tied))
    if not tied and not family.embeds and "lm_head" not in family.outer_names:
        _refuse(family, "an output of its own", "one tied to the embeddings")
    found: dict[str, Target] = {}
    for source in stored:
        name = _gguf_name(family, source)
        if name is None or (name == "output.weight" and tied):
            continue
        if name in found:
            raise BadModel(f"tensors {found[name].source!r} and {source!r} are both {name}")
        found[name] = _target(family, model, shape, name, source, stored[source])
    if not tied and not family.embeds and "output.weight" not in found:
        # transformers ties such a checkpoint on loading as well, but says so; a lost tensor must not pass in silence.
        raise BadModel("lm_head.weight is missing, and config.json does not tie it to the embeddings")
    _check_complete(family, found, shape)
    for name, factors in rope.factors.items():
        found[name] = Target(name, (len(factors),), values=factors)
    return tuple(sorted(found.values(), key=_file_order))


def _gguf_name(family: Family, source: str) -> str | None:
    """None for what is never written; UnsupportedModel for a tensor that no engine would read."""
    if is_never_written(source):
        return None
    name = source
    for prefix in family.prefixes:
        if prefix and source.startswith(prefix):
            name = source.removeprefix(prefix)
            break
    if name.startswith(family.ignored) and family.ignored:
        return None
    stem, _, suffix = name.rpartition(".")
    # Checkpoints converted from TensorFlow name a norm's weight and bias so.
    suffix = {"gamma": "weight", "beta": "bias"}.get(suffix, suffix)
    layer = re.fullmatch(rf"{re.escape(family.layers)}\.(\d+)\.(.+)", stem)
    mapped = family.layer_names.get(layer[2]) if layer else family.outer_names.get(stem)
    if mapped is None or suffix not in ("weight", "bias"):
        raise UnsupportedModel(f"tensor {source!r} has no place in a GGUF of {family.arch}")
    return f"blk.{layer[1]}.{mapped}.{suffix}" if layer else f"{mapped}.{suffix}"


def _target(
    family: Family, model: SourceModel, shape: Shape, name: str, source: str, stored: tuple[int, ...]
) -> Target:
    first_row = _position_offset(model) if name == "position_embd.weight" else 0
    written = (stored[0] - first_row, *stored[1:]) if first_row else stored
    transform: Transform | None = None
    granule = 1
    if family.rotary and re.fullmatch(r"blk\.\d+\.attn_[qk]\.(weight|bias)", name):
        transform, granule = permute_rotary(shape.head_dim), shape.head_dim
        if stored[0] % granule:
            raise BadModel(f"tensor {source!r} has {stored[0]} rows, not a multiple of the head size {granule}")
    elif family.norm_offset and name.endswith("norm.weight"):
        transform = plus_one
    carried = model.quantization.types.get(source) if model.quantization is not None else None
    return Target(name, written, source, transform, granule, first_row, carried=carried)


def _check_complete(family: Family, found: Mapping[str, Target], shape: Shape) -> None:
    optional = {"output", "token_types"}
    needed = [f"{name}.weight" for name in family.outer_names.values() if name not in optional]
    for layer in range(shape.layers):
        needed += [f"blk.{layer}.{name}.weight" for name in family.layer_names.values()]
    missing = [name for name in needed if name not in found]
    if missing:
        raise BadModel(f"{len(missing)} tensors are missing, the first is GGUF's {missing[0]}", "save the model again")
    beyond = [target for target in found.values() if target.layer is not None and target.layer >= shape.layers]
    if beyond:
        raise BadModel(f"tensor {beyond[0].source!r} is of a layer beyond num_hidden_layers {shape.layers}")
    rows = found["token_embd.weight"].shape[0]
    if rows != shape.vocabulary:
        raise BadModel(f"the token embedding has {rows} rows, config.json says vocab_size {shape.vocabulary}")


def _file_order(target: Target) -> tuple[int, int, str]:
    """Embeddings, layers in order, then the rest, as the engine reads them."""
    if target.layer is not None:
        return 1, target.layer, target.name
    return (0 if "embd" in target.name or target.name == "token_types.weight" else 2), 0, target.name
