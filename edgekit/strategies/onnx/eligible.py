"""What can become an ONNX bundle at all, from headers alone."""

from __future__ import annotations

from edgekit.model import SourceModel
from edgekit.strategies import Rejection


def refusal(model: SourceModel, label: str) -> Rejection | None:
    """Why no ONNX bundle of `model` is proposed, or None."""
    if model.task == "causal-lm":
        return Rejection(
            label,
            "decoders are packed by gguf: the ONNX runtime here has no generation loop",
            remedy="use --strategy gguf",
        )
    if model.format == "gguf":
        return Rejection(
            label, "a GGUF file has no ONNX graph", remedy="use --strategy gguf, or bring the source model"
        )
    if model.format == "hf" and model.quantized is not None:
        return Rejection(
            label,
            f"the checkpoint is already quantized ({model.quantized}); the exporter needs float weights",
            remedy="bring the unquantized checkpoint",
        )
    return None


def is_half(model: SourceModel) -> bool:
    """Whether an ONNX file's weights are mostly 16-bit floats (a checkpoint's are converted when it is loaded)."""
    if model.format != "onnx":
        return False
    half = sum(tensor.elements for tensor in model.tensors if tensor.dtype in ("F16", "BF16"))
    return half > model.parameters / 2
