"""float32 graph -> int8 graph, by ONNX Runtime's quantizer.

Two schemes. Dynamic, for nets of matrix products: int8 weights per output channel, activations quantized as they come,
convolutions left in float32 (ConvInteger is several times slower than a float32 Conv). Static QDQ, for convolution
nets: int8 weights per output channel, uint8 activations with ranges from calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, EdgekitError, NoSpace, UnsupportedModel
from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.strategies import TensorSignature
from edgekit.strategies.onnx.calibrate import Reader, calibration
from edgekit.strategies.onnx.engine import explained, first_line, require, silenced
from edgekit.strategies.onnx.graph import (
    INLINE_LIMIT_BYTES,
    check_loads,
    graphs,
    half_precision,
    load,
    proto_bytes,
    quantized_operator,
    save,
    signatures,
)

CONVOLUTION_SHARE = 0.25
"""From this share of the weights in convolutions on, a net is quantized statically."""

SMALLEST_OUTPUT = 16
"""A matrix with fewer outputs (a classifier's head) stays float32: nothing to gain, answers to lose."""

_DYNAMIC = ["MatMul", "Gather", "Attention", "EmbedLayerNormalization", "LSTM"]
# No Mul: gates (swish, squeeze-and-excitation) lose their small values. EfficientNet-B0's shape with random weights:
# cosine 0.70 with it, 0.9999 without.
_STATIC = [
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "Concat"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Pad"),
    *("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
]


@dataclass(frozen=True)
class Int8Choice:
    """What the quantizer is told. `excluded` names nodes that stay float32."""

    reduce_range: bool = False
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    """The prepared graph, stored at `path`, and what is known of it; the graph itself is not kept in memory."""

    path: Path
    signatures: tuple[tuple[TensorSignature, ...], tuple[TensorSignature, ...]]
    convolutional: bool
    external: bool
    reduce_range: bool
    excluded: list[str]


def quantize(source: Path, target: Path, model: SourceModel, choice: Int8Choice, progress: Progress) -> tuple[str, ...]:
    """Write the int8 form of the graph at `source` to `target`, inputs and outputs unchanged; returns notes.

    UnsupportedModel if the graph is quantized already, computes in half precision, or has nothing to quantize.
    """
    require("onnxruntime")
    prepared = target.with_name("prepared.onnx")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        job = _prepare(source, prepared, model, choice)
        progress.step("quantize to int8")
        notes = (_static if job.convolutional else _dynamic)(job, model, progress)
        quantized = load(prepared)
        if signatures(quantized) != job.signatures:
            raise BadModel(f"{model.name}: quantizing changed the graph's inputs or outputs", "report this model")
        save(quantized, target)
        check_loads(target)
    finally:
        for leftover in target.parent.glob("prepared*"):
            leftover.unlink()
    return notes


def convolution_share(proto: Any) -> float:
    """Elements of convolution weights over those of all weights that operators multiply with."""
    convolution = product = 0
    sizes = {tensor.name: _elements(tensor) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            convolution += sizes.get(node.input[1], 0)
        elif node.op_type in ("MatMul", "Gemm"):
            product += max((sizes.get(name, 0) for name in node.input[:2]), default=0)
    return convolution / max(1, convolution + product)


def _prepare(source: Path, path: Path, model: SourceModel, choice: Int8Choice) -> _Job:
    proto = _folded(source, model.name)
    kept = signatures(proto)
    convolutional = convolution_share(proto) >= CONVOLUTION_SHARE
    excluded = list(choice.excluded)
    if not convolutional:
        split_gemms(proto)
        excluded += _small_products(proto)
    return _Job(path, kept, convolutional, _store(proto, path), choice.reduce_range, excluded)


def _folded(source: Path, name: str) -> Any:
    """The graph with constants folded and batch norms merged, so that weights are plain initializers."""
    proto = load(source, weights=False)
    operator = quantized_operator(proto)
    if operator is not None:
        raise UnsupportedModel(f"{name} is already quantized: it holds {operator}", "use --strategy onnx-fp32")
    half = half_precision(proto)
    if half is not None:
        raise UnsupportedModel(f"{name} holds {half} weights; int8 needs float32", "bring the float32 model")
    folded = source.with_name("edgekit-folded.onnx")  # beside the source: it refers to the same external data
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    try:
        ort.InferenceSession(
            str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
        )
        proto = load(folded)
    except EdgekitError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        if "serialization failed" in str(error):  # so it calls a file that could not be written to its end
            raise NoSpace(f"no space left while writing {folded}", "free some space; nothing was written") from error
        raise BadModel(f"{name}: ONNX Runtime refuses the graph: {first_line(error)}", "export it again") from error
    finally:
        folded.unlink(missing_ok=True)
    _name_nodes(proto)
    return proto


def _name_nodes(proto: Any) -> None:
    """Give every node of the main graph a name, by which it can be excluded; drop domains no node is of."""
    domains = {"", *(node.domain for graph in graphs(proto) for node in graph.node)}
    imports = [each for each in proto.opset_import if each.domain in domains]
    del proto.opset_import[:]
    proto.opset_import.extend(imports)
    for index, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}:{index}"


def _dynamic(job: _Job, model: SourceModel, progress: Progress) -> tuple[str, ...]:  # noqa: ARG001
    quantization = require("onnxruntime.quantization")
    with explained(f"{model.name} cannot be quantized", "use --strategy onnx-fp32"), silenced():
        quantization.quantize_dynamic(
            job.path,
            job.path,
            op_types_to_quantize=_DYNAMIC,
            per_channel=True,
            reduce_range=job.reduce_range,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=job.excluded,
            use_external_data_format=job.external,
            extra_options={"DefaultTensorType": require("onnx").TensorProto.FLOAT},
        )
    if quantized_operator(load(job.path, weights=False)) is None:
        raise UnsupportedModel(
            f"{model.name} has no matrix product of {SMALLEST_OUTPUT} outputs and no embedding: int8 changes nothing",
            "use --strategy onnx-fp32",
        )
    return ()


def _static(job: _Job, model: SourceModel, progress: Progress) -> tuple[str, ...]:
    source = calibration(model, job.signatures[0])
    quantization = require("onnxruntime.quantization")
    progress.step("calibrate", source.count)
    with explained(f"{model.name} cannot be quantized", "use --strategy onnx-fp32"), silenced():
        quantization.quantize_static(
            job.path,
            job.path,
            Reader(source, progress),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_STATIC,
            per_channel=True,
            reduce_range=job.reduce_range,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=job.excluded,
            use_external_data_format=job.external,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            # The head answers in float32: 256 steps over the range of the logits would tie the best two. Products of
            # two activations (attention in hybrid nets) stay float32.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"], "MatMulConstBOnly": True},
        )
    return (f"static int8, calibrated on {source.origin}",)


def _store(proto: Any, path: Path) -> bool:
    """Write the prepared graph for the quantizer; True if its weights stand outside."""
    onnx = require("onnx")
    entry = proto.metadata_props.add()
    # Tells the quantizer that the graph was prepared: it would log a warning past every logger otherwise.
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"
    external = proto_bytes(proto) > INLINE_LIMIT_BYTES
    onnx.save(proto, str(path), save_as_external_data=external, location=f"{path.name}_weights")
    return external


def split_gemms(proto: Any) -> None:
    """Rewrite each Gemm with a constant matrix as MatMul and Add: the dynamic quantizer knows no Gemm."""
    onnx = require("onnx")
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    uses = _uses(proto)
    nodes: list[Any] = []
    for node in proto.graph.node:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        weight = weights.get(node.input[1]) if node.op_type == "Gemm" else None
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA", 0)
        if weight is None or not plain or (attributes.get("transB", 0) and uses[weight.name] > 1):
            nodes.append(node)
            continue
        if attributes.get("transB", 0):
            matrix = onnx.numpy_helper.to_array(weight).T.copy()
            weight.CopyFrom(onnx.numpy_helper.from_array(matrix, weight.name))
        has_bias = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.output[0]}/product" if has_bias else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", node.input[:2], [product], name=f"{node.name}/MatMul"))
        if has_bias:
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], node.output, name=f"{node.name}/Add"))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _uses(proto: Any) -> dict[str, int]:
    uses: dict[str, int] = {}
    for node in proto.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    return uses


def _small_products(proto: Any) -> Iterator[str]:
    """Names of the products whose constant matrix has fewer than SMALLEST_OUTPUT columns."""
    columns = {tensor.name: tensor.dims[-1] for tensor in proto.graph.initializer if len(tensor.dims) >= 2}
    for node in proto.graph.node:
        if node.op_type == "MatMul" and columns.get(node.input[1], SMALLEST_OUTPUT) < SMALLEST_OUTPUT:
            yield node.name


def _elements(tensor: Any) -> int:
    count = 1
    for axis in tensor.dims:
        count *= axis
    return count
