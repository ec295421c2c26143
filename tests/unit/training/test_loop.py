from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import training

from edgekit.errors import Diverged, MissingEngine, NoData, UsageError
from edgekit.training.batches import Batch
from edgekit.training.loop import Recipe, train

pytestmark = pytest.mark.engines

RECIPE = Recipe(learning_rate=1e-2, batch_size=16, epochs=6, dropout=True)
"""54 steps, a validation after every fifth."""


class Stop(KeyboardInterrupt):
    pass


class Noted:
    """Progress that keeps the titles."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.totals: list[float | None] = []
        self.done = 0.0

    def step(self, title: str, total: float | None = None) -> None:
        self.titles.append(title)
        self.totals.append(total)

    def advance(self, done: float) -> None:
        self.done += done


def until(calls: int, fault: Callable[[Any], Any]) -> Callable[[Any, Batch], Any]:
    """`squares`, but for `fault` of its loss in the given call under gradients."""
    import torch

    seen = 0

    def objective(module: Any, batch: Batch) -> Any:
        nonlocal seen
        loss = training.squares(module, batch)
        seen += torch.is_grad_enabled()
        return fault(loss) if seen == calls and torch.is_grad_enabled() else loss

    return objective


def interrupted(loss: Any) -> Any:
    raise Stop


def test_the_loss_falls_and_the_best_weights_stay() -> None:
    import torch

    student = training.student()
    found = train(student, training.squares, training.data(), RECIPE)
    assert found.curve[0].step == 0
    assert found.best_loss < 0.5 * found.curve[0].validation_loss
    assert found.best_loss == min(point.validation_loss for point in found.curve)
    assert found.steps == 54
    assert found.stopped == "completed"
    assert [point.step for point in found.curve] == [*range(0, 51, 5), 54]
    data = training.data()
    inputs = torch.tensor(np.stack([data.examples[index]["x"] for index in data.validation]))
    with torch.no_grad():
        now = float(training.squares(student, Batch({"x": inputs}, data.validation)))
    assert now == pytest.approx(found.best_loss, rel=1e-5)
    assert not student.training


def test_the_same_run_twice_gives_the_same_weights_and_another_seed_others() -> None:
    runs = []
    for seed in (0, 0, 1):
        student = training.student()
        found = train(student, training.squares, training.data(), replace(RECIPE, seed=seed))
        runs.append((student, [(point.step, point.train_loss, point.validation_loss) for point in found.curve]))
    assert training.same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not training.same(runs[0][0], runs[2][0])


def test_the_processs_own_random_numbers_are_left_alone() -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    student = training.student()
    torch.manual_seed(7)
    train(student, training.squares, training.data(), replace(RECIPE, steps=4))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("stop_at", [1, 4, 20, 54])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, stop_at: int, precision: str) -> None:
    from edgekit.training.precision import cpu_has_bfloat16

    if precision == "bf16" and not cpu_has_bfloat16():
        pytest.skip("this CPU does not compute in bfloat16")
    recipe = replace(RECIPE, precision=precision)  # type: ignore[arg-type]
    whole = training.student()
    expected = train(whole, training.squares, training.data(), recipe)
    with pytest.raises(Stop):
        train(
            training.student(),
            until(stop_at, interrupted),
            training.data(),
            recipe,
            checkpoints=tmp_path / "c",
        )
    resumed = training.student()
    found = train(resumed, training.squares, training.data(), recipe, checkpoints=tmp_path / "c", resume=True)
    assert training.same(whole, resumed)
    told = [[replace(point, seconds=0) for point in each.curve] for each in (found, expected)]
    assert told[0] == told[1]
    assert found.remarks[0].startswith("continued from the checkpoint of step ")
    assert found.seconds >= found.curve[-1].seconds


def test_a_finished_run_resumed_only_puts_its_best_weights_back(tmp_path: Path) -> None:
    first, again = training.student(), training.student()
    train(first, training.squares, training.data(), RECIPE, checkpoints=tmp_path / "c")
    never = until(1, interrupted)
    found = train(again, never, training.data(), RECIPE, checkpoints=tmp_path / "c", resume=True)
    assert training.same(first, again)
    assert found.steps == 54


def test_without_a_checkpoint_yet_resuming_begins(tmp_path: Path) -> None:
    found = train(
        training.student(),
        training.squares,
        training.data(),
        replace(RECIPE, steps=4),
        checkpoints=tmp_path / "c",
        resume=True,
    )
    assert found.steps == 4
    assert not [remark for remark in found.remarks if "continued" in remark]


def test_an_objectives_own_parameters_learn_and_are_resumed(tmp_path: Path) -> None:
    whole, objective = training.student(), training.projected()
    train(whole, objective, training.data(), RECIPE)
    assert not training.same(objective, training.projected())

    class Interrupted(type(objective)):  # type: ignore[misc]
        calls = 0

        def forward(self, module: Any, batch: Batch) -> Any:
            type(self).calls += module[0].weight.requires_grad
            if type(self).calls == 40:
                raise Stop
            return super().forward(module, batch)

    broken = training.projected()
    broken.__class__ = Interrupted
    with pytest.raises(Stop):
        train(training.student(), broken, training.data(), RECIPE, checkpoints=tmp_path / "c")
    resumed, fresh = training.student(), training.projected()
    train(resumed, fresh, training.data(), RECIPE, checkpoints=tmp_path / "c", resume=True)
    assert training.same(whole, resumed)
    assert training.same(objective, fresh)


def test_early_stopping_keeps_the_best_weights() -> None:
    """At a rate far too high nothing is learned for long: the patience ends it, and its best is what stays."""
    student = training.student()
    recipe = replace(RECIPE, learning_rate=0.3, epochs=60, patience=2)
    found = train(student, training.squares, training.data(), recipe)
    assert found.stopped == "patience"
    assert found.steps < 540
    after = [point for point in found.curve if point.step > found.best_step]
    assert len(after) == 2
    assert all(point.validation_loss >= found.best_loss for point in after)


def test_a_student_that_only_gets_worse_is_left_as_it_began() -> None:
    """The loss learned by is not the one validated by: what it began with is its best."""
    import torch

    def opposite(module: Any, batch: Batch) -> Any:
        loss = training.squares(module, batch)
        return -loss if torch.is_grad_enabled() else loss

    student = training.student()
    found = train(student, opposite, training.data(), replace(RECIPE, patience=3))
    assert found.best_step == 0
    assert training.same(student, training.student())
    assert found.remarks[0].startswith("training gained nothing")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_keeps_the_best(tmp_path: Path, bad: float) -> None:
    student, good = training.student(), training.student()
    recipe = replace(RECIPE, learning_rate=1e-3)
    objective = until(20, lambda loss: loss * bad)
    with pytest.raises(Diverged) as raised:
        train(student, objective, training.data(), recipe, checkpoints=tmp_path / "c")
    told = str(raised.value)
    assert told.startswith(f"training diverged at step 20 of 54: the loss is {bad}; the weights of step 15, validation")
    assert f"the checkpoint of step 15 stands in {tmp_path / 'c'}" in told
    assert "go on from there with a learning rate below 0.001 (--learning-rate) and --resume" in told
    train(good, training.squares, training.data(), recipe, checkpoints=tmp_path / "c", resume=True)
    whole = training.student()
    train(whole, training.squares, training.data(), recipe)
    assert training.same(good, whole)
    state = {name: each for name, each in student.state_dict().items() if each.is_floating_point()}
    assert all(bool(each.isfinite().all()) for each in state.values())


def test_a_diverged_run_goes_on_from_its_checkpoint_with_a_lower_rate(tmp_path: Path) -> None:
    student, folder = training.student(), tmp_path / "c"
    with pytest.raises(Diverged):
        train(student, until(20, lambda loss: loss * math.nan), training.data(), RECIPE, checkpoints=folder)
    slower = replace(RECIPE, learning_rate=RECIPE.learning_rate / 4)
    found = train(training.student(), training.squares, training.data(), slower, checkpoints=folder, resume=True)
    before, after = ([each for each in found.curve if (each.step > 15) == later] for later in (False, True))
    assert [each.step for each in before] == [0, 5, 10, 15]
    assert found.steps == 54
    assert max(each.learning_rate for each in after) <= slower.learning_rate < max(e.learning_rate for e in before)
    assert (
        f"a learning rate of {slower.learning_rate:g} from step 15 on, {RECIPE.learning_rate:g} before" in found.remarks
    )
    assert after[-1].validation_loss < before[-1].validation_loss


def test_a_gradient_that_is_no_number_stops_too() -> None:
    objective = until(5, lambda loss: loss + (loss - loss.detach()).clamp(min=0).sqrt())
    with pytest.raises(Diverged, match=r"at step 5 of 54: the gradient's length is (nan|inf)"):
        train(training.student(), objective, training.data(), RECIPE)


def test_a_student_that_is_no_number_from_the_start_is_refused() -> None:
    import torch

    student = training.student()
    with torch.no_grad():
        student[0].weight[0, 0] = math.nan
    with pytest.raises(Diverged, match="at step 1 of 54: the loss is nan; the student is as it began") as raised:
        train(student, training.squares, training.data(), RECIPE)
    assert "look at the model and the data" in str(raised.value)


def test_gradients_are_clipped() -> None:
    """A loss a million times larger moves plain AdamW hardly more, but its gradient is seen clipped to its limit."""
    import torch

    student = training.student()
    norms = []

    def objective(module: Any, batch: Batch) -> Any:
        return 1e6 * training.squares(module, batch)

    clip = torch.nn.utils.clip_grad_norm_

    def noting(parameters: Any, limit: float, **options: Any) -> Any:
        parameters = list(parameters)
        before = clip(parameters, limit, **options)
        norms.append((float(before), math.sqrt(sum(float(each.grad.square().sum()) for each in parameters))))
        return before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", noting)
        train(student, objective, training.data(), replace(RECIPE, steps=3, clip_norm=0.5))
    assert [before > 1e3 for before, _ in norms] == [True] * 3
    assert [after for _, after in norms] == [pytest.approx(0.5, rel=1e-3)] * 3


def test_norms_and_biases_do_not_decay() -> None:
    """Of a loss without a gradient only the decay is left: it shrinks matrices and nothing else."""
    import torch

    def flat(module: Any, batch: Batch) -> Any:
        return 0 * training.squares(module, batch) if torch.is_grad_enabled() else module[0].weight.abs().sum()

    before, student = training.student(), training.student()
    train(student, flat, training.data(), replace(RECIPE, steps=10, weight_decay=0.5, dropout=False))
    assert float(student[0].weight.detach().norm() / before[0].weight.detach().norm()) < 0.999
    assert torch.equal(student[0].bias, before[0].bias)
    assert torch.equal(student[1].weight, before[1].weight)


def test_frozen_parameters_stay() -> None:
    import torch

    student = training.student()
    student[0].weight.requires_grad_(False)
    train(student, training.squares, training.data(), replace(RECIPE, steps=6))
    assert torch.equal(student[0].weight, training.student()[0].weight)
    assert not torch.equal(student[4].weight, training.student()[4].weight)


def test_dropout_and_batch_statistics_are_drawn_only_where_asked_for() -> None:
    import torch

    student = training.student()
    train(student, training.squares, training.data(), replace(RECIPE, dropout=False, steps=6))
    assert torch.equal(student[1].running_mean, torch.zeros(16))
    train(student, training.squares, training.data(), replace(RECIPE, steps=6))
    assert not torch.equal(student[1].running_mean, torch.zeros(16))


class Clock:
    """A millisecond passes between any two looks at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1e-3
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.training import loop

    monkeypatch.setattr(loop, "time", Clock())


