"""onnx-int8: 8-bit weights and activations; dynamic for matrix products, static QDQ for convolution nets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
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
CARRIED_BITS = 9.5
"""`faithfulness` of weights that were on this grid already: quantized, and nothing is lost."""
_CARRIED = "carried from a checkpoint on this very grid: its weights are not rounded a second time"
_ROUNDED_AGAIN = "the checkpoint lies on a grid of 8 bits, and for this CPU it is rounded once more, to 7"
_TRAINED_FOR_SEVEN = "the checkpoint lies on a grid of 7 bits, which its weights keep (reduce_range)"
_STATIC = (
    "its convolutions are quantized with calibrated ranges (static QDQ), never dynamically: that is slower than fp32"
)
_FLOAT_CONVOLUTIONS = "its few convolutions stay in float32: quantized dynamically they are slower than that"


def propose(model: SourceModel, setting: Setting) -> Iterable[Candidate | Rejection]:
    rejection = refusal(model, NAME) or _refusal(model)
    if rejection is not None:
        return (rejection,)
    offer = estimated(NAME, model, setting, 8, tuple(_notes(model, setting.device)))
    return (replace(offer, faithfulness=CARRIED_BITS) if _carries(model, setting.device) else offer,)


def make(
    candidate: Candidate, model: SourceModel, device: DeviceProfile, workdir: Path, progress: Progress
) -> Artifact:
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-", dir=workdir))
    source = write_float_graph(model, Path(tempfile.mkdtemp(prefix="onnx-baseline-", dir=workdir)), progress)
    seven_bits = saturates(device) or _trained_bits(model) == 7
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
        notes=(*source.notes, *notes, *_weight_notes(model, device)),
    )


def _notes(model: SourceModel, device: DeviceProfile) -> Iterator[str]:
    yield from _weight_notes(model, device)
    if is_convolutional(model):
        yield _STATIC
    elif any(role == "convolution" for _, role in stored(model)):
        yield _FLOAT_CONVOLUTIONS
    note = embedding_note(model)
    if note is not None:
        yield note


def _weight_notes(model: SourceModel, device: DeviceProfile) -> Iterator[str]:
    if saturates(device):
        yield _SEVEN_BITS
    bits = _trained_bits(model)
    if bits is not None:
        yield _CARRIED if _carries(model, device) else _ROUNDED_AGAIN
        if bits == 7 and not saturates(device):
            yield _TRAINED_FOR_SEVEN


def _trained_bits(model: SourceModel) -> float | None:
    """Of a source whose matrices lie on the quantizer's own grid already, 8 or 7; None where they do not."""
    stored = model.quantization
    return stored.bits if stored is not None and stored.lossless == NAME else None


def _carries(model: SourceModel, device: DeviceProfile) -> bool:
    """Whether the source's grid is the one that its weights are put on for this device."""
    bits = _trained_bits(model)
    return bits is not None and (bits == 7 or not saturates(device))


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
