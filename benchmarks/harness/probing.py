"""A candidate made, staged with its own runtime and measured in fresh processes, as `edgekit pack` measures."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from edgekit import bundle, strategies
from edgekit.costs import TIMED_TOKENS, Phase
from edgekit.device import DeviceProfile
from edgekit.evaluation import Input
from edgekit.limits import Limits
from edgekit.measure import Job, Measurement, measure
from edgekit.model import SourceModel
from edgekit.progress import Silent
from edgekit.questions import DECODE_TOKENS
from edgekit.strategies import Candidate
from edgekit.targets.local import Local
from harness.machine import OtherLoad

# Repeats by length: long inputs take their time, and vary less.
_REPEATS = {16: 40, TIMED_TOKENS: 20, 512: 5}
_PICTURE_REPEATS = 20
# A process that others disturbed is run again; the least disturbed of so many counts.
DISTURBED = 0.10
_RUNS = 2


@dataclass(frozen=True)
class Reading:
    """One figure of one process. `value` is the median in seconds, of one token for "decode", or the peak in bytes.

    `tokens` is the input's length, 0 for pictures. `low` and `high` are the quartiles of the samples; `other_load` is
    the share of all cores that other processes took meanwhile, None where the system does not tell.
    """

    phase: Phase
    tokens: int
    value: float
    low: float
    high: float
    other_load: float | None


@dataclass(frozen=True)
class Staged:
    folder: Path
    file_bytes: int


def stage(candidate: Candidate, model: SourceModel, device: DeviceProfile, limits: Limits, workdir: Path) -> Staged:
    """Make the candidate's files and lay the bundle out in a new folder in `workdir`."""
    work = workdir / candidate.label.replace(" ", "-")
    work.mkdir()
    artifact = strategies.load(candidate.strategy).make(candidate, model, device, work, Silent())
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    staged = bundle.stage(work / "bundle", artifact, model, device, limits, now)
    return Staged(staged.folder, staged.manifest.memory.file_bytes)


def readings(
    staged: Staged, candidate: Candidate, model: SourceModel, threads: int, lengths: Sequence[int], scratch: Path
) -> Iterator[Reading]:
    """A process for each length; the one at the length that `pack` times tells the peak, after the longest input."""
    for tokens in lengths or (0,):
        timed = tokens in (0, TIMED_TOKENS)
        job = Job(
            task=model.task,
            engine=candidate.engine,
            threads=threads,
            latency=_input(model, tokens),
            longest=_input(model, model.text.max_tokens)
            if timed and model.task == "embedding" and model.text
            else None,
            decode_tokens=DECODE_TOKENS if timed else 2,
            repeats=_REPEATS.get(tokens, _PICTURE_REPEATS),
        )
        own = scratch / f"{candidate.label}-{threads}-{tokens}".replace(" ", "-")
        measurement, load = _undisturbed(staged.folder, job, own)
        for phase, samples_ms in _samples(measurement, model, timed):
            low, median, high = (float(each) / 1e3 for each in np.percentile(samples_ms, (25, 50, 75)))
            yield Reading(phase, tokens, median, low, high, load)
        peak = measurement.figure("peak_rss_bytes")
        if timed and peak is not None:
            yield Reading("memory", tokens, peak, peak, peak, load)


def _undisturbed(folder: Path, job: Job, scratch: Path) -> tuple[Measurement, float | None]:
    """The measurement, and what others took of the cores during it: of several where the first was disturbed."""
    runs: list[tuple[float | None, Measurement]] = []
    for number in range(_RUNS):
        load = OtherLoad()
        measurement = measure(folder, job, scratch / str(number), Local())
        share = load.share()
        runs.append((share, measurement))
        if share is None or share <= DISTURBED:
            return measurement, share
    share, measurement = min(runs, key=lambda run: run[0] or 0.0)
    return measurement, share


def _samples(measurement: Measurement, model: SourceModel, timed: bool) -> Iterator[tuple[Phase, tuple[float, ...]]]:
    if model.task != "causal-lm":
        yield "encode", measurement.samples("latency_ms")
        return
    yield "prefill", measurement.samples("ttft_samples_ms")
    if timed:
        yield "decode", measurement.samples("decode_ms")


def _input(model: SourceModel, tokens: int) -> Input:
    if model.task == "causal-lm":
        return [int(each) for each in np.random.default_rng(tokens).integers(100, 4000, tokens)]
    if model.image is not None:
        shape = (1, 3, model.image.height, model.image.width)
        return {"pixel_values": np.random.default_rng(0).standard_normal(shape, np.float32)}
    return _text(model, tokens)


def _text(model: SourceModel, tokens: int) -> str:
    """A text of exactly so many tokens, special ones included, of words that are one token each."""
    from tokenizers import Tokenizer

    assert model.text is not None
    tokenizer = Tokenizer.from_file(str(model.text.tokenizer_json))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 1)[:2000]
    special = len(tokenizer.encode("").ids)
    whole = [word for word in words if len(tokenizer.encode(word).ids) == special + 1]
    text = " ".join(islice(cycle(whole), tokens - special))
    found = len(tokenizer.encode(text).ids)
    if found != tokens:
        raise SystemExit(f"{model.name}: a text of {tokens} tokens was wanted, its tokenizer made {found} of it")
    return text
