"""What an ONNX bundle will cost, from tensor shapes and the configuration alone."""

from __future__ import annotations

import re

from edgekit.costs import Estimate
from edgekit.device import DeviceProfile
from edgekit.model import SourceModel, TensorInfo
from edgekit.strategies.onnx.quantize import CONVOLUTION_SHARE, SMALLEST_OUTPUT

_FLOATS = ("F64", "F32", "F16", "BF16")
_TOKENS = 128
# Stored with a checkpoint and not part of the graph for the task: training heads, and an encoder's unused pooler.
_TRAINING_HEADS = re.compile(
    r"(^|\.)(cls\.(predictions|seq_relationship)|lm_head|discriminator_predictions|vocab_\w+)\."
)
_POOLER = re.compile(r"(^|\.)pooler\.")
_STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked|position_ids)$")
_EMBEDDING = re.compile(r"embed", re.IGNORECASE)

_RUNTIME_BYTES = (55_000_000, 80_000_000)
"""Python, numpy, ONNX Runtime and tokenizers before a model is loaded; measured 57 MB, 68 MB after a first run."""
_LOADING = (0.9, 2.0)
"""Peak over file size while a model loads; measured 0.9 (external data) to 1.7 (int8, inline)."""


def fp32_disk_bytes(model: SourceModel) -> Estimate:
    """The exported graph; for an ONNX file exactly what is carried over."""
    if model.format == "onnx":
        size = _source_bytes(model)
        return Estimate(size, size, "the source file's size")
    weights = sum(4 * tensor.elements for tensor in _graph_tensors(model))
    return _around(weights, _node_bytes(model), "4 bytes a weight")


def int8_disk_bytes(model: SourceModel) -> Estimate:
    tensors = _graph_tensors(model)
    if not tensors:
        size = _source_bytes(model)
        return Estimate(0.25 * size, size, "a quarter to all of the source file's size: its tensors are not known")
    static = is_convolutional(tensors)
    weights = sum(_int8_bytes(tensor, static) for tensor in tensors)
    return _around(weights, 1.3 * _node_bytes(model), "1 byte a weight in products and embeddings, 4 in the rest")


def ram_bytes(model: SourceModel, disk: Estimate) -> Estimate:
    """Peak RSS of the Python runtime: the engine, the file while it loads, and activations at the longest input."""
    low = _RUNTIME_BYTES[0] + _LOADING[0] * disk.low
    high = _RUNTIME_BYTES[1] + _LOADING[1] * disk.high + _activation_bytes(model)
    return Estimate(low, high, "runtime, file size while loading, activations of one input")


def latency_ms(model: SourceModel, device: DeviceProfile, bits: int) -> Estimate | None:
    """A roofline for one input (text: 128 tokens), or None where the device's rate or the work is not known."""
    operations = _operations(model)
    floats, integers = device.cpu.fp32_flops_per_s.value, device.cpu.int8_ops_per_s.value
    if operations is None:
        return None
    if bits == 8 and integers is not None:
        return Estimate(
            1e3 * operations / integers, 8e3 * operations / integers, "the device's int8 rate, 1 to 1/8 of it"
        )
    if floats is None:
        return None
    ideal = 1e3 * operations / floats
    if bits == 8:
        return Estimate(ideal / 4, 4 * ideal, "the device's fp32 rate, 4 times to 1/4 of it")
    return Estimate(ideal, 6 * ideal, "the device's fp32 rate, 1 to 1/6 of it")


def is_convolutional(tensors: tuple[TensorInfo, ...]) -> bool:
    """Whether enough of the weights are convolutions for static quantization; decided on the graph when it is made."""
    convolution = sum(tensor.elements for tensor in tensors if _is_convolution(tensor))
    product = sum(t.elements for t in tensors if len(t.shape) == 2 and not _EMBEDDING.search(t.name))
    return convolution > 0 and convolution >= CONVOLUTION_SHARE * (convolution + product)


