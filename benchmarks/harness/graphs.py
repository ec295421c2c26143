"""Packed ONNX graphs side by side: made by `edgekit pack`, run with the same ids and options, timed in turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgekit
from edgekit.limits import Limits
from edgekit.model import SourceModel

Ids = Mapping[str, NDArray[np.int64]]
Vectors = NDArray[np.float32]
STRATEGIES = ("onnx-fp32", "onnx-int8")


@dataclass(frozen=True)
class Graph:
    """The bundle's model file, and what its validation against the folder that it was packed from found."""

    path: Path
    status: str
    bytes: int

    def figures(self) -> dict[str, Any]:
        return {"status": self.status, "bytes": self.bytes}


def packed(source: Path, out: Path, strategy: str, device: str = "host") -> Graph:
    """Whether it is fast enough is this benchmark's business, and not the gate's: load may come from elsewhere."""
    made = edgekit.pack(
        source, device, out=out, strategy=strategy, limits=Limits(max_slowdown=1e6), history="none", force=True
    )
    path = made.folder / made.manifest.model_file
    return Graph(path, made.report.status, path.stat().st_size)


def packed_pair(folders: Mapping[str, Path], out: Path) -> dict[str, Graph]:
    """Every folder in float32 and in int8, by "NAME onnx-fp32" and so on."""
    return {
        f"{name} {strategy}": packed(folder, out / f"{name}-{strategy}", strategy)
        for name, folder in folders.items()
        for strategy in STRATEGIES
    }


class Session:
    """A graph in ONNX Runtime, as edgekit's own runtime sets it up: no saturating int8 products, no spinning."""

    def __init__(self, graph: Graph, threads: int) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that keep spinning after a run would take the cores from the next graph's run.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if not {"avx512_vnni", "avx_vnni"} & set(edgekit.detect(measure=False).cpu.isa.value):
            options.add_session_config_entry("session.x64quantprecision", "1")
        self._session = onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
        self._takes = {each.name for each in self._session.get_inputs()}
        given = {each.name for each in self._session.get_outputs()}
        self._answer = next(name for name in ("sentence_embedding", "logits") if name in given)

    def answer(self, ids: Ids) -> Vectors:
        """The embedding or the logits of one text, [width]."""
        given = {name: each for name, each in ids.items() if name in self._takes}
        return np.asarray(self._session.run([self._answer], given)[0][0], np.float32)

    def answers(self, texts: Sequence[Ids]) -> Vectors:
        """[texts, width], one text at a time."""
        return np.stack([self.answer(each) for each in texts])


def in_turn_ms(sessions: Mapping[str, Session], ids: Ids, rounds: int, warmup: int = 10) -> dict[str, float]:
    """Median milliseconds of an answer. Every graph once a round, each round beginning with the next one."""
    names = list(sessions)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warmup + rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            sessions[name].answer(ids)
            samples[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(each[warmup:]) for name, each in samples.items()}


def torch_answers(model: SourceModel, texts: Sequence[Ids]) -> Vectors:
    """The model's own embeddings or logits in torch float32, [texts, width], one text at a time."""
    import torch

    from edgekit.torch_model import load_torch
    from edgekit.training.tasks import answers

    module = load_torch(model)
    found = []
    with torch.inference_mode():
        for each in texts:
            tensors = {name: torch.from_numpy(array) for name, array in each.items() if name != "token_type_ids"}
            given = answers(module, model.task, tensors, pooling=model.pooling, normalize=model.normalize)
            answer = given.logits if given.embedding is None else given.embedding
            assert answer is not None
            found.append(answer[0].numpy())
    return np.stack(found)