@pytest.mark.usefixtures("clock")
def test_a_budget_becomes_steps_once_and_is_kept(tmp_path: Path) -> None:
    """A step takes a millisecond, a validation of two batches two, of which there are at most 20."""
    recipe = replace(RECIPE, budget_s=0.2, epochs=10**6, patience=10**6)
    with pytest.raises(Stop):
        train(training.student(), until(60, interrupted), training.data(), recipe, checkpoints=tmp_path / "c")
    planned = json.loads((tmp_path / "c" / "last" / "state.json").read_text())["standing"]["steps"]
    assert 0.1 < 1e-3 * planned < 0.2
    resumed, whole = training.student(), training.student()
    found = train(resumed, training.squares, training.data(), recipe, checkpoints=tmp_path / "c", resume=True)
    assert (found.steps, found.stopped) == (planned, "budget")
    assert any(remark.startswith(f"a budget of 0 s came to {planned} steps") for remark in found.remarks)
    train(whole, training.squares, training.data(), replace(recipe, budget_s=None, steps=planned))
    assert training.same(whole, resumed)


@pytest.mark.usefixtures("clock")
def test_timing_the_first_steps_leaves_no_trace() -> None:
    timed, plain = training.student(), training.student()
    found = train(timed, training.squares, training.data(), replace(RECIPE, budget_s=0.1, patience=10**6))
    train(plain, training.squares, training.data(), replace(RECIPE, steps=found.steps, patience=10**6))
    assert found.steps > 10
    assert training.same(timed, plain)