def has_products(model: SourceModel) -> bool:
    """Whether any stored tensor can be a quantized product, embedding or convolution (unknown tensors: yes)."""
    wide = (max(t.shape) if model.format == "onnx" else t.shape[0] for t in _graph_tensors(model) if len(t.shape) == 2)
    return not model.tensors or is_convolutional(model.tensors) or any(size >= SMALLEST_OUTPUT for size in wide)


def _graph_tensors(model: SourceModel) -> tuple[TensorInfo, ...]:
    """The float tensors that become initializers: batch-norm statistics are folded, training heads left behind."""
    kept = []
    for tensor in model.tensors:
        unused = bool(_TRAINING_HEADS.search(tensor.name) or _STATISTICS.search(tensor.name))
        pooler = model.task == "embedding" and bool(_POOLER.search(tensor.name))
        if tensor.dtype in _FLOATS and not unused and not pooler:
            kept.append(tensor)
    return tuple(kept)


def _is_convolution(tensor: TensorInfo) -> bool:
    """[out, in, kernel...]: all spatial axes but the channels'; cls tokens and position tables have a leading 1."""
    return len(tensor.shape) in (3, 4, 5) and tensor.shape[0] > 1 and tensor.name.endswith("weight")


def _int8_bytes(tensor: TensorInfo, static: bool) -> float:
    if static:
        matrix = _is_convolution(tensor) or len(tensor.shape) == 2
        return tensor.elements + 5 * tensor.shape[0] if matrix else 4 * tensor.elements
    if len(tensor.shape) != 2 or min(tensor.shape) == 0:
        return 4 * tensor.elements
    if _EMBEDDING.search(tensor.name):
        return tensor.elements
    return 4 * tensor.elements if tensor.shape[0] < SMALLEST_OUTPUT else tensor.elements + 5 * tensor.shape[0]


def _node_bytes(model: SourceModel) -> float:
    """Operators, names and shapes; measured about 13 kB for a transformer layer, 150 bytes for a convolution."""
    layers = int(model.config.get("num_hidden_layers", 0))
    return 12_000 + 13_000 * layers if layers else 2_000 + 300 * len(model.tensors)


def _around(weights: float, nodes: float, basis: str) -> Estimate:
    """Weights are known well; operators are not, and are most of a tiny model."""
    return Estimate(0.98 * weights, 1.02 * weights + 3 * nodes, basis)


def _source_bytes(model: SourceModel) -> int:
    if model.folder is not None and model.files:
        return sum((model.folder / file).stat().st_size for file in model.files)
    return model.file.stat().st_size if model.file is not None else 0


def _activation_bytes(model: SourceModel) -> float:
    """An upper bound for one input: four live copies of the widest tensors of a layer."""
    if model.image is not None:
        return 4 * 16 * 3 * 4.0 * model.image.height * model.image.width
    if model.text is None:
        return 0.0
    tokens, width = model.text.max_tokens, int(model.config.get("hidden_size", 768))
    inner = int(model.config.get("intermediate_size", 4 * width))
    heads = int(model.config.get("num_attention_heads", 12))
    return 4 * 4.0 * tokens * (heads * tokens + 2 * inner + 4 * width)


def _operations(model: SourceModel) -> float | None:
    """Multiplications and additions for one input of a transformer; None for nets whose work shapes do not tell."""
    layers, width = model.config.get("num_hidden_layers"), model.config.get("hidden_size")
    if layers is None or width is None:
        return None
    patch = model.config.get("patch_size")
    if model.image is not None:
        if not isinstance(patch, int):
            return None
        positions = (model.image.height // patch) * (model.image.width // patch) + 1
    else:
        positions = _TOKENS if model.text is None else min(_TOKENS, model.text.max_tokens)
    products = sum(t.elements for t in _graph_tensors(model) if len(t.shape) == 2 and not _EMBEDDING.search(t.name))
    return 2.0 * products * positions + 4.0 * int(layers) * int(width) * positions**2
