"""`edgekit prune`: heads, feed-forward channels and layers cut out of a model by what they matter, and what that costs.

source         opened; data read and parted
importance     of each head, channel and layer, on rows to train on     edgekit/students/importance.py
cut            the least of them gone                                   edgekit/students/cutting.py
compared       with the whole model, on rows nothing here has seen      edgekit/distilling/answered.py
recovered      held to the whole model's answers for a short while      recovery.py
folder         a normal Hugging Face one, with pruning.json: one rename puts it in place
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import OutputExists, UnsupportedModel
from edgekit.manifest import at_home
from edgekit.model import SourceModel, Task, Training, open_model, opened, source_sha256
from edgekit.model.apart import keep_apart
from edgekit.output import writing
from edgekit.progress import Progress, Silent
from edgekit.pruning.amounts import Amounts, target_of
from edgekit.pruning.cutting import Cut, structures, weights
from edgekit.pruning.record import RECORD, Compressed, PruningRecord, Recovery
from edgekit.pruning.words import card, remarks_on, shape_told
from edgekit.report import Compared
from edgekit.strategies.distill.aims import AIMS, aims_for
from edgekit.strategies.distill.lesson import Lesson, lesson
from edgekit.strategies.distill.saving import save_folder
from edgekit.students.shape import Shape, stored_shape
from edgekit.training_data import read_training

if TYPE_CHECKING:
    from torch import nn

    from edgekit.distilling.answered import Pair
    from edgekit.students.importance import Importance

__all__ = ["Amounts", "Pruned", "PruningRecord", "prune"]

RECOVER_S = 300.0
_FP32_BYTES = 4


@dataclass(frozen=True)
class Pruned:
    """A pruned model that was written: where, and what went and what that cost."""

    folder: Path
    record: PruningRecord


def prune(
    model: str | Path | SourceModel,
    data_file: str | Path,
    amounts: Amounts,
    *,
    importance: Importance = "taylor",
    recover_s: float | None = RECOVER_S,
    learning_rate: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    force: bool = False,
    task: Task | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Pruned:
    """Prune `model` by `amounts`, let it recover for `recover_s` seconds (None: not at all), and write it to `out`
    (default MODEL-pruned here). `learning_rate` replaces the task's highest.

    Raises UsageError for amounts that come to nothing, to everything, or do not divide, and for zeros that make no
    compressed file smaller; UnsupportedModel for a model of no known family; TrainingError (no data, too little, labels
    that do not match, divergence); and the errors of opening and writing.
    """
    progress = progress or Silent()
    progress.step("open the model")
    source = opened(model, task=task, revision=revision, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    shape, target = _checked(source, amounts)
    training = read_training(Path(data_file), source, budget_s=recover_s, seed=seed, learning_rate=learning_rate)
    destination = Path(out) if out is not None else Path(f"{source.name}-pruned")
    keep_apart(source, destination)
    order = _Order(source, amounts, shape, target, training, importance, recover_s, seed)
    with writing(
        destination, force=force, need_bytes=_FP32_BYTES * source.parameters, replaceable=_pruned_only
    ) as output:
        scratch = output.work / "scratch"
        scratch.mkdir()
        record = order.written(output.work / "pruned", scratch, progress)
        progress.step("write the model")
        return Pruned(output.commit(output.work / "pruned"), record)


def _checked(source: SourceModel, amounts: Amounts) -> tuple[Shape, Shape]:
    """The shape, and the one that is left. Nothing is read but configuration and headers."""
    if source.format != "hf" or source.task not in AIMS:
        kind = f"a model of format {source.format}" if source.format != "hf" else f"a model for {source.task}"
        raise UnsupportedModel(f"{source.name}: {kind} is not pruned", f"bring a folder for {', '.join(AIMS)}")
    family, shape = stored_shape(source)
    return shape, shape if amounts.unstructured else target_of(shape, family, amounts)


def _pruned_only(out: Path) -> OutputExists | None:
    if (out / RECORD).is_file():
        return None
    return OutputExists(f"{out} exists and is no pruned model", "--force replaces those only; give another --out")


@dataclass(frozen=True)
class _Order:
    """What is to be pruned, and how."""

    source: SourceModel
    amounts: Amounts
    shape: Shape
    target: Shape
    training: Training
    importance: Importance
    recover_s: float | None
    seed: int

    def written(self, folder: Path, scratch: Path, progress: Progress) -> PruningRecord:
        """Prune, compare, recover, and write all into the new folder `folder`."""
        from edgekit.distilling.answered import Pair, losses_of
        from edgekit.torch_model import load_torch

        progress.step("read the data")
        taught = lesson(self.source, self.training, aims_for(self.source.task).most_tokens)
        progress.step("load the model")
        whole = load_torch(self.source)
        cut = self._cut(whole, taught, progress)
        before = losses_of(Pair(self.source, whole, cut.module), taught, progress)
        recovery, remarks = self._recovered(whole, cut, taught, scratch, progress)
        save_folder(cut.module, self.source, folder, card(self.source, cut.removed, recovery), tag="pruned")
        model = open_model(folder, task=self.source.task)
        pair = Pair(self.source, whole, load_torch(model))  # what is measured is what was written
        found = self._compared(pair, model, taught, before, recovery, progress)
        record = self._record(model, cut, taught, recovery).model_copy(update=found)
        record = record.model_copy(update={"remarks": (*remarks_on(self.source, model, record.compressed), *remarks)})
        (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return record

    def _cut(self, whole: nn.Module, taught: Lesson, progress: Progress) -> Cut:
        if self.amounts.unstructured:
            from edgekit.pruning.magnitude import check_gain, compressed

            cut = weights(whole, self.amounts.unstructured)
            check_gain(self.amounts.unstructured, compressed(whole, cut.module))  # before it recovers
            return cut
        return structures(self.source, whole, self.target, taught, self.importance, self.seed, progress)

    def _recovered(
        self, whole: nn.Module, cut: Cut, taught: Lesson, scratch: Path, progress: Progress
    ) -> tuple[Recovery | None, tuple[str, ...]]:
        if self.recover_s is None:
            return None, ()
        from edgekit.pruning.recovery import recovered

        return recovered(
            self.source, whole, cut.module, taught, scratch,
            budget_s=self.recover_s, seed=self.seed, learning_rate=self.training.learning_rate, progress=progress,
            kept=cut.masks,
        )  # fmt: skip

    def _compared(
        self,
        pair: Pair,
        model: SourceModel,
        taught: Lesson,
        before: Sequence[Compared],
        recovery: Recovery | None,
        progress: Progress,
    ) -> dict[str, tuple[Compared, ...] | tuple[Compressed, ...]]:
        from edgekit.distilling.answered import losses_of
        from edgekit.distilling.gained import gains_of
        from edgekit.pruning.magnitude import check_gain, compressed

        after = before if recovery is None else losses_of(pair, taught, progress)
        small: tuple[Compressed, ...] = ()
        if self.amounts.unstructured:
            small = tuple(compressed(pair.teacher, pair.student))
            check_gain(self.amounts.unstructured, small)  # recovery moved the other weights
        gained = gains_of(pair, model, taught, progress)
        return {"before": tuple(before), "after": tuple(after), "gained": tuple(gained), "compressed": small}

    def _record(self, model: SourceModel, cut: Cut, taught: Lesson, recovery: Recovery | None) -> PruningRecord:
        return PruningRecord(
            source=at_home(self.source.source),
            source_sha256=source_sha256(self.source),
            pruned=shape_told(self.shape, self.target, model.parameters),
            removed=cut.removed,
            layers_kept=cut.layers,
            heads_kept=cut.heads,
            importance="magnitude" if self.amounts.unstructured else self.importance,
            measured_rows=cut.measured_rows,
            seed=self.seed,
            origin=self.training.origin,
            rows=len(self.training),
            held_out_rows=len(taught.parts.held_out),
            before=(),
            after=(),
            gained=(),
            recovery=recovery,
        )
