"""Which student is tried: the one that keeps the most of the source and is estimated to hold every limit.

A student is trained once, which is dear, so that it has to fit with room to spare: bytes hold at the pessimistic end of
their estimates, times in their middle. Estimates are those of the student's own shape, for each way of packing it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.costs import Setting
from edgekit.errors import BadInput, NoStudentFits, UnsupportedModel, UsageError
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel, StudentSpec, Training
from edgekit.planner.holding import Held, held_limits
from edgekit.report import show
from edgekit.rules.traits import is_aggressive, is_quantized, task_engine
from edgekit.strategies import STRATEGIES, Candidate, load
from edgekit.students.families import family_of
from edgekit.students.shape import shape_of

DISTILL = "distill"
_WIDTH_STEP = 64
_LEAST_WIDTH = 128
# Half and a third of the layers is what distilled encoders and decoders were published with.
_LEAST_DEPTH_SHARE = 1 / 3
# A wrapper, goldens, the report with its curves: about 200 kB.
_BESIDE_BYTES = 256 * 2**10


def fitting_spec(model: SourceModel, setting: Setting, limits: Limits, preferences: Preferences) -> StudentSpec:
    """The shape that keeps the source's width as far as it can, then as many layers; never the source's own. Where the
    source itself holds the limits, it has half the layers: one less would gain nothing.

    Raises NoStudentFits, which tells what the smallest comes to, where nothing down to a third of the depth and 128
    wide holds the limits; UnsupportedModel where no student of the source can be made or packed.
    """
    sized = _Sizing(model, setting, limits, preferences)
    widths = _widths(model)
    for hidden, depths in widths:
        shapes = [_spec(model, layers, hidden) for layers in depths]
        if not shapes or not sized.holds(shapes[-1]):
            continue
        low, high = 0, len(shapes) - 1  # the shallowest holds: the first that does
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if sized.holds(shapes[middle]) else (middle + 1, high)
        if hidden == widths[0][0] and low == 0 and sized.source_holds():
            return _spec(model, max(1, (depths[0] + 1) // 2), hidden)
        return shapes[low]
    raise sized.refusal([_spec(model, depths[-1], hidden) for hidden, depths in widths if depths])


def student_that_fits(
    model: SourceModel, setting: Setting, limits: Limits, preferences: Preferences
) -> Candidate | None:
    """What would be planned if there were rows to train a student of `model` on, in its finest form that is expected to
    hold every limit. None where the source itself holds them, and where no student does or can be made.
    """
    asked = replace(model, training=Training(origin="rows"))
    sized = _Sizing(asked, setting, limits, preferences)
    if sized.source_holds():
        return None
    try:
        spec = fitting_spec(asked, setting, limits, preferences)
    except (BadInput, NoStudentFits):
        return None
    return max(sized.holding(spec), key=lambda each: (each.disk_bytes.mid, each.label))


@dataclass(frozen=True)
class _Sizing:
    model: SourceModel
    setting: Setting
    limits: Limits
    preferences: Preferences

    def holds(self, spec: StudentSpec) -> bool:
        """Whether some quantized form of the student is expected to hold every limit."""
        return bool(self.holding(spec))

    def holding(self, spec: StudentSpec) -> list[Candidate]:
        """The quantized forms of the student that are expected to hold every limit."""
        return [each for each in self._packed(spec) if not self._over(each)]

    def source_holds(self) -> bool:
        """Whether the source itself needs no smaller one."""
        source = replace(self.model, training=None)
        offers = [offer for name in STRATEGIES for offer in load(name).propose(source, self.setting)]
        return any(isinstance(each, Candidate) and is_quantized(each) and not self._over(each) for each in offers)

    def refusal(self, smallest: Sequence[StudentSpec]) -> NoStudentFits | UnsupportedModel:
        """By what the smallest student that can be made misses; `smallest` are the shallowest of each width."""
        for spec in reversed(smallest):
            offers = self._packed(spec)
            if not offers:
                continue
            nearest = min(offers, key=lambda each: (max(map(_overshoot, self._over(each))), each.disk_bytes.high))
            told = "; ".join(
                f"{held.name} of an estimated {show(_expected(held), held.unit)} against {show(held.limit, held.unit)}"
                for held in self._over(nearest)
            )
            return NoStudentFits(
                f"no student of {self.model.name} fits {self.setting.device.title}: the smallest, {nearest.student}, as"
                f" {packed_as(nearest)}: {told}",
                "choose a larger device, loosen that limit, or start from a smaller model",
            )
        return UnsupportedModel(f"no student of {self.model.name} can be packed", "see edgekit plan --strategy distill")

    def _packed(self, spec: StudentSpec) -> list[Candidate]:
        """Quantized forms of enough bits, for the task's engine if there are any; empty where the shape cannot be made
        or packed.
        """
        assert self.model.training is not None
        asked = replace(self.model, training=replace(self.model.training, student=spec))
        try:
            offers = list(load(DISTILL).propose(asked, self.setting))
        except (BadInput, UsageError):  # heads that do not divide
            return []
        quantized = [
            each
            for each in offers
            if isinstance(each, Candidate)
            and is_quantized(each)
            and not is_aggressive(each, self.model, self.preferences)
        ]
        engine = task_engine(self.model.task)
        return [each for each in quantized if each.engine == engine] or quantized

    def _over(self, candidate: Candidate) -> list[Held]:
        held = (self._whole(each) for each in held_limits(candidate, self.setting, self.limits))
        return [each for each in held if _overshoot(each) > 0]

    def _whole(self, held: Held) -> Held:
        """The limit on disk is on the bundle, the estimate of its model file: with room for what stands beside it."""
        if held.name != "disk":
            return held
        text = self.model.text
        tokenizer = text.tokenizer_json.stat().st_size if text is not None and text.tokenizer_json is not None else 0
        beside, size = _BESIDE_BYTES + tokenizer, held.estimate
        return replace(held, estimate=replace(size, low=size.low + beside, high=size.high + beside))


def packed_as(student: Candidate) -> str:
    """What a student is packed as, with its shape: "onnx-int8 layers=3"."""
    return student.label.removeprefix(DISTILL).strip()


def _expected(held: Held) -> float:
    """The end of the estimate that has to hold: times are known less well than bytes, and are measured in the end."""
    return held.pessimistic if held.unit == "bytes" else held.estimate.mid


def _overshoot(held: Held) -> float:
    over = _expected(held) - held.limit if held.bound == "max" else held.limit - _expected(held)
    return over / max(abs(held.limit), 1e-9)


def _widths(model: SourceModel) -> list[tuple[int, list[int]]]:
    """(hidden, layers from the most to the fewest), the widest first."""
    family = family_of(model.model_type)
    shape = shape_of(model.config, family)
    step = _WIDTH_STEP if family.has_free_heads else math.lcm(_WIDTH_STEP, shape.head_size)
    narrower = range((shape.hidden - 1) // step * step, _LEAST_WIDTH - 1, -step)
    fewest = max(1, math.ceil(shape.layers * _LEAST_DEPTH_SHARE))
    return [
        (hidden, list(range(shape.layers - (hidden == shape.hidden), fewest - 1, -1)))
        for hidden in (shape.hidden, *narrower)
    ]


def _spec(model: SourceModel, layers: int, hidden: int) -> StudentSpec:
    """Without a width where that is the source's, so that no head is ever scored for nothing."""
    own = shape_of(model.config, family_of(model.model_type)).hidden
    return StudentSpec(layers=layers, hidden=None if hidden == own else hidden)
