"""onnx-int8: 8-bit weights and activations; dynamic for matrix products, static QDQ for convolution nets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from edgekit.costs import Setting
from edgekit.device import DeviceProfile
from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.strategies import Artifact, Candidate, Rejection
from edgekit.strategies.onnx.eligible import as_is, refusal
from edgekit.strategies.onnx.estimate import has_products, int8_disk_bytes, is_convolutional, latency_ms, ram_bytes
from edgekit.strategies.onnx.float_graph import write_float_graph
from edgekit.strategies.onnx.graph import load, signatures
from edgekit.strategies.onnx.quantize import Int8Choice, quantize

NAME = "onnx-int8"
MODEL_FILE = "onnx/model_quantized.onnx"

_SEVEN_BITS = (
    "this CPU has no VNNI: its 8-bit products saturate, so the weights keep 7 bits (reduce_range); "
    "other engines then answer correctly too"
)


def propose(model: SourceModel, setting: Setting) -> Iterable[Candidate | Rejection]:
    rejection = refusal(model, NAME) or _refusal(model)
    if rejection is not None:
        return (rejection,)
    disk = int8_disk_bytes(model)
    return (
        Candidate(
            strategy=NAME,
            engine="onnxruntime",
            options={},
            faithfulness=8,
            disk_bytes=disk,
            ram_bytes=ram_bytes(model, disk),
            latency_ms=latency_ms(model, setting.device, 8),
            notes=(_SEVEN_BITS,) if saturates(setting.device) else (),
        ),
    )


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


def saturates(device: DeviceProfile) -> bool:
    """x86 before VNNI adds pairs of 8-bit products in 16 bits, which overflow with full-range weights."""
    return device.cpu.arch == "x86_64" and not (device.has("avx512_vnni") or device.has("avx_vnni"))


def _refusal(model: SourceModel) -> Rejection | None:
    stored = as_is(model)
    if stored is not None:
        return Rejection(
            NAME, f"the file's weights are {stored}; int8 is made from float32", remedy="bring the float32 model"
        )
    if model.text is not None and is_convolutional(model.tensors) and not model.calibration:
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
