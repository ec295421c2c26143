"""Trying a plan's candidates: each is made, staged and measured, and what is learnt decides what is tried next."""

from __future__ import annotations

import datetime
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import bundle, findings, history, planner, strategies, validation
from edgekit.costs import TIMED_TOKENS, Estimate, Setting
from edgekit.device import detect
from edgekit.errors import BadTokenizer, LimitMissed, MissingEngine, UnknownDevice, UnsupportedModel, ValidationFailed
from edgekit.evaluation import Answer, EvalSet
from edgekit.limits import FIDELITY_LIMITS, Limits
from edgekit.manifest import Considered, Interval, Manifest, PlanSummary, Rejected, Tried
from edgekit.model import SourceModel
from edgekit.output import Output
from edgekit.planner import Miss, Plan
from edgekit.progress import Progress
from edgekit.reference import open_reference
from edgekit.report import Report, Row, show, show_limit
from edgekit.rules.traits import held_of
from edgekit.strategies import Candidate, Rejection
from edgekit.targets.local import Local

# What speaks against one way of packing and not against the model: the next one is tried.
_ONLY_THIS_CANDIDATE = (MissingEngine, UnsupportedModel, BadTokenizer, ValidationFailed)
# The rows that hold a memory limit against what was measured.
_MEMORY = ("counted memory", "peak RSS")
# Of the rows that a smaller model may hold where this one misses them: size, memory and speed, not fidelity.
_HELD_BY_LESS = frozenset(("bytes", "ms", "tokens/s", "yes/no"))


@dataclass(frozen=True)
class Order:
    """What is packed, for what, and within which limits. `offers` is all that was planned with, rejected or not;
    `history` the folder that reports are kept in, if any; `threads` those that measure; `languages` those whose
    wrappers go into the bundle, and `app_threads` what these run by default, None for as many as there are cores.
    `smaller` plans what is tried where all of it is too large or too slow: students; None where there is no more.
    """

    source: SourceModel
    setting: Setting
    limits: Limits
    offers: Sequence[Candidate | Rejection]
    data: EvalSet | None
    threads: int
    history: Path | None
    languages: Sequence[str]
    app_threads: int | None
    smaller: Callable[[], tuple[Order, Plan] | None] | None = None


@dataclass(frozen=True)
class Attempt:
    """A candidate that was made, staged and measured."""

    candidate: Candidate
    staged: bundle.Staged
    report: Report


