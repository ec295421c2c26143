"""What a person should know of a curve."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.training.recipe import Point, Recipe, Stopped

_RISE = 1.02
"""Validation losses above the best by less than this are taken for noise."""

_GAP = 1.5
_STILL_FALLING = 0.02


def curve_remarks(curve: Sequence[Point], best_step: int, stopped: Stopped, steps_per_epoch: int = 0) -> list[str]:
    """Over-fitting, no gain at all, a curve that still falls: each with the figures it was read from. Nothing is
    over-fitted before a row was seen twice.
    """
    best = next(point for point in curve if point.step == best_step)
    last = curve[-1]
    found = []
    seen_twice = last.step > steps_per_epoch
    if best_step == 0:
        found.append(
            f"training gained nothing: the validation loss was {best.validation_loss:.4g} before it and never lower; "
            "the weights are as they began"
        )
    elif seen_twice and last.validation_loss > _RISE * best.validation_loss and last.train_loss < best.train_loss:
        found.append(
            f"over-fitting after step {best_step}: the validation loss rose from {best.validation_loss:.4g} to "
            f"{last.validation_loss:.4g} while the training loss fell from {best.train_loss:.4g} to "
            f"{last.train_loss:.4g}; the weights of step {best_step} are kept, more data would help"
        )
    elif seen_twice and best.train_loss > 0 and best.validation_loss > _GAP * best.train_loss:
        found.append(
            f"over-fitting: at its best the validation loss is {best.validation_loss:.4g}, "
            f"{best.validation_loss / best.train_loss:.1f} times the training loss {best.train_loss:.4g}; "
            "more data would help"
        )
    since, fell = _fell(curve)
    if stopped == "budget" and best is last and fell > _STILL_FALLING:
        found.append(
            f"the validation loss fell by {100 * fell:.0f} % in the last {last.step - since} of {last.step} steps: "
            "a longer budget may help"
        )
    return found


def _fell(curve: Sequence[Point]) -> tuple[int, float]:
    """(since which step, the share by which the validation loss fell since): of the last quarter of the steps, or of as
    many more as it takes to the validation before.
    """
    last = curve[-1]
    before = [point for point in curve if point.step <= 0.75 * last.step][-1]
    return before.step, 1 - last.validation_loss / before.validation_loss if before.validation_loss > 0 else 0.0


def budget_remarks(recipe: Recipe, steps: int, steps_per_epoch: int, seconds: float) -> list[str]:
    if recipe.budget_s is None:
        return []
    found = [
        f"a budget of {recipe.budget_s:.0f} s came to {steps} step{'' if steps == 1 else 's'} by the time of the first "
        f"ones; "
        f"{seconds:.0f} s were taken"
    ]
    if steps < steps_per_epoch:
        share = 100 * steps / steps_per_epoch
        found.append(f"these steps saw {share:.0f} % of the rows to train on: a longer budget has more to learn from")
    return found
