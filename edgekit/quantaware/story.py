"""`edgekit qat`: a model trained for how it will be deployed, as an ordinary model folder on the deployment's grid.

model          opened; data read and parted
fine_tuned     trained in the deployment's arithmetic against its own float answers    finetuning
folder         weights, tokenizer, qat.json, report.html: one rename puts it in place
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.device import load_profile
from edgekit.errors import OutputExists
from edgekit.model import SourceModel, Task, opened
from edgekit.model.apart import keep_apart
from edgekit.output import writing
from edgekit.progress import Progress, Silent
from edgekit.quantaware.aims import DEFAULT_BUDGET_S, Aims, aims_for
from edgekit.quantaware.deployed import Deployment
from edgekit.quantaware.finetuning import RECORD, Place, Record, check_trainable, fine_tuned
from edgekit.quantaware.page import layers_told, page
from edgekit.strategies.onnx.int8 import saturates
from edgekit.training.workplace import CHECKPOINT, leaving, prepare, workplace_of
from edgekit.training_data import read_training

PAGE = "report.html"


@dataclass(frozen=True)
class Made:
    """A model that was written: where, and what was done."""

    folder: Path
    record: Record


def qat(
    model: str | Path | SourceModel,
    deployment: Deployment,
    data_file: str | Path,
    *,
    device: str = "host",
    budget_s: float | None = DEFAULT_BUDGET_S,
    learning_rate: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    aims: Aims | None = None,
    task: Task | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Train `model` for `deployment` on the rows of `data_file`, and write it to `out` (default NAME-qat-DEPLOYMENT).

    `aims` are the task's losses and recipe unless given; `learning_rate` replaces theirs. `device` decides how many
    bits int8 weights keep: seven where the CPU saturates. While it trains, checkpoints stand beside the output, in
    `<out>.training`; they stay where it is interrupted or diverges, and `resume` continues them. Under `accelerate
    launch` all processes call this alike, and the first one writes.

    Raises TrainingError, UnsupportedModel, the errors of opening and writing, and Interrupted, which says where the
    checkpoint is.
    """
    from edgekit.training.processes import state

    progress = progress or Silent()
    progress.step("open the model")
    source = opened(model, task=task, revision=revision, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    seven_bits = deployment == "onnx-int8" and saturates(load_profile(device))
    check_trainable(source, deployment)
    source = replace(source, training=read_training(Path(data_file), source, budget_s=budget_s, seed=seed))
    aims = aims or aims_for(source.task, deployment)
    aims = aims if learning_rate is None else replace(aims, learning_rate=learning_rate)
    destination = Path(out) if out is not None else Path(f"{source.name}-qat-{deployment.partition('-')[2].lower()}")
    keep_apart(source, destination)
    workplace = workplace_of(destination)
    place = Place(workplace / CHECKPOINT, resume)
    if not state().is_main_process:
        return Made(
            destination, fine_tuned(source, deployment, None, place, Silent(), seven_bits=seven_bits, aims=aims)
        )
    with writing(destination, force=force, replaceable=_trained_only) as output:
        prepare(workplace, resume=resume, force=force, progress=progress)
        folder = output.work / "model"
        with leaving(place.checkpoints):
            record = fine_tuned(source, deployment, folder, place, progress, seven_bits=seven_bits, aims=aims)
        (folder / PAGE).write_text(page(record), encoding="utf-8")
        written = output.commit(folder)
    shutil.rmtree(workplace, ignore_errors=True)
    return Made(written, record)


def _trained_only(out: Path) -> OutputExists | None:
    if (out / RECORD).is_file():
        return None
    return OutputExists(f"{out} exists and is no model trained for its quantization", "give another --out")


def told(made: Made) -> str:
    """What a person is told of it, in a few lines."""
    record = made.record
    lines = [
        f"trained for {layers_told(record)}, {record.steps} steps in {record.seconds:.0f} s, "
        f"the best after {record.best_step}",
        record.recovered.told,
        *record.remarks,
    ]
    return "\n".join(lines)
