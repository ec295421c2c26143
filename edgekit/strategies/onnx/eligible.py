"""What can become an ONNX bundle at all, from headers alone."""

from __future__ import annotations

from edgekit.model import SourceModel
from edgekit.strategies import Rejection

QUANTIZED_SHARE = 0.1
"""From this share of weights in 8 bits or less on, a file counts as quantized; zero points alone are far below."""

_EIGHT_BITS_AND_LESS = ("I8", "U8", "I4", "U4", "F8_E4M3", "F8_E5M2")


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


def as_is(model: SourceModel) -> str | None:
    """Why an ONNX file can only be bundled as it is, in a few words, or None: its weights are no float32.

    Read from the stored types; `make` looks at the operators too. A checkpoint's weights are converted when loaded.
    """
    if model.format != "onnx":
        return None
    if model.quantized is not None:
        return f"already quantized ({model.quantized})"
    share = _share(model, _EIGHT_BITS_AND_LESS)
    if share >= QUANTIZED_SHARE:
        return f"already quantized: {share:.0%} of its weights are stored in 8 bits or less"
    if _share(model, ("F16", "BF16")) > 0.5:
        return "16-bit floats"
    return None


def _share(model: SourceModel, dtypes: tuple[str, ...]) -> float:
    return sum(tensor.elements for tensor in model.tensors if tensor.dtype in dtypes) / max(1, model.parameters)
