"""onnx-int8: 8-bit weights and activations; dynamic for matrix products, static QDQ for convolution nets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgekit.costs import Setting
from edgekit.device import DeviceProfile
from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.strategies import Artifact, Candidate, Rejection
from edgekit.strategies.onnx.eligible import as_is, refusal
from edgekit.strategies.onnx.estimate import embedding_note, estimated
from edgekit.strategies.onnx.float_graph import write_float_graph
from edgekit.strategies.onnx.graph import load, signatures
from edgekit.strategies.onnx.quantize import Int8Choice, quantize
from edgekit.strategies.onnx.shapes import has_products, is_convolutional, stored

NAME = "onnx-int8"
MODEL_FILE = "onnx/model_quantized.onnx"

_SEVEN_BITS = (
    "this CPU has no VNNI: its 8-bit products saturate, so the weights keep 7 bits (reduce_range); "
    "other engines then answer correctly too"
)
_STATIC = (
    "its convolutions are quantized with calibrated ranges (static QDQ), never dynamically: that is slower than fp32"
)
_FLOAT_CONVOLUTIONS = "its few convolutions stay in float32: quantized dynamically they are slower than that"


def propose(model: SourceModel, setting: Setting) -> Iterable[Candidate | Rejection]:
    rejection = refusal(model, NAME) or _refusal(model)
    if rejection is not None:
        return (rejection,)
    return (estimated(NAME, model, setting, 8, tuple(_notes(model, setting.device))),)


def make(
    candidate: Candidate, model: SourceModel, device: DeviceProfile, workdir: Path, progress: Progress
) -> Artifact:
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-", dir=workdir))
    source = write_float_graph(model, Path(tempfile.mkdtemp(prefix="onnx-baseline-", dir=workdir)), progress)
    seven_bits = saturates(device)
    target = folder / MODEL_FILE
    notes = quantize(source.path, target, model, Int8Choice(reduce_range=seven_bits), progress)
    inputs, outputs = signatures(load(target, weights=False))
    return Artifact(
        candidate=candidate,
        folder=folder,
        model_file=MODEL_FILE,
        inputs=inputs,
        outputs=outputs,
        baseline=source.path,
        min_isa={"x86_64": (), "aarch64": ()},
        notes=(*source.notes, *notes, *((_SEVEN_BITS,) if seven_bits else ())),
    )


def _notes(model: SourceModel, device: DeviceProfile) -> Iterator[str]:
    if saturates(device):
        yield _SEVEN_BITS
    if is_convolutional(model):
        yield _STATIC
    elif any(role == "convolution" for _, role in stored(model)):
        yield _FLOAT_CONVOLUTIONS
    note = embedding_note(model)
    if note is not None:
        yield note


def saturates(device: DeviceProfile) -> bool:
    """x86 before VNNI adds pairs of 8-bit products in 16 bits, which overflow with full-range weights."""
    return device.cpu.arch == "x86_64" and not (device.has("avx512_vnni") or device.has("avx_vnni"))


def _refusal(model: SourceModel) -> Rejection | None:
    stored = as_is(model)
    if stored is not None:
        return Rejection(
            NAME, f"the file's weights are {stored}; int8 is made from float32", remedy="bring the float32 model"
        )
    if model.text is not None and is_convolutional(model) and not model.calibration:
        return Rejection(
            NAME, "convolutions over text need calibration inputs, and none were given", remedy="use onnx-fp32"
        )
    if not has_products(model):
        return Rejection(
            NAME,
            "no matrix has 16 outputs or more, so int8 would change nothing",
            remedy="use onnx-fp32",
            estimated=False,
        )
    return None
