"""Bytes of the model file: weights by their type, and the operators around them."""

from __future__ import annotations

from edgekit.costs import Estimate
from edgekit.model import SourceModel, TensorInfo
from edgekit.strategies.onnx.quantize import SMALLEST_OUTPUT
from edgekit.strategies.onnx.shapes import Role, encoder, is_convolutional, outputs_of, stored

_GRAPH_BYTES = 9_000
# Nodes, their names and constants, measured on exports of BERT, DistilBERT, ViT, ResNet, MobileNet and ConvNeXt.
_PRODUCT_BYTES = {32: 2_500, 8: 3_600}
_CONVOLUTION_BYTES = {32: 700, 8: 2_600}
_SAME_PADDING_BYTES = 3_000
_SCALE_BYTES = 5
"""A float32 scale and an int8 zero point for each output of a product."""
_STATIC_BYTES = 17
"""The same for each channel, and an int32 bias with its scale and zero point."""
_SPREAD = (0.4, 1.6)
_MODULE_SPREAD = (0.0, 1.6)
"""Of a plain module nothing says how many operators stand between its products."""


def source_bytes(model: SourceModel) -> int:
    """What an ONNX source takes on disk; 0 for sources that are exported. A file that has gone is missed by `make`."""
    folder, files = model.folder, model.files
    paths = [folder / file for file in files] if folder is not None and files else [model.file] if model.file else []
    return sum(path.stat().st_size for path in paths if path.is_file())


def fp32_disk_bytes(model: SourceModel) -> Estimate:
    """The exported graph; for an ONNX file exactly what is carried over."""
    if model.format == "onnx":
        size = source_bytes(model)
        return Estimate(size, size, "the source file's size")
    folded = _folded(model)
    weights = sum(4.0 * tensor.elements for tensor, _ in stored(model) if tensor.name not in folded)
    return _around(weights, _node_bytes(model, 32), model, "4 bytes a weight")


def int8_disk_bytes(model: SourceModel) -> Estimate:
    tensors = stored(model)
    if not tensors:
        size = source_bytes(model)
        return Estimate(0.25 * size, size, "a quarter to all of the source file's size: its tensors are not known")
    if is_convolutional(model):
        weights = _static_bytes(model)
    else:
        weights = sum(_dynamic_bytes(tensor, role, model) for tensor, role in tensors)
    basis = "1 byte a weight in products, embeddings and quantized convolutions, 4 in the rest"
    return _around(weights, _node_bytes(model, 8), model, basis)


def _dynamic_bytes(tensor: TensorInfo, role: Role, model: SourceModel) -> float:
    if role == "embedding":
        return tensor.elements
    if role == "product" and (outputs := outputs_of(tensor, model)) >= SMALLEST_OUTPUT:
        return tensor.elements + _SCALE_BYTES * outputs
    return 4.0 * tensor.elements


def _static_bytes(model: SourceModel) -> float:
    """Biases and batch norms go into the int32 biases of the weights they follow."""
    names = {tensor.name for tensor in model.tensors}
    total = 0.0
    for tensor, role in stored(model):
        owner, _, kind = tensor.name.rpartition(".")
        if role == "embedding":
            total += tensor.elements
        elif role != "vector":
            total += tensor.elements + _STATIC_BYTES * tensor.shape[0]
        elif f"{owner}.running_mean" not in names and not (kind == "bias" and len(tensor.shape) == 1):
            total += 4.0 * tensor.elements
    return total


def _folded(model: SourceModel) -> frozenset[str]:
    """Of each batch norm's two vectors the exporter leaves one, as the bias of the convolution before it."""
    names = {tensor.name for tensor in model.tensors}
    owners = (name.removesuffix("running_mean") for name in names if name.endswith(".running_mean"))
    return frozenset(f"{owner}weight" for owner in owners)


def _node_bytes(model: SourceModel, bits: int) -> float:
    shape, roles = encoder(model), [role for _, role in stored(model)]
    if model.format == "onnx":
        kept = sum(4 * tensor.elements for tensor, _ in stored(model))
        return max(0.0, 1.4 * (source_bytes(model) - kept))
    products = roles.count("product")
    if shape is not None and shape.family == "albert":  # one set of weights, unrolled into all layers
        products *= shape.layers
    convolutions = roles.count("convolution") + roles.count("depthwise")
    dynamic = bits == 8 and not is_convolutional(model)
    each = _CONVOLUTION_BYTES[32 if dynamic else bits]
    if model.config.get("tf_padding") and bits == 32:
        each += _SAME_PADDING_BYTES
    return _GRAPH_BYTES + _PRODUCT_BYTES[bits] * products + each * convolutions


def _around(weights: float, nodes: float, model: SourceModel, basis: str) -> Estimate:
    """Weights are known to the byte; operators and what is folded away are not, and are most of a tiny model."""
    low, high = _SPREAD if model.format == "hf" else _MODULE_SPREAD
    return Estimate(0.998 * weights + low * nodes, 1.002 * weights + high * nodes, basis)
