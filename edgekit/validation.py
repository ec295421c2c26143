"""Examining a bundle: it in its own process, the original before it in this one, and how close their answers are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from edgekit.bundle import read_manifest
from edgekit.device import DeviceProfile
from edgekit.evaluation import Answer, EvalSet, Input, default_set
from edgekit.fidelity import Fidelity, compare
from edgekit.limits import Limits
from edgekit.measure import Job, Measurement, measure
from edgekit.model import SourceModel
from edgekit.planner import ram_limit, whole_ram
from edgekit.questions import DECODE_TOKENS, Questions, ask
from edgekit.reference import Reference, TextReference, open_reference
from edgekit.samples import AWKWARD_TEXTS, DECOMPOSED_TEXT
from edgekit.strategies import Engine
from edgekit.targets import CannotConfine, Confining, MemoryLimit, OverLimit, Target

_PARITY_TEXTS = (*AWKWARD_TEXTS, DECOMPOSED_TEXT)
_LIMITED_REPEATS = 5
_PATIENCE, _LEAST_PATIENCE_S = 10, 60.0
_REFERENCE_WARMUP = 3
_REFERENCE_REPEATS = 10


@dataclass(frozen=True)
class Original:
    """What the source model answered, kept on disk: it is out of memory while bundles are made and measured.

    `token_ids` are its tokenizer's of the awkward texts, empty where there is no text; `ms` are its own times on the
    input that is timed.
    """

    description: str
    questions: Questions
    token_ids: Sequence[Sequence[int]]
    ms: Sequence[float]
    folder: Path

    def prompt_answers(self) -> list[Answer]:
        """What follows each of the questions' prompts: logits [vocabulary]."""
        return [np.load(self.folder / f"prompt-{index}.npy") for index in range(len(self.questions.prompts))]

    def answers(self) -> Iterator[Answer]:
        for index in range(len(self.questions.inputs)):
            yield np.load(_stored(self.folder, index), mmap_mode="r")


@dataclass(frozen=True)
class Limited:
    """How the bundle did within a memory limit. `held` is None where nothing could be limited, for the reason that
    `told` then is; else `told` names what enforced the limit. `ended` says how the limit showed where it did not hold.
    """

    limit: MemoryLimit
    told: str
    held: bool | None = None
    peak_bytes: int | None = None
    measurement: Measurement | None = None
    ended: str = ""


@dataclass(frozen=True)
class Examined:
    """A bundle's measurement and its comparison with the original; `limited` is its second run, within the memory that
    the device lets an app use, None where there was none.
    """

    measurement: Measurement
    fidelity: Fidelity
    token_mismatches: Sequence[str]
    original: Original
    target: Target
    limited: Limited | None = None


def consult(model: SourceModel, threads: int, data: EvalSet | None, limits: Limits, scratch: Path) -> Original:
    """Open the original, ask it everything once, and let go of it; `scratch` holds its answers."""
    folder = scratch / "original"
    folder.mkdir()
    reference = open_reference(model, threads, folder)
    questions = ask(model, reference, data, default_set(model), limits)
    for index, answer in enumerate(reference.answers(questions.inputs)):
        _save(_stored(folder, index), answer)
    for index, answer in enumerate(reference.answers([each.ids for each in questions.prompts])):
        _save(folder / f"prompt-{index}.npy", answer[-1])
    token_ids: list[list[int]] = []
    if model.text is not None:
        token_ids = [cast(TextReference, reference).tokenize(text) for text in _PARITY_TEXTS]
    ms = _reference_ms(model, reference, questions.latency)
    return Original(reference.description, questions, token_ids, ms, folder)


