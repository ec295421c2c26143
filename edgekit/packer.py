"""The story: open, plan, make, validate, write. It reads like the list in docs/architecture.md."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import history as histories
from edgekit import runtimes
from edgekit.asking import NO_STUDENT, Asked, Planned, taught
from edgekit.attempts import Attempt, Attempts, Order, reasons
from edgekit.device import DeviceProfile, load_profile
from edgekit.distilling import compared
from edgekit.errors import (
    BadEvalData,
    DoesNotFit,
    EdgekitError,
    LimitMissed,
    MissingEngine,
    NoStudentFits,
    UsageError,
)
from edgekit.evaluation import EvalSet, read_eval
from edgekit.limits import Limits, Preferences
from edgekit.manifest import Manifest
from edgekit.model import SourceModel, StudentSpec, Task, from_torch, open_model
from edgekit.model.apart import keep_apart
from edgekit.output import Output, writing
from edgekit.planner import Plan
from edgekit.progress import Progress, Silent
from edgekit.report import Report, show
from edgekit.rules import tightened
from edgekit.setting import app_default_threads, measuring_threads
from edgekit.strategies.distill.aims import DEFAULT_BUDGET_S, aims_for
from edgekit.students.shape import shaped
from edgekit.training.workplace import CHECKPOINT, kept_shape, leaving, prepare, tidy, workplace_of
from edgekit.training_data import held_out

if TYPE_CHECKING:
    import torch

    Examples = torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]

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


def pack(
    model: str | Path | SourceModel | torch.nn.Module,
    device: str | DeviceProfile = "host",
    *,
    out: str | Path | None = None,
    strategy: str = "auto",
    eval_file: str | Path | None = None,
    calibration_file: str | Path | None = None,
    data_file: str | Path | None = None,
    budget_s: float | None = DEFAULT_BUDGET_S,
    learning_rate: float | None = None,
    student: StudentSpec | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    preferences: Preferences = Preferences(),  # noqa: B008 (frozen)
    languages: Sequence[str] = ("python",),
    example_inputs: Examples | None = None,
    name: str | None = None,
    revision: str | None = None,
    task: Task | None = None,
    merging: Mapping[str, Any] | None = None,
    history: str | Path | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Packed:
    """Pack `model` for `device`, prove it against `limits`, and write the bundle to `out`.

    `model` is a folder, file or hub id; a torch module with `example_inputs` (one tensor for each input of forward(),
    each with a batch axis first); or what `open_model` or `from_torch` returned. A LoRA adapter is merged into its base
    first; `merging` holds what `open_model` takes for that: base, adapters, combination. `out` defaults to
    `<model>-<device>` here; `languages` are those whose wrappers go into it, of edgekit.runtimes.LANGUAGES. Candidates
    are made and measured in the planner's order until one holds every limit. Each report is added to `history`: a
    folder, "none", or None for the default one (docs/history.md). `data_file` holds rows to train a smaller model on
    where nothing else fits, or `strategy` is "distill", for at most `budget_s`; `learning_rate` replaces the task's
    highest, and `student` is its shape, None for the largest that fits. Without an `eval_file` such a bundle is
    measured on rows held out from these. What is trained is kept in `<out>.training` until the bundle stands, and
    `resume` continues from there.

    Raises DoesNotFit if no candidate can be within the device's budget, LimitMissed if each was measured and none
    passed (with `force` the nearest miss is written instead, marked as failed), TrainingError where no student can be
    made, and the errors of opening and writing.
    """
    progress = progress or Silent()
    folder, languages = histories.folder_of(history), runtimes.checked(languages)
    progress.step("open the model")
    options = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code, **(merging or {})}
    source = _open(model, example_inputs, name, revision, task, progress=progress, **options)
    _check_asked(source, limits)
    profile = _device(device, progress)
    source, data = _read(source, eval_file, calibration_file)
    source = taught(source, data_file, strategy, data, budget_s=budget_s, student=student, learning_rate=learning_rate)
    limits = tightened(limits, preferences, source.task)
    destination = Path(out) if out is not None else Path(f"{source.name}-{profile.name}")
    source = _training_beside(source, destination, resume=resume)
    asked = Asked(source, profile, limits, preferences, strategy, folder, data is not None)
    made = asked.planned()
    if not made.plan.candidates:
        raise _does_not_fit(made.plan)
    order = _ordered(made, asked, data, languages)
    keep_apart(source, destination)
    with (
        writing(destination, force=force, need_bytes=_needed_bytes(made.source, made.plan)) as output,
        _kept_trainings(source, progress, resume=resume, force=force),
    ):
        return _proven(order, made.plan, output, keep_misses=force, progress=progress)


def _ordered(made: Planned, asked: Asked, data: EvalSet | None, languages: Sequence[str]) -> Order:
    """What is tried, and after it, where students wait, these. A student without other data is measured on what was
    held out from its training.
    """
    profile, threads = asked.profile, asked.preferences.threads
    training = made.source.training

    def smaller() -> tuple[Order, Plan] | None:
        planned = asked.smaller()
        if planned is None:
            return None
        order = _ordered(planned, asked, data, languages)
        return replace(order, offers=(*made.offers, *planned.offers)), planned.plan

    return Order(
        source=made.source,
        setting=made.setting,
        limits=asked.limits,
        offers=made.offers,
        data=held_out(training) if data is None and training is not None else data,
        threads=threads or measuring_threads(profile),
        history=asked.history,
        languages=languages,
        app_threads=threads or app_default_threads(profile),
        smaller=smaller if training is None else None,
    )


def _read(
    source: SourceModel, eval_file: str | Path | None, calibration_file: str | Path | None
) -> tuple[SourceModel, EvalSet | None]:
    """The source with what it is calibrated on, and what bundles are measured on, where the user brought either."""
    data = None if eval_file is None else read_eval(Path(eval_file), source)
    if calibration_file is None:
        return source, data
    return replace(source, calibration=read_eval(Path(calibration_file), source).arrays), data


def _training_beside(source: SourceModel, destination: Path, *, resume: bool) -> SourceModel:
    """The source whose student's training, if there is any, leaves what it is continued from beside the output. What is
    continued is the student that was begun, whatever the limits are now.
    """
    if source.training is None:
        return source
    training = replace(source.training, resume=workplace_of(destination))
    begun = kept_shape(workplace_of(destination)) if resume and training.student is None else None
    return replace(source, training=replace(training, student=StudentSpec.parse(begun) if begun else training.student))


@contextmanager
def _kept_trainings(source: SourceModel, progress: Progress, *, resume: bool, force: bool) -> Iterator[None]:
    """What a student's training leaves is kept until its bundle stands: an interrupt, or limits that it misses, do not
    cost the training.
    """
    if source.training is None or source.training.resume is None:
        yield
        return
    workplace = source.training.resume
    prepare(workplace, resume=resume, force=force, progress=progress)
    with leaving(workplace / CHECKPOINT):
        try:
            yield
        except LimitMissed as error:
            if not workplace.exists():
                raise
            kept = f"; what was trained is kept in {workplace}"
            raise LimitMissed(
                f"{error.message}{kept}",
                f"{error.remedy}; with --resume nothing is trained again; what learnt too little needs a longer"
                " --budget and another --out",
            ) from error
        finally:
            tidy(workplace)
    shutil.rmtree(workplace, ignore_errors=True)


def _proven(order: Order, chosen: Plan, output: Output, *, keep_misses: bool, progress: Progress) -> Packed:
    """The first of the plan's candidates that holds every limit, sealed and put in its place."""
    attempts = Attempts(order, output, progress)
    best, summary = attempts.first_that_passes(chosen, keep_misses=keep_misses)
    best = _beside_its_teacher(best, attempts.source, progress)
    progress.step("write the bundle")
    manifest, report = attempts.seal(best, summary)
    return Packed(output.commit(best.staged.folder), manifest, report)