class Attempts:
    """One pack under way: makes and measures candidates, and remembers what each came to."""

    def __init__(self, order: Order, output: Output, progress: Progress) -> None:
        self._order, self._output, self._progress = order, output, progress
        self._created_utc = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._original: validation.Original | None = None

    @property
    def source(self) -> SourceModel:
        """What is packed now: with its student's training, once that is what is tried."""
        return self._order.source

    def first_that_passes(self, plan: Plan, *, keep_misses: bool) -> tuple[Attempt, PlanSummary]:
        """Try candidates in order; after each miss the rest is planned anew with what was learnt."""
        remaining, rejections = plan.candidates, list(plan.rejections)
        attempts: list[Attempt] = []
        tried: list[Tried] = []
        while remaining:
            candidate, remaining = remaining[0], remaining[1:]
            try:
                attempt = self._attempt(candidate)
            except _ONLY_THIS_CANDIDATE as error:
                if not remaining and not attempts:
                    raise
                tried.append(Tried(candidate=candidate.label, passed=False, missed=(error.message,)))
            else:
                missed = attempt.report.missed
                tried.append(Tried(candidate=candidate.label, passed=not missed, missed=tuple(map(_told, missed))))
                if not missed:
                    return attempt, self._summary(plan, candidate, tried, rejections)
                attempts.append(attempt)
                remaining, learnt = self._learnt(attempt, remaining, plan, keep_misses=keep_misses)
                rejections += learnt
            if not remaining and (smaller := self._smaller(attempts)) is not None:
                plan, remaining = smaller, smaller.candidates
                rejections = [each for each in rejections if each.label != planner.DISTILL]
                rejections += smaller.rejections
        nearest = min(attempts, key=lambda attempt: _distance(attempt.report))
        if keep_misses:
            return nearest, self._summary(plan, nearest.candidate, tried, rejections)
        raise _all_missed(tried, nearest, rejections, self._trainable_for(attempts))

    def _trainable_for(self, attempts: Sequence[Attempt]) -> str:
        """What the model could be trained for where rounding alone cost a limit: a deployment, or ""."""
        deployment = "gguf-Q4_0" if self.source.task == "causal-lm" else "onnx-int8"
        costly = any(
            each.candidate.label == deployment.replace("gguf-", "gguf ")
            and all(row.name in FIDELITY_LIMITS for row in each.report.missed)
            for each in attempts
        )
        plain = self.source.format == "hf" and self.source.quantization is None
        return deployment if costly and plain else ""

    def _learnt(
        self, attempt: Attempt, remaining: Sequence[Candidate], plan: Plan, *, keep_misses: bool
    ) -> tuple[tuple[Candidate, ...], tuple[Rejection, ...]]:
        """What is still worth trying after a miss, and what is not any more."""
        if not keep_misses:
            shutil.rmtree(attempt.staged.folder.parent)
        missed, figures = _misses(attempt.report), _figures(attempt.report)
        held = self._limits(attempt.candidate)
        return planner.after_miss(attempt.candidate, missed, remaining, figures, held, plan.preferences)

    def _smaller(self, attempts: Sequence[Attempt]) -> Plan | None:
        """The plan for students, who are asked on their own data, where only size and speed kept a quantized model."""
        faithful = any({row.unit for row in each.report.missed} <= _HELD_BY_LESS for each in attempts)
        planned = self._order.smaller() if faithful and self._order.smaller is not None else None
        if planned is None:
            return None
        self._progress.step("plan a student: all that was tried is too large or too slow")
        if planned[0].data is not self._order.data:
            self._original = None
        self._order = planned[0]
        return planned[1]

    def seal(self, attempt: Attempt, summary: PlanSummary) -> tuple[Manifest, Report]:
        from edgekit.goldens import record

        answers, prompt_answers = self._unrounded(attempt)
        golden = record(attempt.staged.folder, self._consult().questions, answers, prompt_answers)
        report = attempt.report.model_copy(update={"plan": summary})
        return bundle.seal(attempt.staged, report, golden, summary), report

    def _unrounded(self, attempt: Attempt) -> tuple[Iterable[Answer], Sequence[Answer]]:
        """The answers of what the bundle was made of, and to the prompts: what rounding alone took it away from."""
        original, source = self._consult(), attempt.staged.artifact.source
        if source is None:
            return original.answers(), original.prompt_answers()
        folder = self._output.work / "unrounded"
        folder.mkdir()
        reference = open_reference(source, self._order.threads, folder)
        prompts = reference.answers([each.ids for each in original.questions.prompts])
        return reference.answers(original.questions.inputs), [answer[-1] for answer in prompts]

    def _limits(self, candidate: Candidate) -> Limits:
        return held_of(candidate, self._order.limits, self._order.source.task)

    def _attempt(self, candidate: Candidate) -> Attempt:
        order, limits = self._order, self._limits(candidate)
        self._progress.step(f"make {candidate.label}")
        workdir = self._output.work / re.sub(r"[^\w.=-]+", "-", candidate.label)
        workdir.mkdir()
        strategy = strategies.load(candidate.strategy)
        artifact = strategy.make(candidate, order.source, order.setting.device, workdir, self._progress)
        staged = bundle.stage(
            workdir / "bundle",
            artifact,
            order.source,
            order.setting.device,
            limits,
            self._created_utc,
            languages=order.languages,
            threads=order.app_threads,
        )
        self._progress.step(f"validate {candidate.label}")
        examined = validation.examine(
            staged.folder,
            order.source,
            self._consult(),
            candidate.engine,
            order.threads,
            artifact.baseline,
            workdir / "answers",
            Local(),
            limit=validation.memory_limit(limits, order.setting.device),
        )
        report = findings.build_report(
            staged.manifest,
            examined,
            offered(candidate.label, order.source, as_timed(order.setting, examined)) or candidate,
            order.setting.device,
            limits,
            staged.folder,
            (*candidate.notes, *artifact.notes, *bundle.notes(staged.manifest, order.languages)),
            self._created_utc,
        ).model_copy(update={"training": artifact.training})
        report = remembered(
            "pack", report, staged.manifest, order.source, order.setting, order.threads, examined, order.history,
            parameters=(artifact.source or order.source).parameters,
        )  # fmt: skip
        return Attempt(candidate, staged, report)

    def _consult(self) -> validation.Original:
        """The original's answers, asked for once."""
        if self._original is None:
            order = self._order
            folder = Path(tempfile.mkdtemp(prefix="asked-", dir=self._output.work))
            self._original = validation.consult(order.source, order.threads, order.data, order.limits, folder)
        return self._original

    def _summary(
        self, plan: Plan, chosen: Candidate, tried: Sequence[Tried], rejections: Sequence[Rejection]
    ) -> PlanSummary:
        return PlanSummary(
            chosen=chosen.label,
            tried=tuple(tried),
            rejected=tuple(map(_rejected, rejections)),
            considered=tuple(_considered(each) for each in self._order.offers if isinstance(each, Candidate)),
            prefer=plan.preferences.prefer,
            sensitivity=plan.preferences.sensitivity,
            remarks=tuple(f"{each.subject}: {each.reason}" for each in plan.remarks),
            advice=plan.advice,
        )


