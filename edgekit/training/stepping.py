"""One optimisation step and one validation, the same on one CPU, several GPUs or several machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.training.batches import Batch, Data, Indices, collated
from edgekit.training.identity import named_tensors
from edgekit.training.precision import resolved
from edgekit.training.processes import require_accelerate, state
from edgekit.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

Objective = Callable[["torch.nn.Module", Batch], "torch.Tensor"]
"""The mean loss of a batch. One that is a torch module itself has its trainable parameters trained along (a learned
projection), and kept in checkpoints.
"""

_MOMENTS = {"exp_avg": "moment1", "exp_avg_sq": "moment2", "step": "steps"}


class Engine:
    """A student, its objective and AdamW, spread over the processes there are."""

    def __init__(self, student: torch.nn.Module, objective: Objective, data: Data, recipe: Recipe) -> None:
        accelerate = require_accelerate()
        here = state()
        self.precision = resolved(recipe.precision, here.device.type)
        self._data, self._recipe = data, recipe
        self._student = student
        self._was_on, self._was_training = next(student.parameters()).device, student.training
        self._together = _together(student, objective)
        self._names = {id(each): name for name, each in self._together.named_parameters()}
        self._optimizer = _adamw(self._together, recipe)
        accelerate.state.AcceleratorState._reset_state()  # of an earlier run in this process, at another precision
        unused = accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)
        mixed = {"fp32": "no"}.get(self.precision, self.precision)
        self._accelerator = accelerate.Accelerator(mixed_precision=mixed, kwargs_handlers=[unused])
        self._accelerator.gradient_accumulation_steps = 1  # a launcher's setting would scale the loss
        self._wrapped, self._stepper = self._accelerator.prepare(self._together, self._optimizer)

    @property
    def processes(self) -> int:
        return int(self._accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        return bool(self._accelerator.is_main_process)

    def step(self, indices: Indices, number: int, rate: float) -> tuple[float, float]:
        """(the loss before this step, the gradient's length before it was clipped), the same on every process.

        Nothing is changed where either is no finite number, but for float16, which then halves its scale.
        """
        self._learn(number)
        batch, weight = self._share(indices)
        loss = self._wrapped(batch)
        total, mean = self._mean(loss, weight)
        if not math.isfinite(mean):
            return mean, math.nan
        if self.processes > 1:  # the processes' gradients are averaged: each is weighed by its part of the batch
            loss = loss * (weight * self.processes / total if total else 0.0)
        self._accelerator.backward(loss)
        parameters = [each for group in self._optimizer.param_groups for each in group["params"]]
        norm = float(self._accelerator.clip_grad_norm_(parameters, self._recipe.clip_norm))
        if math.isfinite(norm) or self.precision == "fp16":
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group["share"]
            self._stepper.step()
        self._optimizer.zero_grad(set_to_none=True)
        return mean, 0.0 if self.precision == "fp16" else norm

    def validate(self, plan: Sequence[Indices]) -> float:
        """The mean loss over these batches, in evaluation mode."""
        import torch

        self._together.eval()
        sums = [0.0, 0.0]
        with torch.no_grad():
            for number, indices in enumerate(plan):
                torch.manual_seed(_draw(self._recipe.seed, 3, number))
                batch, weight = self._share(indices)
                loss = float(self._together(batch))
                sums[0] += weight * loss if weight else 0.0
                sums[1] += weight
        loss_sum, weight_sum = self._summed(sums)
        return loss_sum / weight_sum if weight_sum else 0.0

    def tensors(self) -> dict[str, torch.Tensor]:
        """The student's parameters and buffers ("student.x"), and the objective's trained ones ("objective.x")."""
        found = {f"student.{name}": each for name, each in named_tensors(self._student).items()}
        own = {id(each) for each in found.values()}
        return found | {
            name: each for name, each in self._together.named_parameters() if each.requires_grad and id(each) not in own
        }

    def moments(self) -> dict[str, torch.Tensor]:
        """AdamW's moments by parameter, and how often each was stepped; of those that ever had a gradient."""
        found = {}
        for parameter, kept in self._optimizer.state.items():
            for key, prefix in _MOMENTS.items():
                found[f"{prefix}.{self._names[id(parameter)]}"] = kept[key]
        return found

    def put_back(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Into the parameters and buffers in place."""
        import torch

        with torch.no_grad():
            for name, each in self.tensors().items():
                each.copy_(tensors[name])

    def put_back_moments(self, moments: Mapping[str, torch.Tensor]) -> None:
        self._optimizer.state.clear()
        for parameter in (each for group in self._optimizer.param_groups for each in group["params"]):
            name = self._names[id(parameter)]
            if f"moment1.{name}" not in moments:
                continue
            # AdamW reads how often it stepped on the CPU: on a GPU it would wait for it.
            kept = {key: moments[f"{prefix}.{name}"].to(parameter.device) for key, prefix in _MOMENTS.items()}
            kept["step"] = kept["step"].cpu()
            self._optimizer.state[parameter] = kept

    def scaler(self) -> dict[str, Any] | None:
        """float16's scale of the loss, None at other precisions."""
        scaler = self._accelerator.scaler
        return None if scaler is None else dict(scaler.state_dict())

    def put_back_scaler(self, kept: Mapping[str, Any] | None) -> None:
        if kept and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(dict(kept))

    def release(self) -> None:
        """Leave the student where it was, in the mode it was in."""
        self._student.to(self._was_on)
        self._student.train(self._was_training)
        self._accelerator.free_memory()

    def _learn(self, number: int) -> None:
        import torch

        self._together.train(self._recipe.dropout)
        # By the step's number, not continued: a resumed run draws what an uninterrupted one does.
        torch.manual_seed(_draw(self._recipe.seed, 2, number, self._accelerator.process_index))

    def _share(self, indices: Indices) -> tuple[Batch, float]:
        """This process's part of a batch, and its weight; one without a part answers some example, for nothing."""
        mine = indices[self._accelerator.process_index :: self.processes]
        batch = collated(self._data.examples, mine if len(mine) else indices[:1], self._data.pad, self._data.labels)
        weight = self._data.weight(batch) if len(mine) else 0.0
        return batch.to(self._accelerator.device), weight

    def _mean(self, loss: torch.Tensor, weight: float) -> tuple[float, float]:
        """(weight over all processes, mean loss over them)."""
        alone = float(loss.detach())
        if self.processes == 1:
            return weight, alone
        total, summed = self._summed([weight, weight * alone if weight else 0.0])
        return total, summed / total if total else 0.0

    def _summed(self, values: list[float]) -> list[float]:
        if self.processes == 1:
            return values
        import torch

        tensor = torch.tensor(values, dtype=torch.float64, device=self._accelerator.device)
        return [float(each) for each in self._accelerator.reduce(tensor, reduction="sum")]


def _together(student: torch.nn.Module, objective: Objective) -> torch.nn.Module:
    """Student and objective as one module from batch to loss, which is what is spread over processes."""
    import torch

    class Together(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = student
            self.objective = objective  # registered where it is a module

        def forward(self, batch: Batch) -> torch.Tensor:
            return self.objective(self.student, batch)

    return Together()


def _adamw(together: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Norms and biases (fewer than two axes) are not decayed, and have the share of the rate that the recipe says."""
    import torch

    trained = [each for each in together.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim >= 2], "weight_decay": recipe.weight_decay, "share": 1.0},
        {"params": [each for each in trained if each.ndim < 2], "weight_decay": 0.0, "share": recipe.vector_rate},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate)


def _draw(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def deterministic(device: Any) -> Iterator[None]:
    """The process's own random state is left as it was found; kernels whose order varies are avoided where possible."""
    import os
    import warnings

    import torch

    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            memory.fill_uninitialized_memory = filled
