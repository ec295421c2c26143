"""Strategies: methods of making a source model deployable. Adding one is a module and a row in STRATEGIES.

A strategy is a module that satisfies `Strategy`. `propose` is pure and reads headers only; `make` writes files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from edgekit.costs import TIMED_TOKENS, Estimate, MemoryEstimate, Phase, Setting, Work
from edgekit.costs.roofline import memory, seconds

if TYPE_CHECKING:
    from edgekit.device import DeviceProfile
    from edgekit.model import SourceModel
    from edgekit.progress import Progress
    from edgekit.report import TrainingRecord

FP32_BITS = 32.0
"""`faithfulness` of an unquantized model."""

Engine = Literal["onnxruntime", "llama.cpp"]


@dataclass(frozen=True)
class Candidate:
    """A strategy with its options and what they are expected to cost on the device.

    `faithfulness` orders candidates of one model: expected bits kept per weight, 32 for fp32.
    An estimate without grounds is None, which prints as "unknown". `min_isa` is as in Artifact; empty asks nothing.
    `ram_bytes` is the peak of `memory`. `latency_ms` is at the length that is timed, `latency_at` at each asked length
    (encoders) and `ttft_at` the time to the first token after a prompt of each asked length (decoders). `student` tells
    in words the smaller model that it is made of; it is empty where that is the source itself.
    """

    strategy: str
    engine: Engine
    options: Mapping[str, str]
    faithfulness: float
    disk_bytes: Estimate
    ram_bytes: Estimate
    kv_bytes: int = 0
    latency_ms: Estimate | None = None
    tokens_per_s: Estimate | None = None
    memory: MemoryEstimate | None = None
    latency_at: Mapping[int, Estimate] = field(default_factory=dict)
    ttft_at: Mapping[int, Estimate] = field(default_factory=dict)
    prefill_tokens_per_s: Estimate | None = None
    work: Work | None = None
    notes: tuple[str, ...] = ()
    min_isa: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    student: str = ""

    @property
    def label(self) -> str:
        """What people call it: "onnx-int8", "gguf Q4_K_M"."""
        return " ".join([self.strategy, *self.options.values()])


def priced(candidate: Candidate, work: Work, setting: Setting) -> Candidate:
    """The candidate with every estimate that `work` and the setting give grounds for."""
    engine = candidate.engine
    needed = memory(work.memory, engine, setting)
    encode = _at(work, "encode", engine, setting)
    prefill = _at(work, "prefill", engine, setting)
    step = next(iter(_at(work, "decode", engine, setting).values()), None)
    timed = min(encode, key=lambda tokens: abs(tokens - TIMED_TOKENS), default=0)
    prompt = min(prefill, key=lambda tokens: abs(tokens - TIMED_TOKENS), default=0)
    return replace(
        candidate,
        work=work,
        memory=needed,
        ram_bytes=needed.peak,
        kv_bytes=needed.kv_bytes,
        latency_ms=_scaled(encode[timed], 1e3) if encode else None,
        latency_at={tokens: _scaled(each, 1e3) for tokens, each in encode.items()},
        ttft_at={tokens: _scaled(each, 1e3) for tokens, each in prefill.items()},
        prefill_tokens_per_s=_per_second(prefill[prompt], prompt) if prefill else None,
        tokens_per_s=None if step is None else _per_second(step, 1),
    )


def _at(work: Work, phase: Phase, engine: Engine, setting: Setting) -> dict[int, Estimate]:
    """Seconds of the phase by tokens, where there are grounds for all of them."""
    found = {tokens: seconds(terms, engine, phase, setting) for tokens, terms in work.terms.get(phase, {}).items()}
    return {tokens: each for tokens, each in found.items() if each is not None}


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    return replace(estimate, low=estimate.low * scale, high=estimate.high * scale)


def _per_second(estimate: Estimate, count: int) -> Estimate:
    return replace(estimate, low=count / estimate.high, high=count / estimate.low)


@dataclass(frozen=True)
class Rejection:
    """A candidate that is not tried, and the one reason: what was found, the limit it broke, what would change it.

    `broke` names the limit in a word or two ("RAM", "disk", "mean KL"); it is empty where no limit was at stake.
    """

    label: str
    reason: str
    measured: float | None = None
    limit: float | None = None
    unit: str = ""
    remedy: str = ""
    estimated: bool = True
    broke: str = ""


@dataclass(frozen=True)
class TensorSignature:
    """One graph input or output. `shape` holds an int for a fixed axis and a name for a free one."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Artifact:
    """Files made and not yet validated, laid out under `folder` exactly as they will stand in the bundle.

    `model_file` is relative to `folder`. `baseline` is the fp32 model for the same engine, kept outside the bundle,
    which the speed gate runs against (None where the gate runs the source in torch).
    `engine_tokenizes` is False where the engine's own tokenizer does not give the source's ids on every text, so that
    tokenizer.json must do it; `unicode_form` is what text must be brought to before the engine's tokenizer sees it.
    `min_isa` maps an architecture ("x86_64", "aarch64") to the ISA features without which it must not be run.
    `source` is what the files were made of where that is not the model that the user brought (a student), and
    `training` how that was trained.
    """

    candidate: Candidate
    folder: Path
    model_file: str
    inputs: tuple[TensorSignature, ...] = ()
    outputs: tuple[TensorSignature, ...] = ()
    baseline: Path | None = None
    min_isa: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    engine_tokenizes: bool = True
    unicode_form: Literal["NFC"] | None = None
    source: SourceModel | None = None
    training: TrainingRecord | None = None


class Strategy(Protocol):
    """What a strategy module offers."""

    def propose(self, model: SourceModel, setting: Setting) -> Iterable[Candidate | Rejection]:
        """Every way this strategy could pack `model`, with estimates, or why it cannot. Pure, headers only."""
        ...

    def make(
        self, candidate: Candidate, model: SourceModel, device: DeviceProfile, workdir: Path, progress: Progress
    ) -> Artifact:
        """Write the candidate's files under a new folder in `workdir`."""
        ...


STRATEGIES: Mapping[str, str] = {
    "onnx-int8": "edgekit.strategies.onnx.int8",
    "onnx-fp32": "edgekit.strategies.onnx.fp32",
    "gguf": "edgekit.strategies.gguf",
    "distill": "edgekit.strategies.distill",
}


def load(name: str) -> Strategy:
    """The strategy's module; KeyError if there is none of that name."""
    return cast(Strategy, import_module(STRATEGIES[name]))
