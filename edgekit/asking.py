"""What a pack is asked for, and the plan that comes of it: for the source, or for a student where nothing else fits."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import history as histories
from edgekit import planner, strategies
from edgekit.costs import Setting
from edgekit.device import DeviceProfile, siblings
from edgekit.errors import NoData, NoStudentFits, UnsupportedModel, UsageError
from edgekit.evaluation import EvalSet
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel, StudentSpec
from edgekit.planner import Plan
from edgekit.rules.traits import is_quantized
from edgekit.setting import setting_for
from edgekit.strategies import Candidate, Engine, Rejection
from edgekit.training_data import read_training

_ENGINE_MODULES: Mapping[Engine, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnx", "torch", "transformers"),
    "llama.cpp": ("llama_cpp", "gguf"),
}
_UNNEEDED = Rejection(
    planner.DISTILL,
    "a quantized candidate fits, so that no student is needed",
    remedy="--strategy distill makes one all the same",
    estimated=False,
)
NO_STUDENT = "student"
"""What a rejection broke where no student is small enough: a pack of which nothing is left ends in it."""


@dataclass(frozen=True)
class Planned:
    """A plan, the setting that it is for, and all that was offered in it. `source` has the shape of the student that is
    planned, and no training where none is.
    """

    source: SourceModel
    setting: Setting
    offers: tuple[Candidate | Rejection, ...]
    plan: Plan


@dataclass(frozen=True)
class Asked:
    """What a plan is asked for. `data_at_hand`: there is text, or labels, that a student could be trained on."""

    source: SourceModel
    profile: DeviceProfile
    limits: Limits
    preferences: Preferences
    strategy: str
    history: Path | None
    data_at_hand: bool

    def planned(self) -> Planned:
        """The plan; with a student where nothing quantized fits, or where one is asked for by name."""
        past = histories.read(self.history)
        setting = setting_for(self.profile, self.limits, self.preferences, histories.observations(past, self.profile))
        by_name = self.strategy.startswith(planner.DISTILL)
        own = replace(self.source, training=None)
        offers = () if by_name else _offers(own, setting, self.strategy)
        made = self._plan(setting, offers, past)
        if self.source.training is None:
            return Planned(self.source, setting, offers, self._proposing(made, setting))
        if not by_name and any(is_quantized(each) for each in made.candidates):
            return Planned(own, setting, offers, replace(made, rejections=(*made.rejections, _UNNEEDED)))
        try:
            source = self._with_student(setting)
        except (NoStudentFits, UnsupportedModel) as error:
            if by_name and isinstance(error, UnsupportedModel):
                raise
            broke = NO_STUDENT if isinstance(error, NoStudentFits) else ""
            why = Rejection(planner.DISTILL, error.message, remedy=error.remedy, estimated=False, broke=broke)
            return Planned(own, setting, offers, replace(made, rejections=(*made.rejections, why)))
        offers = (*offers, *_offers(source, setting, self.strategy if by_name else planner.DISTILL))
        return Planned(source, setting, offers, self._plan(setting, offers, past))

    def smaller(self) -> Planned | None:
        """The plan for students alone, after all else was tried; None where there is nothing to train one on."""
        if self.source.training is None or self.strategy != "auto":
            return None
        try:
            return replace(self, strategy=planner.DISTILL).planned()
        except UnsupportedModel:
            return None

    def _with_student(self, setting: Setting) -> SourceModel:
        """The source with the shape that fits, where none was asked for."""
        training = self.source.training
        assert training is not None
        if training.student is not None:
            return self.source
        spec = planner.fitting_spec(self.source, setting, self.limits, self.preferences)
        return replace(self.source, training=replace(training, student=spec))

    def _plan(self, setting: Setting, offers: Sequence[Candidate | Rejection], past: Sequence[histories.Entry]) -> Plan:
        return planner.plan(
            self.source,
            setting,
            self.limits,
            offers,
            _installed_engines(),
            self.preferences,
            siblings=siblings(self.profile),
            known=histories.known(past, self.source, self.profile),
        )

    def _proposing(self, made: Plan, setting: Setting) -> Plan:
        """The plan, where nothing quantized fits, with the student that would."""
        if self.strategy != "auto" or any(is_quantized(each) for each in made.candidates):
            return made
        student = planner.student_that_fits(self.source, setting, self.limits, self.preferences)
        if student is None:
            return made
        advice = made.advice if made.candidates else (*made.advice, planner.student_advice(student))
        return replace(made, advice=advice, student=student if self.data_at_hand else None)


def _offers(source: SourceModel, setting: Setting, strategy: str) -> tuple[Candidate | Rejection, ...]:
    """What the strategy, or its one preset, or any strategy ("auto") offers."""
    if strategy == "auto" or strategy in strategies.STRATEGIES:
        return planner.propose(source, setting, strategy)
    strategy, preset = _split_strategy(strategy)
    wanted = f"{strategy} {preset}".lower()
    offers = planner.propose(source, setting, strategy)
    offers = tuple(each for each in offers if isinstance(each, Rejection) or _is_called(each, wanted))
    if not offers:
        raise UsageError(f"{strategy} has no {preset} for {source.name}", f"see edgekit plan --strategy {strategy}")
    return offers


def _is_called(candidate: Candidate, wanted: str) -> bool:
    """By its whole label, or a student's without its shape."""
    label, wanted = (words.lower().replace("-", " ") for words in (candidate.label, wanted))
    return label == wanted or (candidate.student != "" and label.startswith(f"{wanted} "))


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


def taught(
    source: SourceModel,
    data_file: str | Path | None,
    strategy: str,
    measured_on: EvalSet | None = None,
    *,
    budget_s: float | None,
    student: StudentSpec | None,
    learning_rate: float | None = None,
) -> SourceModel:
    """The source with what a student of it may be trained on, where there is anything: none of what bundles are
    measured on. NoData where there has to be something.
    """
    if data_file is not None:
        if strategy != "auto" and not strategy.startswith(planner.DISTILL):
            raise UsageError(f"--data trains a student, and --strategy {strategy} packs none", "leave --strategy out")
        training = read_training(
            Path(data_file),
            source,
            budget_s=budget_s,
            learning_rate=learning_rate,
            student=student,
            measured_on=measured_on,
        )
        return replace(source, training=training)
    if student is not None or strategy.startswith(planner.DISTILL):
        raise NoData(f"a student of {source.name} is trained, and there is nothing to train it on", "give --data FILE")
    return source
