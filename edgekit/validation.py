"""Examining a bundle: it in its own process, the original in this one, and how close their answers are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from edgekit.evaluation import Input
from edgekit.fidelity import Fidelity, compare
from edgekit.measure import Job, Measurement, measure
from edgekit.model import SourceModel
from edgekit.questions import DECODE_TOKENS, Questions
from edgekit.reference import Reference, TextReference
from edgekit.samples import AWKWARD_TEXTS, DECOMPOSED_TEXT
from edgekit.strategies import Engine

_REFERENCE_WARMUP = 3
_REFERENCE_REPEATS = 10


@dataclass(frozen=True)
class Examined:
    """A bundle's measurement and its comparison with the original."""

    measurement: Measurement
    fidelity: Fidelity
    token_mismatches: Sequence[str]
    reference_ms: Sequence[float]
    questions: Questions


def examine(
    bundle: Path,
    model: SourceModel,
    reference: Reference,
    questions: Questions,
    engine: Engine,
    threads: int,
    baseline: Path | None,
    scratch: Path,
) -> Examined:
    """Run the bundle in its own process and the original in this one, and compare them."""
    job = Job(
        task=model.task,
        engine=engine,
        threads=threads,
        latency=questions.latency,
        inputs=questions.inputs,
        tokenize=(*AWKWARD_TEXTS, DECOMPOSED_TEXT) if model.text is not None else (),
        baseline=baseline,
        decode_tokens=DECODE_TOKENS,
    )
    reference_ms = () if baseline is not None else _reference_ms(model, reference, questions.latency)
    measurement = measure(bundle, job, scratch)
    pairs = zip(reference.answers(questions.inputs), measurement.answers(), strict=True)
    fidelity = compare(model.task, pairs, questions.truth)
    own_ids = measurement.result.get("token_ids") or ()
    mismatches = [
        text
        for text, ids in zip(job.tokenize, own_ids, strict=True)
        if cast(TextReference, reference).tokenize(text) != ids
    ]
    return Examined(measurement, fidelity, mismatches, reference_ms, questions)


def _reference_ms(model: SourceModel, reference: Reference, latency: Input) -> list[float]:
    """Milliseconds of the original on the same input: decoding steps of a causal LM, else whole calls."""
    if model.task == "causal-lm":
        assert not isinstance(latency, (str, Mapping))
        return cast(TextReference, reference).decode_ms(latency, DECODE_TOKENS)[1:]
    times = []
    for _ in range(_REFERENCE_WARMUP + _REFERENCE_REPEATS):
        started = time.perf_counter()
        for _ in reference.answers([latency]):
            pass
        times.append(1e3 * (time.perf_counter() - started))
    return times[_REFERENCE_WARMUP:]
