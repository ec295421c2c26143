"""Measuring a bundle: its own runtime in a fresh process, told by a job file what to run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ValidationFailed
from edgekit.evaluation import Answer, Input
from edgekit.targets import Target

_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Job:
    """What the probe does. `latency` and each of `inputs` is a text, token ids, or arrays by input name.

    Without `latency` nothing is timed. `longest` is run once before memory is read. `baseline` is an fp32 model file
    for the same engine, timed in turn with the bundle once memory has been read. `goldens` has the bundle replay its
    own.
    """

    task: str
    engine: str
    threads: int
    latency: Input | None = None
    longest: Input | None = None
    inputs: Sequence[Input] = ()
    tokenize: Sequence[str] = ()
    goldens: bool = False
    baseline: Path | None = None
    decode_tokens: int = 32
    warmup: int = 3
    repeats: int = 30


class Measurement:
    """What the probe wrote: `result` holds the figures; `answers()` reads the outputs one input at a time."""

    def __init__(self, folder: Path, task: str, count: int) -> None:
        self.result: Mapping[str, Any] = json.loads((folder / "result.json").read_bytes())
        self._folder = folder
        self._task = task
        self._count = count

    def figure(self, name: str) -> float | None:
        value = self.result.get(name)
        return None if value is None else float(value)

    def samples(self, name: str) -> tuple[float, ...]:
        return tuple(float(value) for value in self.result.get(name) or ())

    def answers(self) -> Iterator[Answer]:
        """One float32 array an input, as in edgekit/reference.py, read when asked for."""
        if self._task == "embedding":
            yield from np.load(self._folder / "embeddings.npy", mmap_mode="r")
            return
        for index in range(self._count):
            if self._task == "causal-lm":
                path = self._folder / f"logits-{index}.npy"
                yield np.load(path, mmap_mode="r")
                path.unlink()
            else:
                yield _scores(self._folder / f"outputs-{index}.npz", self._task)


def measure(bundle: Path, job: Job, folder: Path, target: Target, timeout_s: float = _TIMEOUT_S) -> Measurement:
    """Run `job` against the bundle on `target`; `folder` is scratch and holds the answers while they are read."""
    folder.mkdir(parents=True, exist_ok=True)
    job_file = folder / "job.json"
    job_file.write_text(json.dumps(_job(bundle, job, folder)), encoding="utf-8")
    target.run(bundle, job_file, timeout_s)
    if not (folder / "result.json").is_file():
        raise ValidationFailed("the measuring process ended without a result", "run again with --debug")
    return Measurement(folder, job.task, len(job.inputs))


def _job(bundle: Path, job: Job, folder: Path) -> dict[str, Any]:
    """The probe's job file (docs/manifest.md), arrays stored beside it and named relative to it."""
    stored = [_stored(each, folder / f"input-{index}.npz") for index, each in enumerate(job.inputs)]
    kind = next(iter(stored[0]), "texts") if stored else "texts"
    return {
        "bundle": str(bundle.resolve()),
        "threads": job.threads,
        "warmup": job.warmup,
        "repeats": job.repeats,
        "latency": None if job.latency is None else _latency(job.latency, job.decode_tokens, folder),
        "longest": None if job.longest is None else _stored(job.longest, folder / "longest.npz"),
        "fidelity": {_PLURAL[kind]: [each[kind] for each in stored]} if stored else {},
        "tokenize": list(job.tokenize),
        "goldens": job.goldens,
        "baseline": None if job.baseline is None else {"model_file": str(job.baseline.resolve()), "engine": job.engine},
    }


_PLURAL = {"text": "texts", "ids": "ids", "tensors": "npz"}


def _stored(each: Input, path: Path) -> dict[str, Any]:
    if isinstance(each, str):
        return {"text": each}
    if isinstance(each, Mapping):
        np.savez(path, allow_pickle=False, **each)
        return {"tensors": path.name}
    return {"ids": [int(token) for token in each]}


def _latency(latency: Input, decode_tokens: int, folder: Path) -> dict[str, Any]:
    return _stored(latency, folder / "latency.npz") | {"decode_tokens": decode_tokens}


def _scores(path: Path, task: str) -> Answer:
    """One input's outputs [1, ...] without the batch axis; of plain tensors all float outputs, flattened in order."""
    with np.load(path) as stored:
        if task == "tensors":
            return np.concatenate([stored[name].ravel() for name in stored.files]).astype(np.float32)
        name = "logits" if "logits" in stored.files else stored.files[0]
        scores: Answer = stored[name][0]
        return scores
