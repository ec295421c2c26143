"""The story: open, plan, make, validate, write. It reads like the list in docs/architecture.md."""

from __future__ import annotations

import datetime
import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import bundle, findings, planner, strategies, validation
from edgekit.costs import Setting
from edgekit.costs.factors import shipped_factors
from edgekit.device import DeviceProfile, load_profile
from edgekit.errors import (
    BadTokenizer,
    DoesNotFit,
    EdgekitError,
    LimitMissed,
    MissingEngine,
    UnsupportedModel,
    UsageError,
    ValidationFailed,
)
from edgekit.evaluation import EvalSet, read_eval
from edgekit.limits import Limits
from edgekit.manifest import Manifest, PlanSummary, Rejected, Tried
from edgekit.model import SourceModel, Task, from_torch, open_model
from edgekit.output import Output, writing
from edgekit.planner import Miss, Plan
from edgekit.progress import Progress, Silent
from edgekit.report import Report, Row, show, show_limit
from edgekit.strategies import Candidate, Engine, Rejection

if TYPE_CHECKING:
    import torch

    Examples = torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]

_ENGINE_MODULES: Mapping[Engine, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnx", "torch", "transformers"),
    "llama.cpp": ("llama_cpp", "gguf"),
}
# What speaks against one way of packing and not against the model: the next one is tried.
_ONLY_THIS_CANDIDATE = (MissingEngine, UnsupportedModel, BadTokenizer, ValidationFailed)
# A prompt, and the 32 tokens decoded after it while it is timed.
_MIN_CONTEXT_TOKENS = 64
# Exports and graph rewrites hold the fp32 model several times over while they work.
_WORK_SPACE_FACTOR = 4


@dataclass(frozen=True)
class Packed:
    """A bundle that was written: where, its contract, and what was measured."""

    folder: Path
    manifest: Manifest
    report: Report


@dataclass(frozen=True)
class _Attempt:
    candidate: Candidate
    staged: bundle.Staged
    report: Report


