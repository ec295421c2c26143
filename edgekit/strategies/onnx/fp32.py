"""onnx-fp32: the model as it is, exported for ONNX Runtime; an ONNX file is bundled unchanged."""

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
from edgekit.strategies.onnx.estimate import estimated
from edgekit.strategies.onnx.float_graph import FLOAT_FILE, write_float_graph
from edgekit.strategies.onnx.graph import load, signatures

NAME = "onnx-fp32"


def propose(model: SourceModel, setting: Setting) -> Iterable[Candidate | Rejection]:
    rejection = refusal(model, NAME)
    if rejection is not None:
        return (rejection,)
    stored = as_is(model)
    notes = (f"the file's weights are {stored}; it is bundled as it is",) if stored else ()
    return (estimated(NAME, model, setting, 32, notes),)


def make(
    candidate: Candidate,
    model: SourceModel,
    device: DeviceProfile,  # noqa: ARG001
    workdir: Path,
    progress: Progress,
) -> Artifact:
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-", dir=workdir))
    graph = write_float_graph(model, folder / "onnx", progress)
    inputs, outputs = signatures(load(graph.path, weights=False))
    return Artifact(
        candidate=candidate,
        folder=folder,
        model_file=f"onnx/{FLOAT_FILE}",
        inputs=inputs,
        outputs=outputs,
        min_isa={"x86_64": (), "aarch64": ()},
        notes=graph.notes,
    )
