"""Rotary position embedding: from a configuration, in either transformers spelling, to GGUF's keys and tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.strategies.gguf.families import Family

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Rope:
    """`factors` maps a tensor's name to one divisor per rotary frequency."""

    metadata: Metadata
    factors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def read_rope(family: Family, config: Mapping[str, Any], head_dim: int) -> Rope:
    """Keys without their architecture prefix. UnsupportedModel for a kind of scaling the engine does not have."""
    theta, local, scaling = _spelled(config)
    metadata: Metadata = {"rope.freq_base": float(family.rope_theta if theta is None else theta)}
    if family.local_rope_theta is not None:
        metadata["rope.freq_base_swa"] = float(family.local_rope_theta if local is None else local)
    dimensions = int(head_dim * float(config.get("partial_rotary_factor", 1.0)))
    if dimensions != head_dim and family.rotary:
        raise UnsupportedModel(f"{family.arch} with a partial rotary factor cannot be written as GGUF")
    metadata["rope.dimension_count"] = dimensions
    kind = str(scaling.get("rope_type", scaling.get("type", "default"))).lower()
    original = scaling.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))
    positions = int(config["max_position_embeddings"])
    if kind == "default":
        if original is not None:
            metadata["rope.scaling.original_context_length"] = int(original)
        return Rope(metadata)
    if kind in ("linear", "yarn"):
        _write_scaled(metadata, kind, scaling, int(original or positions))
        return Rope(metadata)
    if kind == "llama3":
        return Rope(metadata, {"rope_freqs.weight": _llama3_factors(scaling, metadata["rope.freq_base"], dimensions)})
    if kind in ("longrope", "su"):
        return _long_rope(metadata, scaling, int(original or positions), positions, dimensions)
    raise UnsupportedModel(f"rope scaling {kind!r} cannot be written as GGUF", "linear, yarn, llama3 and longrope can")


def _spelled(config: Mapping[str, Any]) -> tuple[float | None, float | None, Mapping[str, Any]]:
    """(theta, theta of sliding layers, scaling). BadModel where the two spellings contradict one another."""
    theta, local = config.get("rope_theta"), config.get("rope_local_base_freq")
    scaling: Mapping[str, Any] = config.get("rope_scaling") or {}
    rope = config.get("rope_parameters")
    if rope is None:
        return theta, local, scaling
    full = rope.get("full_attention", rope)
    local = rope.get("sliding_attention", {}).get("rope_theta", local)
    if theta is not None and full.get("rope_theta", theta) != theta:
        raise BadModel(f"config.json: rope_theta {theta} contradicts rope_parameters {full['rope_theta']}")
    return full.get("rope_theta", theta), local, full


def _write_scaled(metadata: Metadata, kind: str, scaling: Mapping[str, Any], original: int) -> None:
    metadata["rope.scaling.type"] = kind
    metadata["rope.scaling.factor"] = float(scaling["factor"])
    if kind == "linear":
        return
    metadata["rope.scaling.original_context_length"] = original
    if scaling.get("mscale") is not None or scaling.get("truncate") is False:
        raise UnsupportedModel("yarn with mscale or truncate cannot be written as GGUF")
    for key, name in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        if scaling.get(key) is not None:
            metadata[f"rope.scaling.{name}"] = float(scaling[key])
    attention = scaling.get("attention_factor")
    # The engine multiplies by yarn's default factor itself; the key holds what comes on top.
    if attention is not None:
        metadata["rope.scaling.attn_factor"] = float(attention) / (0.1 * math.log(float(scaling["factor"])) + 1.0)


def _llama3_factors(scaling: Mapping[str, Any], theta: float, dimensions: int) -> tuple[float, ...]:
    """Llama 3.1's division of each frequency: none above `high`, `factor` below `low`, a blend between."""
    factor, low, high = (float(scaling[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = float(scaling["original_max_position_embeddings"])
    factors = []
    for pair in range(0, dimensions, 2):
        wavelength = 2 * math.pi * theta ** (pair / dimensions)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return tuple(factors)


def _long_rope(metadata: Metadata, scaling: Mapping[str, Any], original: int, positions: int, dimensions: int) -> Rope:
    """Phi-3's two lists of divisors; the engine takes the long one where its context exceeds `original`."""
    factors = {}
    for key in ("long_factor", "short_factor"):
        values = tuple(float(value) for value in scaling[key])
        if len(values) != dimensions // 2:
            raise BadModel(f"config.json: {key} has {len(values)} values, the rotary dimension needs {dimensions // 2}")
        factors[f"rope_factors_{key.removesuffix('_factor')}.weight"] = values
    scale = positions / original
    default = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    metadata["rope.scaling.type"] = "longrope"
    metadata["rope.scaling.attn_factor"] = float(scaling.get("attention_factor") or default)
    metadata["rope.scaling.original_context_length"] = original
    return Rope(metadata, factors)