def pack(
    model: str | Path | SourceModel | torch.nn.Module,
    device: str | DeviceProfile = "host",
    *,
    out: str | Path | None = None,
    strategy: str = "auto",
    eval_file: str | Path | None = None,
    calibration_file: str | Path | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    example_inputs: Examples | None = None,
    name: str | None = None,
    revision: str | None = None,
    task: Task | None = None,
    threads: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Packed:
    """Pack `model` for `device`, prove it against `limits`, and write the bundle to `out`.

    `model` is a folder, file or hub id; a torch module with `example_inputs` (one tensor for each input of forward(),
    each with a batch axis first); or what `open_model` or `from_torch` returned. `out` defaults to `<model>-<device>`
    here. Candidates are made and measured in the planner's order until one holds every limit.

    Raises DoesNotFit if no candidate can be within the device's budget, LimitMissed if each was measured and none
    passed (with `force` the nearest miss is written instead, marked as failed), and the errors of opening and writing.
    """
    progress = progress or Silent()
    progress.step("open the model")
    source = _open(model, example_inputs, name, revision, task, allow_pickle, trust_remote_code)
    profile = load_profile(device, measure_host=True) if isinstance(device, str) else device
    if source.task == "causal-lm" and limits.context_tokens < _MIN_CONTEXT_TOKENS:
        raise UsageError(f"--context is {limits.context_tokens}", f"give {_MIN_CONTEXT_TOKENS} tokens or more")
    data = read_eval(Path(eval_file), source) if eval_file is not None else None
    if calibration_file is not None:
        source = replace(source, calibration=read_eval(Path(calibration_file), source).arrays)
    chosen_plan = _plan(source, profile, limits, strategy)
    if not chosen_plan.candidates:
        raise _does_not_fit(chosen_plan)
    destination = Path(out) if out is not None else Path(f"{source.name}-{profile.name}")
    _keep_apart(source, destination)
    with writing(destination, force=force, need_bytes=_needed_bytes(source, chosen_plan)) as output:
        work = _Work(source, profile, limits, data, threads or measuring_threads(profile), output, progress)
        best, summary = work.first_that_passes(chosen_plan, keep_misses=force)
        progress.step("write the bundle")
        manifest, report = work.seal(best, summary)
        return Packed(output.commit(best.staged.folder), manifest, report)


def plan(
    model: str | Path | SourceModel,
    device: str | DeviceProfile = "host",
    *,
    strategy: str = "auto",
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    revision: str | None = None,
    task: Task | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Plan:
    """Every candidate for `model` on `device`, in the order of `pack`, and every rejection. Writes nothing."""
    source = _open(model, None, None, revision, task, allow_pickle, trust_remote_code)
    profile = load_profile(device) if isinstance(device, str) else device
    return _plan(source, profile, limits, strategy)


def _open(
    model: str | Path | SourceModel | torch.nn.Module,
    example_inputs: Examples | None,
    name: str | None,
    revision: str | None,
    task: Task | None,
    allow_pickle: bool,
    trust_remote_code: bool,
) -> SourceModel:
    if isinstance(model, (str, Path)):
        source = open_model(
            model, revision=revision, task=task, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code
        )
        return replace(source, name=name) if name else source
    if isinstance(model, SourceModel):
        return replace(model, name=name) if name else model
    if example_inputs is None:
        raise UsageError("a torch module needs example_inputs", "give one tensor for each input of forward()")
    return from_torch(model, example_inputs, name=name or type(model).__name__.lower(), task=task or "tensors")


def _plan(source: SourceModel, profile: DeviceProfile, limits: Limits, strategy: str) -> Plan:
    preset = None
    if strategy != "auto" and strategy not in strategies.STRATEGIES:
        strategy, preset = _split_strategy(strategy)
    wished = setting(profile, limits)
    offers = planner.propose(source, wished, strategy)
    if preset is not None:
        wanted = f"{strategy} {preset}".lower()
        offers = tuple(each for each in offers if isinstance(each, Rejection) or each.label.lower() == wanted)
        if not offers:
            raise UsageError(f"{strategy} has no {preset} for {source.name}", f"see edgekit plan --strategy {strategy}")
    return planner.plan(source, wished, limits, offers, _installed_engines())


def setting(profile: DeviceProfile, limits: Limits) -> Setting:
    """What candidates are estimated for, with the factors that are shipped."""
    return Setting(profile, shipped_factors(), limits.context_tokens, measuring_threads(profile))


def _split_strategy(text: str) -> tuple[str, str]:
    """ "gguf-Q4_K_M" or "gguf:Q4_K_M" -> ("gguf", "Q4_K_M")."""
    for name in strategies.STRATEGIES:
        if text.startswith((f"{name}-", f"{name}:", f"{name} ")):
            return name, text[len(name) + 1 :]
    known = ", ".join(["auto", *strategies.STRATEGIES])
    raise UsageError(f"there is no strategy {text!r}", f"choose one of {known}, or gguf-Q4_K_M and the like")


def _installed_engines() -> tuple[Engine, ...]:
    return tuple(
        engine for engine, modules in _ENGINE_MODULES.items() if all(importlib.util.find_spec(name) for name in modules)
    )


def measuring_threads(profile: DeviceProfile) -> int:
    """The device's cores, as far as this machine has them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(profile.cores, here))


def _keep_apart(source: SourceModel, destination: Path) -> None:
    """The output is neither in the source's folder nor around the source, which --force would then remove with it."""
    own = source.folder if source.format == "hf" else source.file
    if own is None:
        return
    if destination.resolve().is_relative_to(own.resolve()):
        raise UsageError(f"{destination} is inside the source model {own}", "give an --out outside of it")
    if own.resolve().is_relative_to(destination.resolve()):
        raise UsageError(f"{destination} holds the source model {own}", "give another --out")


def _needed_bytes(source: SourceModel, chosen_plan: Plan) -> int:
    largest = max(candidate.disk_bytes.high for candidate in chosen_plan.candidates)
    exports = any(candidate.engine == "onnxruntime" for candidate in chosen_plan.candidates)
    return int(largest * 1.1) + (_WORK_SPACE_FACTOR * 4 * source.parameters if exports else 0)


class _Work:
    """One pack under way: makes and measures candidates, and remembers what each came to."""

    def __init__(
        self,
        source: SourceModel,
        profile: DeviceProfile,
        limits: Limits,
        data: EvalSet | None,
        threads: int,
        output: Output,
        progress: Progress,
    ) -> None:
        self._source, self._profile, self._limits, self._data = source, profile, limits, data
        self._threads, self._output, self._progress = threads, output, progress
        self._created_utc = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._original: validation.Original | None = None

    def first_that_passes(self, chosen_plan: Plan, *, keep_misses: bool) -> tuple[_Attempt, PlanSummary]:
        """Try candidates in order; after each miss the rest is planned anew with what was learnt."""
        remaining, rejections = chosen_plan.candidates, list(chosen_plan.rejections)
        attempts: list[_Attempt] = []
        tried: list[Tried] = []
        while remaining:
            candidate, remaining = remaining[0], remaining[1:]
            try:
                attempt = self._attempt(candidate)
            except _ONLY_THIS_CANDIDATE as error:
                if not remaining and not attempts:
                    raise
                tried.append(Tried(candidate=candidate.label, passed=False, missed=(error.message,)))
                continue
            missed = attempt.report.missed
            tried.append(Tried(candidate=candidate.label, passed=not missed, missed=tuple(map(_told, missed))))
            if not missed:
                return attempt, _summary(candidate, tried, rejections)
            attempts.append(attempt)
            if not keep_misses:
                shutil.rmtree(attempt.staged.folder.parent)
            remaining, learnt = planner.after_miss(candidate, _misses(missed), remaining)
            rejections += learnt
        nearest = min(attempts, key=lambda attempt: _distance(attempt.report))
        if keep_misses:
            return nearest, _summary(nearest.candidate, tried, rejections)
        raise _all_missed(tried, nearest, rejections)

    def _attempt(self, candidate: Candidate) -> _Attempt:
        self._progress.step(f"make {candidate.label}")
        workdir = self._output.work / candidate.label.replace(" ", "-")
        workdir.mkdir()
        strategy = strategies.load(candidate.strategy)
        artifact = strategy.make(candidate, self._source, self._profile, workdir, self._progress)
        staged = bundle.stage(
            workdir / "bundle", artifact, self._source, self._profile, self._limits, self._created_utc
        )
        self._progress.step(f"validate {candidate.label}")
        examined = validation.examine(
            staged.folder,
            self._source,
            self._consult(),
            candidate.engine,
            self._threads,
            artifact.baseline,
            workdir / "answers",
        )
        report = findings.build_report(
            staged.manifest,
            examined,
            candidate,
            self._profile,
            self._limits,
            staged.folder,
            (*candidate.notes, *artifact.notes),
            self._created_utc,
        )
        return _Attempt(candidate, staged, report)

    def _consult(self) -> validation.Original:
        """The original's answers, asked for once."""
        if self._original is None:
            self._original = validation.consult(
                self._source, self._threads, self._data, self._limits, self._output.work
            )
        return self._original

    def seal(self, attempt: _Attempt, summary: PlanSummary) -> tuple[Manifest, Report]:
        from edgekit.goldens import record

        golden = record(attempt.staged.folder, self._consult().questions)
        report = attempt.report.model_copy(update={"plan": summary})
        return bundle.seal(attempt.staged, report, golden, summary), report


def _summary(chosen: Candidate, tried: list[Tried], rejections: list[Rejection]) -> PlanSummary:
    rejected = tuple(
        Rejected(
            candidate=each.label,
            reason=each.reason,
            measured=each.measured,
            limit=each.limit,
            unit=each.unit,
            remedy=each.remedy,
        )
        for each in rejections
    )
    return PlanSummary(chosen=chosen.label, tried=tuple(tried), rejected=rejected)


def _told(row: Row) -> str:
    return f"{row.name} {show(row.measured, row.unit)} (limit {show_limit(row)}, {row.flag or 'always held'})"


def _misses(rows: tuple[Row, ...]) -> list[Miss]:
    return [
        Miss(row.name, row.measured, row.limit, row.flag)
        for row in rows
        if row.measured is not None and row.limit is not None
    ]


def _distance(report: Report) -> tuple[int, float]:
    """How far from passing: the number of limits missed, then the largest relative overshoot."""
    shares = [
        abs(row.measured - row.limit) / max(abs(row.limit), 1e-9)
        for row in report.missed
        if row.measured is not None and row.limit is not None
    ]
    return len(report.missed), max(shares, default=float("inf"))


def _reasons(rejections: Sequence[Rejection]) -> str:
    """Each reason once, after the candidates it holds for."""
    labels: dict[str, list[str]] = {}
    for each in rejections:
        labels.setdefault(each.reason, []).append(each.label)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in labels.items())


def _does_not_fit(chosen_plan: Plan) -> EdgekitError:
    """By how much the smallest candidate is over, and what would fit; or why there is none."""
    sized = [each for each in chosen_plan.rejections if each.unit == "bytes" and each.measured and each.limit]
    if not sized:
        remedies = dict.fromkeys(each.remedy for each in chosen_plan.rejections if each.remedy)
        install = next((remedy for remedy in remedies if remedy.startswith("pip install")), "")
        kind = MissingEngine if install else DoesNotFit
        remedy = install or "; ".join(remedies) or "see edgekit plan"
        return kind(f"nothing can be packed: {_reasons(chosen_plan.rejections)}", remedy)
    smallest = min(sized, key=lambda each: each.measured or 0.0)
    assert smallest.measured is not None
    assert smallest.limit is not None
    over = show(smallest.measured - smallest.limit, "bytes")
    return DoesNotFit(
        f"{chosen_plan.model} does not fit {chosen_plan.device}: the smallest candidate, {smallest.label}, needs an"
        f" estimated {show(smallest.measured, 'bytes')} against {show(smallest.limit, 'bytes')}, {over} too much",
        smallest.remedy,
    )


def _all_missed(tried: list[Tried], nearest: _Attempt, rejections: list[Rejection]) -> LimitMissed:
    told = "; ".join(f"{each.candidate} missed {', '.join(each.missed)}" for each in tried)
    untried = f"; not tried: {_reasons(rejections)}" if rejections else ""
    return LimitMissed(
        f"no candidate held every limit: {told}{untried}. Nearest miss: {nearest.candidate.label}",
        "loosen the limit by its flag, or --force to write the nearest miss marked as failed",
    )
