"""What a student gained: parameters, bytes, memory and time, each measured beside its teacher's in torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.distilling.answered import Pair
from edgekit.distilling.bootstrap import of_median_ratio
from edgekit.distilling.probe import ram_bytes
from edgekit.model import SourceModel
from edgekit.progress import Progress
from edgekit.report import Compared
from edgekit.strategies.distill.lesson import Lesson

if TYPE_CHECKING:
    import torch

_TIMED_TOKENS = 128
_WARMUP, _PAIRS = 3, 40
_MOST_TIMED_S = 60.0
_RAM_RUNS = 3
_SMALL_PARAMETERS = 10**9


def gains_of(pair: Pair, student: SourceModel, taught: Lesson, progress: Progress) -> list[Compared]:
    """Teacher over student, so that more than one is a gain."""
    inputs, told = _one_input(pair.setup, taught)
    counts = [float(sum(each.numel() for each in module.parameters())) for module in (pair.teacher, pair.student)]
    sizes = [_weights_bytes(model) for model in (pair.setup, student)]
    found = [
        _gained("parameters", "", counts, "exact"),
        _gained("weights on disk", "bytes", sizes, f"as stored: {_stored(pair.setup)} and {_stored(student)}"),
    ]
    progress.step("teacher and student in turn, timed")
    found.append(_latency(pair, inputs, told))
    progress.step("memory of teacher and student")
    found += _ram(pair.setup, student, inputs, told)
    return found


def _latency(pair: Pair, inputs: dict[str, torch.Tensor], told: str) -> Compared:
    import torch

    from edgekit.training.tasks import answers

    times: tuple[list[float], list[float]] = ([], [])
    begun = time.monotonic()
    for turn in range(_WARMUP + _PAIRS):
        for module, taken in zip((pair.teacher, pair.student), times, strict=True):
            started = time.perf_counter()
            with torch.inference_mode():
                answers(module, pair.setup.task, inputs, pooling=pair.setup.pooling, normalize=pair.setup.normalize)
            taken.append(1e3 * (time.perf_counter() - started))
        if turn > _WARMUP and time.monotonic() - begun > _MOST_TIMED_S:
            break
    teacher, student = (np.array(taken[_WARMUP:]) for taken in times)
    ratio = of_median_ratio(teacher, student)
    threads = _counted(torch.get_num_threads(), "thread")
    how = f"medians of {len(teacher)} runs each of {told}, in turn, in torch on {threads}"
    return Compared(
        name="latency", unit="ms", teacher=float(np.median(teacher)), student=float(np.median(student)),
        value=ratio.value, value_unit="x", low=ratio.low, high=ratio.high, how=how,
    )  # fmt: skip


def _ram(teacher: SourceModel, student: SourceModel, inputs: dict[str, torch.Tensor], told: str) -> list[Compared]:
    """Peaks of processes of their own, in turn; a row without figures where there is no telling."""
    runs = _RAM_RUNS if teacher.parameters < _SMALL_PARAMETERS else 1
    peaks = ram_bytes((teacher, student), inputs, runs)
    if peaks is None:
        how = "not measured: needs Linux, and processes of their own that load both"
        return [Compared(name="RAM", unit="bytes", teacher=None, student=None, value=None, value_unit="x", how=how)]
    sides = [np.array(taken) for taken in peaks]
    found = _gained(
        "RAM",
        "bytes",
        [float(np.median(taken)) for taken in sides],
        f"peak of loading and {told} in torch, above torch's own, in {_counted(runs, 'process')} each, in turn",
    )
    ratio = of_median_ratio(sides[0], sides[1])
    return [found.model_copy(update={"low": ratio.low, "high": ratio.high} if runs > 1 else {})]


def _counted(count: int, name: str) -> str:
    plural = f"{name}es" if name.endswith("s") else f"{name}s"
    return f"{count} {name if count == 1 else plural}"


def _gained(name: str, unit: str, sides: Sequence[float], how: str) -> Compared:
    """Two figures, the teacher's first, without an interval."""
    teacher, student = sides
    ratio = teacher / student if student else None
    return Compared(name=name, unit=unit, teacher=teacher, student=student, value=ratio, value_unit="x", how=how)


def _one_input(setup: SourceModel, taught: Lesson) -> tuple[dict[str, torch.Tensor], str]:
    """(one input, what it is): a picture, or held-out texts joined to as many tokens as bundles are timed at."""
    import torch

    first = taught.examples[int(taught.parts.held_out[0])]
    if "input_ids" not in first:
        return {name: torch.from_numpy(np.asarray(each))[None] for name, each in first.items()}, "one picture"
    longest = min(_TIMED_TOKENS, setup.text.max_tokens if setup.text is not None else _TIMED_TOKENS)
    ids = np.concatenate([taught.examples[int(index)]["input_ids"] for index in taught.parts.held_out[:_TIMED_TOKENS]])
    ids = np.resize(ids, longest).astype(np.int64)
    inputs = {"input_ids": torch.from_numpy(ids)[None], "attention_mask": torch.ones(1, longest, dtype=torch.int64)}
    return inputs, f"one text of {longest} tokens"


def _weights_bytes(model: SourceModel) -> float:
    folder = model.folder
    weights = [file for file in model.files if file.suffix in (".safetensors", ".bin", ".pt", ".pth")]
    return float(sum((folder / file).stat().st_size for file in weights)) if folder is not None else 0.0


def _stored(model: SourceModel) -> str:
    return ", ".join(sorted({tensor.dtype for tensor in model.tensors}))
