"""Training: `train(student, objective, data, recipe)`, deterministic, validated, resumable; the best weights stay."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import Diverged, NoData
from edgekit.progress import Progress, Silent
from edgekit.training import checkpoint as checkpoints_on_disk
from edgekit.training.batches import Data, Indices, lengths, plan
from edgekit.training.checkpoint import Belongs, Checkpoint, Standing
from edgekit.training.identity import examples_sha256, module_sha256
from edgekit.training.processes import told
from edgekit.training.recipe import Point, Recipe, Stopped, Trained
from edgekit.training.remarks import budget_remarks, curve_remarks
from edgekit.training.schedule import Costs, Schedule, rate, scheduled, within
from edgekit.training.stepping import Engine, Objective, deterministic

if TYPE_CHECKING:
    import torch

__all__ = ["Objective", "Point", "Recipe", "Trained", "train"]

_MOST_REHEARSALS, _FEWEST_REHEARSALS = 12, 2
_REHEARSAL_SHARE = 0.02
_PROBED_BATCHES = 4
_DISK_BYTES_PER_S = 200e6
"""A cautious guess at what a disk takes: only the budget's share for checkpoints depends on it."""


def train(
    student: torch.nn.Module,
    objective: Objective,
    data: Data,
    recipe: Recipe,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Train `student` in place; it ends with the weights of its best validation, in the mode and place it was in.

    The same student, data and recipe give the same weights, bit for bit, on the same machine with as many threads and
    processes; so does a run continued from `checkpoints` with `resume`, wherever it was killed. A checkpoint is
    written after each validation. Under `accelerate launch` all processes call this with the same arguments.

    Diverged where a loss or a gradient is no finite number: the student has the best weights so far, and the last
    checkpoint stays. UsageError where a checkpoint belongs to another recipe, other data or another model. NoData
    where there is nothing to train on or to stop by.
    """
    if not len(data.train) or not len(data.validation):
        raise NoData(
            f"{len(data.train)} examples to train on and {len(data.validation)} to stop by", "both need at least one"
        )
    from edgekit.training.processes import state

    with deterministic(state().device):
        run = _Run(student, objective, data, recipe, checkpoints, progress or Silent())
        try:
            return run.trained(resume=resume)
        finally:
            run.engine.release()


class _Run:
    def __init__(
        self,
        student: torch.nn.Module,
        objective: Objective,
        data: Data,
        recipe: Recipe,
        checkpoints: Path | None,
        progress: Progress,
    ) -> None:
        self._data, self._recipe, self._folder = data, recipe, checkpoints
        self._started = time.monotonic()
        self._earlier_s = 0.0
        self._belongs = None if checkpoints is None else _belongs(student, data, recipe)
        self.engine = Engine(student, objective, data, recipe)
        self._progress = progress if self.engine.is_main else Silent()
        self._counts = lengths(data.examples, data.train)
        self._validation = plan(
            lengths(data.examples, data.validation), data.validation, recipe.batch_size, 0, 0, shuffled=False
        )
        self._best = self._copied()
        self._remarks: list[str] = []

    def trained(self, *, resume: bool) -> Trained:
        standing = (self._resumed() if resume else None) or self._begun()
        schedule = Schedule(standing.steps, standing.every, standing.by_budget)
        summed, made = 0.0, 0
        self._announce(standing)
        for indices in self._from(standing.step):
            if standing.step >= schedule.steps or standing.waited >= self._recipe.patience:
                break
            share = rate(standing.step, schedule.steps, self._recipe.warmup_share)
            loss, norm = self.engine.step(indices, standing.step, share * self._recipe.learning_rate)
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise self._diverged(standing, loss, norm)
            standing.step, summed, made = standing.step + 1, summed + loss, made + 1
            self._progress.advance(1)
            if schedule.is_round(standing.step):
                self._validated(standing, summed / made, share * self._recipe.learning_rate)
                self._save(standing)
                summed, made = 0.0, 0
                self._announce(standing)
        self.engine.put_back(self._best)
        return self._outcome(standing)

    def _begun(self) -> Standing:
        """The standing at step 0: what the student is before it learns, and how many steps there will be."""
        import torch

        first = self._plan(0)
        probed = first[:: max(1, len(first) // _PROBED_BATCHES)][:_PROBED_BATCHES]
        schedule = self._schedule(first)
        standing = Standing(
            steps=schedule.steps,
            every=schedule.every,
            by_budget=schedule.by_budget,
            step=0,
            best_step=0,
            best_loss=math.inf,
            waited=0,
            curve=[],
            threads=torch.get_num_threads(),
            processes=self.engine.processes,
        )
        self._validated(standing, self.engine.validate(probed), 0.0)
        self._save(standing)
        return standing

    def _schedule(self, first: list[Indices]) -> Schedule:
        recipe = self._recipe
        most = max(1, math.ceil(recipe.epochs * len(first)))
        if recipe.steps is not None:
            return scheduled(recipe.steps, len(self._validation))
        if recipe.budget_s is None:
            return scheduled(most, len(self._validation))
        self._progress.step("timing the first steps")
        costs = Costs(*self._timed(first, recipe.budget_s))
        left_s = told(lambda: max(0.0, recipe.budget_s or 0.0) - self._seconds())
        return within(left_s, most, len(self._validation), costs)

    def _timed(self, first: list[Indices], budget_s: float) -> tuple[float, float]:
        """Seconds of a step and of a validation round, of the mean batch, as the main process measures them.

        Real steps at a rate of 0, after which everything is put back.
        """
        cells = [self._cells(indices) for indices in first]
        seconds, seen, scaler = 0.0, 0.0, self.engine.scaler()
        for number in range(_MOST_REHEARSALS + 1):
            began = time.monotonic()
            at = number % len(first)
            self.engine.step(first[at], number, 0.0)
            took = time.monotonic() - began
            if number:  # the first one also allocates
                seconds, seen = seconds + took, seen + cells[at]
            enough = number >= _FEWEST_REHEARSALS and seconds > _REHEARSAL_SHARE * budget_s
            if told(lambda enough=enough: enough):  # type: ignore[misc]
                break
        self.engine.put_back(self._best)  # batch norms count what they see, and AdamW its moments
        self.engine.put_back_moments({})
        self.engine.put_back_scaler(scaler)
        step_s = seconds / seen * sum(cells) / len(cells)
        began = time.monotonic()
        self.engine.validate(self._validation[-1:])
        longest_s = time.monotonic() - began
        saved_bytes = 4 * sum(each.numel() * each.element_size() for each in self._best.values())
        save_s = saved_bytes / _DISK_BYTES_PER_S if self._folder is not None else 0.0
        return told(lambda: (step_s, longest_s * len(self._validation) + save_s))

    def _cells(self, indices: Indices) -> float:
        """What a batch's time is taken to be proportional to: its rows times its longest text, or its rows."""
        return float(len(indices) * max(1, int(lengths(self._data.examples, indices).max())))

    def _plan(self, epoch: int) -> list[Indices]:
        return plan(self._counts, self._data.train, self._recipe.batch_size, self._recipe.seed, epoch)

    def _from(self, step: int) -> Iterator[Indices]:
        """The batches from `step` on, epoch after epoch."""
        per_epoch = len(self._plan(0))
        epoch, at = divmod(step, per_epoch)
        while True:
            yield from self._plan(epoch)[at:]
            epoch, at = epoch + 1, 0

    def _validated(self, standing: Standing, train_loss: float, learning_rate: float) -> None:
        loss = self.engine.validate(self._validation)
        if not math.isfinite(loss):
            raise self._diverged(standing, loss, 0.0)
        standing.curve.append(Point(standing.step, self._seconds(), train_loss, loss, learning_rate))
        if loss < standing.best_loss:
            standing.best_step, standing.best_loss, standing.waited = standing.step, loss, 0
            self._best = self._copied()
        else:
            standing.waited += 1

    def _diverged(self, standing: Standing, loss: float, norm: float) -> Diverged:
        self.engine.put_back(self._best)
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's length is {norm}"
        kept = "the student is as it began"
        if standing.best_step:
            kept = f"the weights of step {standing.best_step}, validation loss {standing.best_loss:.4g}, are kept"
        slower = f"with a learning rate below {self._recipe.learning_rate:g} (--learning-rate)"
        where, remedy = "", f"train anew {slower}"
        if not standing.curve:
            remedy = "look at the model and the data: it answers with no number before it has learnt anything"
        elif self._folder:
            where = f"; the checkpoint of step {standing.curve[-1].step} stands in {self._folder}"
            remedy = f"go on from there {slower} and --resume"
        return Diverged(
            f"training diverged at step {standing.step + 1} of {standing.steps}: {what}; {kept}{where}", remedy
        )

    def _save(self, standing: Standing) -> None:
        if self._folder is None or self._belongs is None:
            return
        folder, belongs = self._folder, self._belongs
        standing.scaler = self.engine.scaler()
        state = Checkpoint(standing, self.engine.tensors(), self._best, self.engine.moments())
        told(lambda: checkpoints_on_disk.save(folder, belongs, state))

    def _resumed(self) -> Standing | None:
        if self._folder is None or self._belongs is None:
            return None
        folder, belongs = self._folder, self._belongs
        found = told(lambda: checkpoints_on_disk.load(folder, belongs, self._best))
        if found is None:
            return None
        self.engine.put_back(found.weights)
        self.engine.put_back_moments(found.moments)
        self.engine.put_back_scaler(found.standing.scaler)
        self._best = dict(found.best)
        standing = found.standing
        self._earlier_s = standing.curve[-1].seconds
        self._started = time.monotonic()
        self._remarks += self._resume_remarks(standing)
        if found.slowed_from is not None:
            self._remarks.append(
                f"a learning rate of {self._recipe.learning_rate:g} from step {standing.step} on, {found.slowed_from:g}"
                " before"
            )
        return standing

    def _resume_remarks(self, standing: Standing) -> list[str]:
        import torch

        found = [f"continued from the checkpoint of step {standing.step}"]
        here = (torch.get_num_threads(), self.engine.processes)
        if here != (standing.threads, standing.processes):
            found.append(
                f"begun with {standing.threads} threads in {standing.processes} processes, continued with {here[0]} in "
                f"{here[1]}: sums are rounded otherwise, so that the result may differ in its last digits"
            )
        return found

    def _announce(self, standing: Standing) -> None:
        """One line a validation: where the run stands, and how long it will take."""
        done, point = standing.step, standing.curve[-1]
        until = min(standing.steps, (done // standing.every + 1) * standing.every)
        if done >= standing.steps or standing.waited >= self._recipe.patience:
            return
        left = ""
        here = [each for each in standing.curve if each.seconds >= self._earlier_s]
        if len(here) > 1:
            pace = (here[-1].seconds - here[0].seconds) / (here[-1].step - here[0].step)
            left = f", {_told_seconds(pace * (standing.steps - done))} left"
        self._progress.step(
            f"training, step {done} of {standing.steps}, validation loss {point.validation_loss:.4g} "
            f"(best {standing.best_loss:.4g} at step {standing.best_step}){left}",
            total=until - done,
        )

    def _outcome(self, standing: Standing) -> Trained:
        stopped: Stopped = "patience" if standing.step < standing.steps else "completed"
        if stopped == "completed" and standing.by_budget:
            stopped = "budget"
        seconds = self._seconds()
        remarks = [
            *self._remarks,
            *curve_remarks(standing.curve, standing.best_step, stopped, len(self._plan(0))),
            *budget_remarks(self._recipe, standing.steps, len(self._plan(0)), seconds),
        ]
        return Trained(
            tuple(standing.curve),
            standing.best_step,
            standing.best_loss,
            standing.step,
            seconds,
            stopped,
            tuple(remarks),
            self.engine.precision,
            self.engine.processes,
        )

    def _copied(self) -> dict[str, torch.Tensor]:
        return {name: each.detach().cpu().clone() for name, each in self.engine.tensors().items()}

    def _seconds(self) -> float:
        return self._earlier_s + time.monotonic() - self._started


def _belongs(student: torch.nn.Module, data: Data, recipe: Recipe) -> Belongs:
    digest = hashlib.sha256(examples_sha256(data.examples).encode())
    for part in (data.train, data.validation):
        digest.update(part.astype("int64").tobytes())
    if data.labels is not None:
        digest.update(examples_sha256([{"labels": each} for each in data.labels]).encode())
    return Belongs(recipe.as_dict(), digest.hexdigest(), module_sha256(student))


def _told_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