def examine(
    bundle: Path,
    model: SourceModel,
    original: Original,
    engine: Engine,
    threads: int,
    baseline: Path | None,
    scratch: Path,
    target: Target,
    *,
    goldens: bool = False,
    limit: MemoryLimit | None = None,
) -> Examined:
    """Run the bundle on `target`, in its own process, on what the original was asked, and compare them.

    Where a clock means nothing nothing is timed, and where running is slow only the first inputs are asked. A `limit`
    is enforced in a second, short run, where the target can: the first one tells what the bundle takes if it is let.
    """
    most = target.max_parameter_tokens
    tokens = None if most is None else int(most / max(1, model.parameters))
    questions = original.questions.cut(target.max_inputs, tokens)
    job = Job(
        task=model.task,
        engine=engine,
        threads=threads,
        latency=questions.latency if target.times else None,
        longest=questions.longest if target.times else None,
        inputs=questions.inputs,
        tokenize=_PARITY_TEXTS if model.text is not None else (),
        baseline=baseline if target.times else None,
        decode_tokens=DECODE_TOKENS,
        goldens=goldens,
    )
    started = time.perf_counter()
    measurement = measure(bundle, job, scratch, target)
    took_s = time.perf_counter() - started
    pairs = zip(_answered(original, questions), measurement.answers(), strict=True)
    fidelity = compare(model.task, pairs, questions.truth, widths_differ=_is_narrower(bundle, model))
    found = measurement.result.get("token_ids") or ()
    mismatches = [
        text
        for text, expected, ids in zip(job.tokenize, original.token_ids, found, strict=True)
        if list(expected) != ids
    ]
    limited = None
    if limit is not None and isinstance(target, Confining):
        short = replace(job, inputs=(), tokenize=(), baseline=None, goldens=False, warmup=1, repeats=_LIMITED_REPEATS)
        limited = _limited(bundle, short, scratch / "limited", target, _charged(limit, measurement, bundle), took_s)
    return Examined(measurement, fidelity, mismatches, replace(original, questions=questions), target, limited)


def _is_narrower(bundle: Path, model: SourceModel) -> bool:
    """Whether the bundle says that its embeddings are of another width than the original's: a student's may be."""
    told = read_manifest(bundle).embedding
    return told is not None and told.width != model.config.get("hidden_size")


def memory_limit(limits: Limits, device: DeviceProfile) -> MemoryLimit | None:
    """What is enforced: what the device lets an app use, or, where nobody knows that, all of its memory."""
    app, whole = ram_limit(limits, device), whole_ram(limits, device)
    if app is not None:
        return MemoryLimit(app, device.ram.counted)
    return None if whole is None else MemoryLimit(int(whole), "resident")


def _limited(bundle: Path, job: Job, folder: Path, target: Confining, limit: MemoryLimit, took_s: float) -> Limited:
    """Run the short job within the limit; reading its file again and again it may take many times as long as without,
    and then it counts as ended by the limit too.
    """
    told, patience_s = "", max(_LEAST_PATIENCE_S, _PATIENCE * took_s)
    try:
        with target.within(limit) as place:
            told = place.told
            try:
                measurement = measure(bundle, job, folder, place, patience_s)
            except OverLimit as over:
                return Limited(limit, told, False, place.peak_bytes, ended=str(over))
            return Limited(limit, told, True, place.peak_bytes, measurement)
    except CannotConfine as reason:
        return Limited(limit, str(reason))


def _charged(limit: MemoryLimit, measurement: Measurement, bundle: Path) -> MemoryLimit:
    """The limit with what of the resident pages is Python's and the engine's: all file-backed but the bundle's own."""
    mapped, own = measurement.figure("file_rss_bytes"), measurement.figure("bundle_rss_bytes")
    if own is None:  # an older runtime: at most the files themselves
        own = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    return replace(limit, elsewhere_bytes=max(0, int((mapped or 0.0) - own)))


def _answered(original: Original, questions: Questions) -> Iterator[Answer]:
    """The original's answers to `questions`, which are the first of its own, perhaps with fewer tokens."""
    for answer, each in zip(original.answers(), questions.inputs, strict=False):
        yield answer[: len(each)] if questions.truth.ids else answer


def _stored(folder: Path, index: int) -> Path:
    return folder / f"answer-{index}.npy"


def _save(path: Path, answer: Answer) -> None:
    """As .npy, written by the file object: np.save's own error on a full disk does not say so."""
    array = np.ascontiguousarray(answer, np.float32)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


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
