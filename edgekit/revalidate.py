"""`edgekit validate`: measure a finished bundle again, here or on another target, without changing it."""

from __future__ import annotations

import datetime
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import bundle as bundles
from edgekit import findings, planner, strategies, validation
from edgekit import history as histories
from edgekit.attempts import as_timed, offered, remembered
from edgekit.costs import Setting
from edgekit.costs.rates import default_threads
from edgekit.device import DeviceProfile, load_profile
from edgekit.errors import EdgekitError, WrongOriginal
from edgekit.evaluation import EvalSet, read_eval
from edgekit.limits import Limits, Preferences
from edgekit.manifest import Manifest, from_home
from edgekit.model import SourceModel, open_model, source_sha256
from edgekit.progress import Progress, Silent
from edgekit.report import Report
from edgekit.setting import measuring_threads, setting_for
from edgekit.strategies import FP32_BITS, Candidate
from edgekit.targets import Conditions, open_target, parse

# Earlier bundles keep every limit as a float.
_WHOLE = ("max_ram_bytes", "max_disk_bytes", "context_tokens")


def validate(
    bundle: str | Path,
    *,
    model: str | Path | SourceModel | None = None,
    eval_file: str | Path | None = None,
    device: str | DeviceProfile | None = None,
    threads: int | None = None,
    target: str = "local",
    history: str | Path | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Measure the bundle on `target` against the limits it was packed with, and return a new report.

    `target` is "local", "emulated:CPU", "device" (the emulated CPU that the device's profile names), "ssh:USER@HOST" or
    "adb:SERIAL". The bundle's goldens are replayed there. Fidelity is measured against `model` (a torch module's comes
    from `from_torch`), or the model it was packed from where that is still there and unchanged; a model whose weights
    differ from those packed is refused. What this machine measured is added to `history`, as by `pack`.

    Raises BadBundle, WrongOriginal (another model's weights), ValidationFailed (the bundle does not run there),
    TargetError (the target cannot be used), UsageError (an unknown one).
    """
    progress = progress or Silent()
    kind, _ = parse(target)
    past = histories.folder_of(history)
    folder = Path(bundle)
    progress.step("verify the bundle")
    manifest = bundles.verify(folder)
    source = _source(manifest, model, allow_pickle, trust_remote_code)
    profile = _profile(device or manifest.device.name)
    limits = _limits(manifest, profile)
    data = read_eval(Path(eval_file), source) if eval_file is not None else None
    packed_threads = manifest.device.threads if profile.name == manifest.device.name else None
    here, there = _threads(kind, threads, profile, packed_threads)
    created_utc = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    setting = _setting(profile, limits, threads or packed_threads, past)
    with (
        open_target(target, Conditions(profile, there, progress, manifest.engine)) as place,
        tempfile.TemporaryDirectory(prefix="edgekit-validate-") as name,
    ):
        scratch = Path(name)
        progress.step("ask the original")
        original = validation.consult(source, here, data, limits, scratch)
        baseline = _baseline(manifest, source, setting, scratch) if place.times else None
        progress.step(f"measure and compare on {place.name}")
        answers, limit = scratch / "answers", validation.memory_limit(limits, profile)
        examined = validation.examine(
            folder, source, original, manifest.engine, there, baseline, answers, place, goldens=True, limit=limit
        )
        candidate = offered(manifest.strategy, source, as_timed(setting, examined))
        notes = (*_student_notes(manifest, data), *(candidate.notes if candidate is not None else ()))
        report = findings.build_report(manifest, examined, candidate, profile, limits, folder, notes, created_utc)
        if place.kind == "local":
            report = remembered("validate", report, manifest, source, setting, here, examined, past)
        return report.model_copy(update={"plan": manifest.plan})


def _profile(device: str | DeviceProfile) -> DeviceProfile:
    return device if isinstance(device, DeviceProfile) else load_profile(device, measure_host="cached")


def _setting(profile: DeviceProfile, limits: Limits, threads: int | None, past: Path | None) -> Setting:
    seen = histories.observations(histories.read(past), profile)
    return setting_for(profile, limits, Preferences(threads=threads), seen)


def _threads(kind: str, asked: int | None, profile: DeviceProfile, packed: int | None) -> tuple[int, int]:
    """For the original, which runs here, and for the bundle: elsewhere this machine's cores are no limit to it. Unless
    some are asked for they are those that the bundle was packed for, or else the device's fast cores.
    """
    here = asked or measuring_threads(profile, packed)
    return here, here if kind == "local" else asked or packed or default_threads(profile)


def _limits(manifest: Manifest, profile: DeviceProfile) -> Limits:
    """Those it was packed with; on another device than its own, that one's memory is not exceeded either."""
    whole = {name: int(value) for name, value in manifest.limits.items() if name in _WHOLE and value is not None}
    limits = Limits(**(manifest.limits | whole))  # type: ignore[arg-type]
    if profile.name == manifest.device.name or limits.max_ram_bytes is None or profile.ram_budget_bytes is None:
        return limits
    return replace(limits, max_ram_bytes=min(limits.max_ram_bytes, profile.ram_budget_bytes))


def _student_notes(manifest: Manifest, data: EvalSet | None) -> tuple[str, ...]:
    """A student knows what it was trained on: other inputs say less of what an app will see."""
    trained_on = manifest.provenance.trained_on
    if trained_on is None or data is not None:
        return ()
    return (f"a student, trained on {trained_on}: without --eval rows like those it is asked what it never learnt",)


def _baseline(manifest: Manifest, source: SourceModel, setting: Setting, scratch: Path) -> Path | None:
    """The fp32 model for the bundle's engine, made again to be timed against; None where the engine has none, and of a
    student, whose weights are nowhere but in the bundle.
    """
    if manifest.provenance.trained_on is not None:
        return None
    for each in planner.propose(source, setting):
        if isinstance(each, Candidate) and each.engine == manifest.engine and each.faithfulness >= FP32_BITS:
            if each.label == manifest.strategy:
                return None
            artifact = strategies.load(each.strategy).make(each, source, setting.device, scratch, Silent())
            return artifact.folder / artifact.model_file
    return None


def _source(
    manifest: Manifest, model: str | Path | SourceModel | None, allow_pickle: bool, trust_remote_code: bool
) -> SourceModel:
    """The original, proven to be the one packed by the digest of its files."""
    merged = manifest.provenance.merged if model is None else None
    named = model or from_home(merged.adapters[0].source if merged is not None else manifest.provenance.source)
    merging: dict[str, Any] = {}
    if merged is not None:
        weights = {from_home(each.source): each.weight for each in merged.adapters}
        merging = {"base": from_home(merged.base.source), "adapters": weights, "combination": merged.combination}
    try:
        source = (
            named
            if isinstance(named, SourceModel)
            else open_model(
                named,
                revision=manifest.provenance.revision if model is None else None,
                task=manifest.task,
                allow_pickle=allow_pickle,
                trust_remote_code=trust_remote_code,
                **merging,
            )
        )
        found = source_sha256(source)
    except EdgekitError as error:
        what = (
            f"{model} cannot be opened" if model is not None else "the model this bundle was packed from is not there"
        )
        remedy = "give the model it was packed from" if model is not None else "give it with --model"
        if manifest.kind == "module" and model is None:
            remedy += "; a torch module in Python: edgekit.validate(bundle, model=edgekit.from_torch(...))"
        raise WrongOriginal(f"{what}: {error.message}", remedy) from error
    if found != manifest.provenance.source_sha256:
        raise WrongOriginal(
            f"{source.source} is not the model this bundle was packed from (sha256 {found[:12]}..., packed from"
            f" {manifest.provenance.source_sha256[:12]}...)",
            "give the right one with --model",
        )
    return source
