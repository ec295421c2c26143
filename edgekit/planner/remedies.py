"""What would have to change for a candidate that breaks a limit. "Fits" means that the whole interval does."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from edgekit.costs import Estimate, Setting
from edgekit.costs.roofline import memory
from edgekit.model import SourceModel
from edgekit.planner.holding import Held, counted_bytes, is_unknown
from edgekit.planner.values import Sibling
from edgekit.report import show
from edgekit.strategies import Candidate

CONTEXT_STEP = 128
_MOST_TOLD = 2


def remedy(
    candidate: Candidate,
    missed: Sequence[Held],
    model: SourceModel,
    setting: Setting,
    siblings: Sequence[Sibling],
    kept: Sequence[Candidate],
    doubted: Collection[str],
) -> str:
    """Up to two changes, the smallest first; never empty. Each is enough: where several limits are `missed`, a change
    to one of them is not told alone. `doubted` are labels of those kept that may miss.
    """
    held, alone = missed[0], len(missed) == 1
    told: list[str] = []
    if held.name == "RAM" and alone:
        told += _less_context(candidate, held, model, setting)
        if held.from_device:
            told += _entitled(held, setting)
            told += larger_device(held, siblings)
    fewer = [each for each in kept if each.faithfulness < candidate.faithfulness]
    if fewer:
        best = max(fewer, key=lambda each: each.faithfulness)
        unknown = f", of unknown {held.name}," if is_unknown(best, held.name) else ""
        told.append(f"{best.label}{unknown} {'may fit' if best.label in doubted else 'fits'}")
    if not (held.from_device and alone):
        told.append(f"{' and '.join(map(_raised, missed))} would allow it")
    if not told:
        share = held.limit / held.optimistic
        told.append(f"{_raised(held)}, or a model {share:.0%} of this size")
    return ", or ".join(told[:_MOST_TOLD])


def fitting_context(candidate: Candidate, held: Held, model: SourceModel, setting: Setting) -> tuple[int, bool] | None:
    """(the largest multiple of 128 tokens at which the candidate's memory fits, whether its whole interval does)."""
    tokens = cached_tokens(model, setting)
    if not candidate.kv_bytes:
        return None
    for sure in (True, False):

        def fits(steps: int, sure: bool = sure) -> bool:
            needed = _at_context(candidate, steps * CONTEXT_STEP / tokens, setting)
            return (needed.high if sure else needed.low) <= held.limit

        steps = _last(fits, (tokens - 1) // CONTEXT_STEP)
        if steps:
            return steps * CONTEXT_STEP, sure
    return None


def cached_tokens(model: SourceModel, setting: Setting) -> int:
    """Tokens that the KV cache is sized for: those asked, as far as the model and its tokenizer take so many."""
    positions = model.config.get("max_position_embeddings")
    known = [positions] if isinstance(positions, int) and positions > 0 else []
    known += [] if model.text is None else [model.text.max_tokens]
    return max(1, min([setting.context_tokens, *known]))


def _last(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits, 0 if none does; what fits, fits with less too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _at_context(candidate: Candidate, share: float, setting: Setting) -> Estimate:
    """What counts against RAM with the KV cache at `share` of its size, by the same arithmetic as the estimate."""
    if candidate.work is None or candidate.memory is None:
        saved = candidate.kv_bytes * (1 - share)
        counted = counted_bytes(candidate, setting.device)
        return replace(counted, low=counted.low - saved, high=counted.high - saved)
    terms = [replace(term, bytes=term.bytes * share) if term.part == "kv" else term for term in candidate.work.memory]
    needed = memory(terms, candidate.engine, setting)
    return counted_bytes(replace(candidate, memory=needed, ram_bytes=needed.peak), setting.device)


def _less_context(candidate: Candidate, held: Held, model: SourceModel, setting: Setting) -> list[str]:
    found = fitting_context(candidate, held, model, setting)
    if found is None:
        return []
    tokens, sure = found
    return [f"{'fits' if sure else 'may fit'} with --context {tokens}"]


def _entitled(held: Held, setting: Setting) -> list[str]:
    """iOS and Android let some apps use more, by an entry in the app's own manifest."""
    entitled = setting.device.ram.app_entitled_bytes.value
    if entitled is None or entitled < held.pessimistic:
        return []
    return [f"fits the {show(entitled, 'bytes')} of an app entitled to more memory"]


def larger_device(held: Held, siblings: Sequence[Sibling]) -> list[str]:
    for verb, needed in (("fits", held.pessimistic), ("may fit", held.optimistic)):
        for sibling in siblings:
            if sibling.app_bytes is not None and sibling.app_bytes >= needed:
                return [f"{verb} the {sibling.title}"]
    return []


def _raised(held: Held) -> str:
    if not held.from_device:
        return f"{held.flag} {_flag_value(held)}"
    return f"{show(held.pessimistic, held.unit)} {'of memory' if held.name == 'whole RAM' else 'for an app'}"


def _flag_value(held: Held) -> str:
    """The pessimistic end, rounded to two or three digits on the side that holds."""
    value = held.pessimistic
    if held.unit == "bytes":
        scale, unit = (10**6, "MB") if value >= 10**6 else (10**3, "KB")
        return f"{math.ceil(value / scale)}{unit}"
    step = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    rounded = math.ceil(value / step) * step if held.bound == "max" else math.floor(value / step) * step
    return f"{rounded:.12g}"
