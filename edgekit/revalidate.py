"""`edgekit validate`: measure a finished bundle again, here, without changing it."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path

from edgekit import bundle as bundles
from edgekit import findings, questions, validation
from edgekit.device import DeviceProfile, load_profile
from edgekit.errors import BadInput, EdgekitError, UsageError
from edgekit.evaluation import default_set, read_eval
from edgekit.limits import Limits
from edgekit.manifest import Manifest
from edgekit.model import SourceModel, open_model, source_sha256
from edgekit.packer import measuring_threads
from edgekit.progress import Progress, Silent
from edgekit.reference import open_reference
from edgekit.report import Report
from edgekit.targets import TARGETS


def validate(
    bundle: str | Path,
    *,
    model: str | Path | None = None,
    eval_file: str | Path | None = None,
    device: str | DeviceProfile | None = None,
    threads: int | None = None,
    target: str = "local",
    progress: Progress | None = None,
) -> Report:
    """Measure the bundle on `target` against the limits it was packed with, and return a new report.

    Its goldens are replayed first. Fidelity is measured against `model`, or the model it was packed from where that is
    still there and unchanged; a model whose weights differ from those packed is refused.

    Raises BadBundle, BadInput (goldens that fail, another model's weights), UsageError (an unknown target).
    """
    progress = progress or Silent()
    if target not in TARGETS:
        raise UsageError(f"there is no target {target!r}", f"choose one of {', '.join(TARGETS)}")
    folder = Path(bundle)
    progress.step("verify the bundle")
    manifest = bundles.verify(folder)
    source = _source(manifest, model)
    profile = device if isinstance(device, DeviceProfile) else load_profile(device or manifest.device.name)
    limits = Limits(**manifest.limits)  # type: ignore[arg-type]
    data = read_eval(Path(eval_file), source) if eval_file is not None else None
    workers = threads or measuring_threads(profile)
    created_utc = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="edgekit-validate-") as scratch:
        progress.step("replay the goldens")
        _replay(folder, workers)
        progress.step("measure and compare")
        reference = open_reference(source, workers, Path(scratch))
        asked = questions.ask(source, reference, data, default_set(source), limits)
        examined = validation.examine(
            folder, source, reference, asked, manifest.engine, workers, None, Path(scratch) / "answers"
        )
        return findings.build_report(
            manifest, examined, None, profile, limits, reference, folder, (), created_utc
        ).model_copy(update={"plan": manifest.plan})


def _source(manifest: Manifest, model: str | Path | None) -> SourceModel:
    """The original, proven to be the one packed by the digest of its files."""
    named = model if model is not None else manifest.provenance.source
    try:
        source = open_model(named, revision=manifest.provenance.revision if model is None else None, task=manifest.task)
        found = source_sha256(source)
    except EdgekitError as error:
        raise BadInput(
            f"the model this bundle was packed from cannot be opened: {error.message}", "give it with --model"
        ) from error
    if found != manifest.provenance.source_sha256:
        raise BadInput(
            f"{named} is not the model this bundle was packed from (sha256 {found[:12]}..., packed from"
            f" {manifest.provenance.source_sha256[:12]}...)",
            "give the right one with --model",
        )
    return source


def _replay(folder: Path, threads: int) -> None:
    from edgekit.resources import use_python_runtime

    use_python_runtime()
    import edgekit_runtime

    with edgekit_runtime.open(folder, threads=threads, verify=False) as session:
        results = session.self_test()
    failed = [result for result in results if not result["passed"]]
    if failed:
        raise BadInput(
            f"{len(failed)} of {len(results)} goldens of {folder} fail here: {failed[0]['name']} differs by"
            f" {failed[0]['difference']} (tolerance {failed[0]['tolerance']})",
            "this machine computes otherwise than the one that packed; do not ship it for this CPU",
        )