def test_progress_tells_the_validation_loss_and_what_is_left() -> None:
    noted = Noted()
    found = train(training.student(), training.squares, training.data(), RECIPE, progress=noted)
    assert noted.done == sum(total or 0 for total in noted.totals) == 54
    first, second = noted.titles[0], noted.titles[1]
    loss = found.curve[0].validation_loss
    assert first == f"training, step 0 of 54, validation loss {loss:.4g} (best {loss:.4g} at step 0)"
    assert second.startswith(f"training, step {found.curve[1].step} of 54, validation loss ")
    assert second.endswith(" s left")


def test_nothing_to_train_on_or_to_stop_by_is_refused() -> None:
    data = training.data()
    with pytest.raises(NoData, match="0 examples to train on and 32 to stop by"):
        train(training.student(), training.squares, replace(data, train=data.train[:0]), RECIPE)
    with pytest.raises(NoData, match="and 0 to stop by"):
        train(training.student(), training.squares, replace(data, validation=data.train[:0]), RECIPE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learning_rate": 0.1}, r"another recipe: learning_rate was 0.01 and is 0.1"),
        ({"objective": "cosine"}, r"another recipe: objective was '' and is 'cosine'"),
        ({"budget_s": 60.0}, r"another recipe: budget_s was None and is 60.0"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    recipe = replace(RECIPE, steps=4)
    train(training.student(), training.squares, training.data(), recipe, checkpoints=tmp_path / "c")
    with pytest.raises(UsageError, match=told):
        train(
            training.student(),
            training.squares,
            training.data(),
            replace(recipe, **change),
            checkpoints=tmp_path / "c",
            resume=True,
        )


def test_a_checkpoint_of_other_data_or_another_model_is_refused(tmp_path: Path) -> None:
    recipe, folder = replace(RECIPE, steps=4), tmp_path / "c"
    train(training.student(), training.squares, training.data(), recipe, checkpoints=folder)
    data = training.data()
    for other in (
        training.data(seed=1),
        replace(data, train=data.train[1:]),
        replace(data, examples=data.examples[::-1]),
    ):
        with pytest.raises(UsageError, match="belongs to other data: the examples or their split differ"):
            train(training.student(), training.squares, other, recipe, checkpoints=folder, resume=True)
    with pytest.raises(UsageError, match="belongs to another model: its first weights differ"):
        train(training.student(2), training.squares, data, recipe, checkpoints=folder, resume=True)


def test_bfloat16_on_a_cpu_only_where_it_is_asked_for_and_there() -> None:
    from edgekit.training import precision

    assert precision.resolved("auto", "cpu") == "fp32"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "cpu_has_bfloat16", lambda: False)
        with pytest.raises(UsageError, match="this CPU has none of avx512_bf16"):
            precision.resolved("bf16", "cpu")
        patch.setattr(precision, "cpu_has_bfloat16", lambda: True)
        assert precision.resolved("bf16", "cpu") == "bf16"
    with pytest.raises(UsageError, match="fp16: cpu has no fast arithmetic"):
        precision.resolved("fp16", "cpu")


def test_a_transformers_model_with_tied_weights_is_resumed(tmp_path: Path) -> None:
    import torch
    import transformers

    def made() -> Any:
        config = transformers.Qwen2Config(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
        )
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return transformers.Qwen2ForCausalLM(config).eval()

    rng = np.random.default_rng(0)
    examples = []
    for _ in range(160):
        ids = (rng.integers(1, 50) + np.arange(rng.integers(2, 9))).astype(np.int32)  # each token tells the next
        examples.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    from edgekit.training.batches import Data, predicted_tokens, split
    from edgekit.training.losses import next_token_loss

    parts = split(160, 0)
    data = Data(examples, parts.train, parts.validation, weight=predicted_tokens)
    calls = 0

    def objective(module: Any, batch: Batch) -> Any:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise Stop
        logits = module(**batch.inputs, use_cache=False).logits
        return next_token_loss(logits, batch.inputs["input_ids"], batch.inputs["attention_mask"])

    recipe = Recipe(learning_rate=1e-2, batch_size=8, epochs=2)
    with pytest.raises(Stop):
        train(made(), objective, data, recipe, checkpoints=tmp_path / "c")
    resumed, whole = made(), made()
    train(resumed, objective, data, recipe, checkpoints=tmp_path / "c", resume=True)
    found = train(whole, objective, data, recipe)
    assert training.same(whole, resumed)
    assert resumed.lm_head.weight is resumed.model.embed_tokens.weight
    assert found.best_loss < found.curve[0].validation_loss


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_cuts_the_model_into_parts_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UsageError, match=f"shares out examples, and {name} would cut the model into parts"):
        train(training.student(), training.squares, training.data(), RECIPE)


def test_a_launchers_gradient_accumulation_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, launched = training.student(), training.student()
    train(plain, training.squares, training.data(), replace(RECIPE, steps=3))
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    train(launched, training.squares, training.data(), replace(RECIPE, steps=3))
    assert training.same(plain, launched)


def test_without_accelerate_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingEngine, match="training needs torch and accelerate - pip install"):
        train(training.student(), training.squares, training.data(), RECIPE)


def test_norms_and_biases_may_learn_at_a_rate_of_their_own() -> None:
    """AdamW's first step is the rate itself, whatever the gradient's size."""
    before, student = training.student(), training.student()
    recipe = replace(RECIPE, learning_rate=1e-4, vector_rate=50.0, steps=1, warmup_share=0.0, weight_decay=0.0)
    train(student, lambda module, batch: -_total(module), training.data(), recipe)
    moved = [
        (one - other).detach().abs().max() for one, other in zip(student.parameters(), before.parameters(), strict=True)
    ]
    expected = [1e-4 if each.ndim > 1 else 5e-3 for each in before.parameters()]
    assert [float(each) for each in moved] == [pytest.approx(each, rel=0.01) for each in expected]


def _total(module: Any) -> Any:
    return sum(each.sum() for each in module.parameters())