def _beside_its_teacher(best: Attempt, teacher: SourceModel, progress: Progress) -> Attempt:
    """The attempt; a student's with what it lost and gained, as `edgekit distill` tells it."""
    record, student = best.report.training, best.staged.artifact.source
    if record is None or student is None:
        return best
    record = compared(teacher, student, record, aims_for(teacher.task), progress)
    return replace(best, report=best.report.model_copy(update={"training": record}))


def plan(
    model: str | Path | SourceModel,
    device: str | DeviceProfile = "host",
    *,
    strategy: str = "auto",
    eval_file: str | Path | None = None,
    data_file: str | Path | None = None,
    budget_s: float | None = DEFAULT_BUDGET_S,
    student: StudentSpec | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    preferences: Preferences = Preferences(),  # noqa: B008 (frozen)
    revision: str | None = None,
    task: Task | None = None,
    merging: Mapping[str, Any] | None = None,
    history: str | Path | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Every candidate for `model` on `device`, in the order of `pack`, and every rejection. Writes no bundle.

    `data_file`, `budget_s` and `student` are as for `pack`; nothing is trained. `eval_file` tells that there is text,
    or labels, that a smaller model could be trained on; it is not read. `history` is as for `pack`, and only read.
    """
    folder = histories.folder_of(history)
    if eval_file is not None and not Path(eval_file).is_file():
        raise BadEvalData(f"cannot read {eval_file}: no such file", "give a .jsonl or .csv file")
    options: dict[str, Any] = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code} | dict(
        merging or {}
    )
    source = _open(model, None, None, revision, task, weights=False, **options)
    _check_asked(source, limits, context=False)
    profile = _device(device, progress or Silent())
    limits = tightened(limits, preferences, source.task)
    source = taught(source, data_file, strategy, budget_s=budget_s, student=student)
    return Asked(source, profile, limits, preferences, strategy, folder, eval_file is not None).planned().plan


def _check_asked(source: SourceModel, limits: Limits, *, context: bool = True) -> None:
    """Nothing answers a limit on a figure that such a model does not have: every candidate would be made, and miss.
    With `context`, there has to be room for what is measured.
    """
    decodes = source.task == "causal-lm"
    if context and decodes and limits.context_tokens < _MIN_CONTEXT_TOKENS:
        raise UsageError(f"--context is {limits.context_tokens}", f"give {_MIN_CONTEXT_TOKENS} tokens or more")
    if decodes and limits.max_latency_ms is not None:
        raise UsageError(f"--max-latency-ms does not apply to {source.name}: {source.task}", "give --min-tokens-per-s")
    if not decodes and limits.min_tokens_per_s is not None:
        raise UsageError(f"--min-tokens-per-s does not apply to {source.name}: {source.task}", "give --max-latency-ms")


def _device(device: str | DeviceProfile, progress: Progress) -> DeviceProfile:
    """The profile; this machine's speeds are measured where they were not within a week."""
    if isinstance(device, DeviceProfile):
        return device
    progress.step("measure this machine" if device == "host" else f"read the profile of {device}")
    return load_profile(device, measure_host="cached")


def _open(
    model: str | Path | SourceModel | torch.nn.Module,
    example_inputs: Examples | None,
    name: str | None,
    revision: str | None,
    task: Task | None,
    **options: Any,
) -> SourceModel:
    """`options` are those of `open_model`."""
    if isinstance(model, (str, Path)):
        source = open_model(model, revision=revision, task=task, **options)
        return replace(source, name=name) if name else source
    if {"base", "adapters"} & set(options):
        raise UsageError("a base and adapters go with a model that is named, not with an opened one", "leave them out")
    if isinstance(model, SourceModel):
        return replace(model, name=name) if name else model
    if example_inputs is None:
        raise UsageError("a torch module needs example_inputs", "give one tensor for each input of forward()")
    return from_torch(model, example_inputs, name=name or type(model).__name__.lower(), task=task or "tensors")


def _needed_bytes(source: SourceModel, chosen_plan: Plan) -> int:
    """Of scratch and output; where only students are left, of the largest that is exported."""
    training = source.training
    if training is not None and training.student is not None and all(each.student for each in chosen_plan.candidates):
        source = shaped(source, training.student)
    largest = max(candidate.disk_bytes.high for candidate in chosen_plan.candidates)
    exports = any(candidate.engine == "onnxruntime" for candidate in chosen_plan.candidates)
    return int(largest * 1.1) + (_WORK_SPACE_FACTOR * 4 * source.parameters if exports else 0)


def _does_not_fit(chosen_plan: Plan) -> EdgekitError:
    """By how much the smallest candidate is over, and what would fit; or why there is none."""
    for each in chosen_plan.rejections:
        if each.broke == NO_STUDENT:
            return NoStudentFits(each.reason, each.remedy)
    sized = [each for each in chosen_plan.rejections if each.unit == "bytes" and each.measured and each.limit]
    if not sized:
        remedies = dict.fromkeys(each.remedy for each in chosen_plan.rejections if each.remedy)
        install = next((remedy for remedy in remedies if remedy.startswith("pip install")), "")
        kind = MissingEngine if install else DoesNotFit
        remedy = install or "; ".join(chosen_plan.advice or remedies) or "see edgekit plan"
        return kind(f"nothing can be packed: {reasons(chosen_plan.rejections)}", remedy)
    smallest = min(sized, key=lambda each: each.measured or 0.0)
    assert smallest.measured is not None
    assert smallest.limit is not None
    remedy = "; ".join(chosen_plan.advice) or smallest.remedy
    over = show(smallest.measured - smallest.limit, "bytes")
    return DoesNotFit(
        f"{chosen_plan.model} does not fit {chosen_plan.device}: the smallest candidate, {smallest.label}, needs an"
        f" estimated {show(smallest.measured, 'bytes')} against {show(smallest.limit, 'bytes')}, {over} too much",
        remedy,
    )
