"""Where a run stands, on disk: tensors as safetensors, the rest as JSON, put in place by one rename."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadModel, UsageError
from edgekit.output import writing
from edgekit.training.recipe import Point

if TYPE_CHECKING:
    import torch

_FORMAT = 1
_MOST_JSON_BYTES = 64 * 2**20
_TENSORS, _ABOUT = "state.safetensors", "state.json"
_LAST = "last"
_RATE = "learning_rate"


@dataclass(frozen=True)
class Belongs:
    """What a checkpoint can be continued with: the same recipe, data and model it was begun with."""

    recipe: Mapping[str, Any]
    data: str
    model: str


@dataclass
class Standing:
    """Where a run stands after a validation. `waited` counts validations since the best one."""

    steps: int
    every: int
    by_budget: bool
    step: int
    best_step: int
    best_loss: float
    waited: int
    curve: list[Point]
    threads: int
    processes: int
    scaler: dict[str, Any] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """`weights`, `best` and `moments` are as Engine gives them. `slowed_from` is the learning rate it was saved under,
    where it is continued with a lower one.
    """

    standing: Standing
    weights: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    moments: Mapping[str, torch.Tensor]
    slowed_from: float | None = None


def save(folder: Path, belongs: Belongs, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `folder` in one step. NoSpace, OutputUnwritable or OutputBusy leave the last one."""
    from safetensors.torch import save_file

    parts = {"weights": checkpoint.weights, "best": checkpoint.best, "moments": checkpoint.moments}
    tensors = {
        f"{part}/{name}": each.detach().cpu().contiguous().clone()
        for part, found in parts.items()
        for name, each in found.items()
    }
    about = {"format": _FORMAT, "belongs": asdict(belongs), "standing": asdict(checkpoint.standing)}
    need_bytes = sum(each.numel() * each.element_size() for each in tensors.values())
    with writing(folder / _LAST, force=True, need_bytes=need_bytes, replaceable=lambda _: None) as output:
        made = output.work / "checkpoint"
        made.mkdir()
        save_file(tensors, made / _TENSORS)
        (made / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        output.commit(made)


def load(folder: Path, belongs: Belongs, like: Mapping[str, torch.Tensor]) -> Checkpoint | None:
    """The checkpoint in `folder`, None where there is none yet.

    UsageError where it belongs to another recipe, other data or another model, and says which, but for a learning rate
    that is lower now: that is how a diverged run goes on. BadModel where it cannot be read. `like` gives the names and
    shapes of the weights.
    """
    where = folder / _LAST
    if folder.is_dir() and not where.exists():
        with writing(where, force=True, replaceable=lambda _: None):
            pass  # puts back what a killed run had set aside
    if not where.is_dir():
        return None
    about = _about(where / _ABOUT)
    slowed_from = _check_belongs(where, about, belongs)
    parts = _tensors(where / _TENSORS)
    for part in ("weights", "best"):
        found = {name: (each.shape, each.dtype) for name, each in parts[part].items()}
        if found != {name: (each.shape, each.dtype) for name, each in like.items()}:
            raise _unreadable(where, f"its {part} are not this student's")
    _check_moments(where, parts["moments"], like)
    return Checkpoint(_standing(where, about), parts["weights"], parts["best"], parts["moments"], slowed_from)


def _about(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise _unreadable(path.parent, f"{path.name} has {path.stat().st_size} bytes")
        about = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path.parent, str(error)) from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT or not isinstance(about.get("belongs"), dict):
        raise _unreadable(path.parent, f"{path.name} is not of format {_FORMAT}")
    return about


def _check_belongs(where: Path, about: Mapping[str, Any], belongs: Belongs) -> float | None:
    """The learning rate that it was saved under, if it is above this recipe's."""
    theirs = about["belongs"]
    remedy = "give the flags it was begun with, or --force in place of --resume to start anew"
    if theirs.get("model") != belongs.model:
        raise UsageError(f"the checkpoint in {where} belongs to another model: its first weights differ", remedy)
    if theirs.get("data") != belongs.data:
        raise UsageError(f"the checkpoint in {where} belongs to other data: the examples or their split differ", remedy)
    recipe = theirs.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    before, now = recipe.get(_RATE), belongs.recipe.get(_RATE)
    slower = isinstance(before, float) and isinstance(now, float) and now < before
    for name, value in belongs.recipe.items():
        if recipe.get(name) != value and not (slower and name == _RATE):
            told = f"{name} was {recipe.get(name)!r} and is {value!r}"
            raise UsageError(f"the checkpoint in {where} belongs to another recipe: {told}", remedy)
    return before if slower else None


def _standing(where: Path, about: Mapping[str, Any]) -> Standing:
    try:
        kept = dict(about["standing"])
        kept["curve"] = [Point(**point) for point in kept["curve"]]
        standing = Standing(**kept)
        losses = [
            value for point in standing.curve for value in (point.train_loss, point.validation_loss, point.seconds)
        ]
        sound = (
            0 <= standing.best_step <= standing.step <= standing.steps
            and standing.every > 0 <= standing.waited
            and standing.curve[-1].step == standing.step
            and any(point.step == standing.best_step for point in standing.curve)
            and all(math.isfinite(value) for value in (*losses, standing.best_loss))
        )
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise _unreadable(where, f"{_ABOUT}: {error}") from error
    if not sound:
        raise _unreadable(where, f"{_ABOUT} contradicts itself")
    return standing


def _check_moments(where: Path, moments: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor]) -> None:
    """Each trained parameter has both moments, of its shape, and a number of steps; or none of them."""
    names = {name.partition(".")[2] for name in moments}
    whole = {f"{prefix}.{name}" for name in names for prefix in ("moment1", "moment2", "steps")}
    if whole != set(moments) or not names <= set(like):
        raise _unreadable(where, "its moments are not those of this student")
    for prefix_and_name, each in moments.items():
        prefix, _, name = prefix_and_name.partition(".")
        if tuple(each.shape) != (() if prefix == "steps" else tuple(like[name].shape)):
            raise _unreadable(where, f"the shape of {prefix_and_name} is not that of the parameter")


def _tensors(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "best": {}, "moments": {}}
    try:
        for name, each in load_file(path).items():
            part, _, own = name.partition("/")
            parts[part][own] = each
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unreadable(path.parent, str(error)) from error
    return parts


def _unreadable(where: Path, why: str) -> BadModel:
    return BadModel(f"the checkpoint in {where} cannot be read: {why}", "leave --resume out to start anew")
