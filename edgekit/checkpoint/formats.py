"""The storage formats of quantized checkpoints, by config.json's names for them: adding one is a module and a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.checkpoint import awq, bitsandbytes, compressed_tensors, fp8, gptq, mxfp4
from edgekit.checkpoint.packed import Format, PackedCheckpoint
from edgekit.errors import BadModel, UnsupportedModel

if TYPE_CHECKING:
    from edgekit.checkpoint.safetensors import SafetensorsCheckpoint

FORMATS: Mapping[str, Format] = {
    "gptq": gptq,
    "awq": awq,
    "compressed-tensors": compressed_tensors,
    "mxfp4": mxfp4,
    "fp8": fp8,
    "fbgemm_fp8": fp8,
    "bitsandbytes": bitsandbytes,
}


SETUP_KEYS = ("quantization_config", "compression_config")
"""Where config.json says how the weights are packed; whoever unpacks them leaves these out."""


def setup_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What config.json says of how the weights are quantized, None where they are not."""
    setup = next((config[key] for key in SETUP_KEYS if config.get(key)), None)
    if setup is None:
        return None
    if not isinstance(setup, Mapping):
        raise BadModel(f"config.json: quantization_config is {type(setup).__name__}, an object is expected")
    return setup


def method_of(setup: Mapping[str, Any]) -> str:
    """The format's name in FORMATS, or what config.json calls it."""
    method = str(setup.get("quant_method") or setup.get("format") or "unnamed method")
    packing = str(setup.get("packing_format") or "")
    if "auto-round" in method or "auto_round" in method:
        return next((name for name in ("gptq", "awq") if packing.endswith(name)), method)
    return method


def unpacked(store: SafetensorsCheckpoint, setup: Mapping[str, Any]) -> PackedCheckpoint:
    """`store` with its matrices under their float names; UnsupportedModel, BadModel as `Format.find`."""
    method = method_of(setup)
    if method not in FORMATS:
        raise UnsupportedModel(
            f"weights quantized by {method!r} are not read", f"read are {', '.join(FORMATS)}; or use the float weights"
        )
    checkpoint = PackedCheckpoint(store, FORMATS[method].find(store, setup))
    if not checkpoint.matrices:
        raise BadModel(
            f"config.json says the weights are quantized ({method}), and no stored tensor is",
            "config.json and the weights do not belong together: download both again",
        )
    return checkpoint