def offered(label: str, source: SourceModel, setting: Setting) -> Candidate | None:
    """The candidate of that name with its estimates in `setting`; None if no strategy offers it."""
    offers = planner.propose(source, setting)
    return next((each for each in offers if isinstance(each, Candidate) and each.label == label), None)


def as_timed(setting: Setting, examined: validation.Examined) -> Setting:
    """The setting with the one length that was timed."""
    return replace(setting, lengths=(examined.original.questions.latency_tokens or TIMED_TOKENS,))


def remembered(
    command: history.Command,
    report: Report,
    manifest: Manifest,
    source: SourceModel,
    setting: Setting,
    threads: int,
    examined: validation.Examined,
    folder: Path | None,
    *,
    parameters: int | None = None,
) -> Report:
    """The report, after it was added to the history beside what had been predicted without history for this machine:
    its instruction set decides what engines copy in memory, whatever the device of the bundle has. `parameters` are
    those of what was packed, None for the source's own.
    """
    if folder is None:
        return report
    predicted = None
    with suppress(UnknownDevice):  # an architecture that no profile describes: what was measured is kept all the same
        here = setting.device if report.device_is_host else detect(measure=False)
        measured_in = replace(as_timed(setting, examined), device=here, threads=threads, observations=())
        predicted = offered(manifest.strategy, source, measured_in)
    timed_tokens = examined.original.questions.latency_tokens
    size = source.parameters if parameters is None else parameters
    made = history.entry(command, report, manifest, setting.device, size, predicted, timed_tokens)
    note = history.append(folder, made)
    return report if note is None else report.model_copy(update={"notes": (*report.notes, note)})


def _considered(candidate: Candidate) -> Considered:
    def interval(estimate: Estimate | None) -> Interval | None:
        return None if estimate is None else Interval(low=estimate.low, high=estimate.high)

    return Considered(
        candidate=candidate.label,
        disk_bytes=interval(candidate.disk_bytes),
        ram_bytes=interval(candidate.ram_bytes),
        latency_ms=interval(candidate.latency_ms),
        tokens_per_s=interval(candidate.tokens_per_s),
    )


def _rejected(each: Rejection) -> Rejected:
    return Rejected(
        candidate=each.label,
        reason=each.reason,
        measured=each.measured,
        limit=each.limit,
        unit=each.unit,
        remedy=each.remedy,
    )


def _told(row: Row) -> str:
    return f"{row.name} {show(row.measured, row.unit)} (limit {show_limit(row)}, {row.flag or 'always held'})"


def _misses(report: Report) -> list[Miss]:
    """What estimates can be held against. A bundle that its memory limit ended needs more than the limit, whatever its
    peak was without one: a file that memory does not hold counts where it is read again and again.
    """
    found = [
        Miss(row.name, row.measured, row.limit, row.flag)
        for row in report.missed
        if row.measured is not None and row.limit is not None and row.name != findings.RUNS_WITHIN
    ]
    ended = any(row.name == findings.RUNS_WITHIN for row in report.missed)
    if not ended or any(miss.name in _MEMORY for miss in found):
        return found
    held = [row for row in report.rows if row.name in _MEMORY and row.limit is not None and row.passed]
    taught = [row for row in held if row.flag] or held
    return [*found, *(Miss(row.name, float(row.limit or 0), float(row.limit or 0), row.flag) for row in taught)]


def _figures(report: Report) -> Mapping[str, float]:
    return {row.name: row.measured for row in report.rows if row.measured is not None}


def _distance(report: Report) -> tuple[int, float]:
    """How far from passing: the number of limits missed, then the largest relative overshoot."""
    shares = [
        abs(row.measured - row.limit) / max(abs(row.limit), 1e-9)
        for row in report.missed
        if row.measured is not None and row.limit is not None
    ]
    return len(report.missed), max(shares, default=float("inf"))


def reasons(rejections: Sequence[Rejection]) -> str:
    """Each reason once, after the candidates it holds for."""
    labels: dict[str, list[str]] = {}
    for each in rejections:
        labels.setdefault(each.reason, []).append(each.label)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in labels.items())


def _all_missed(
    tried: Sequence[Tried], nearest: Attempt, rejections: Sequence[Rejection], trainable_for: str
) -> LimitMissed:
    told = "; ".join(f"{each.candidate} missed {', '.join(each.missed)}" for each in tried)
    untried = f"; not tried: {reasons(rejections)}" if rejections else ""
    trained = f", or pack what edgekit qat --for {trainable_for} --data FILE makes of it" if trainable_for else ""
    return LimitMissed(
        f"no candidate held every limit: {told}{untried}. Nearest miss: {nearest.candidate.label}",
        f"loosen the limit by its flag, or --force to write the nearest miss marked as failed{trained}",
    )
