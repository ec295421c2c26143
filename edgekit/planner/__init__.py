"""Planning: model + device + limits -> candidates in the order they are tried, and every rejection with its reason.

Pure: no I/O, no clock; the same inputs give the same plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from edgekit.costs import Estimate, Setting
from edgekit.device import DeviceProfile
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel
from edgekit.planner.values import Known, Miss, Plan, Sibling
from edgekit.strategies import STRATEGIES, Candidate, Engine, Rejection, load

__all__ = ["Known", "Miss", "Plan", "Sibling", "after_miss", "counted_bytes", "plan", "propose"]

# Which engine is tried first for a task: encoders and vision nets through ONNX Runtime, decoders through llama.cpp.
_PREFERRED_ENGINE: Mapping[str, str] = {"causal-lm": "llama.cpp"}

# What to install where an engine is missing.
ENGINE_PACKAGES: Mapping[Engine, str] = {
    "onnxruntime": "torch transformers onnx onnxruntime optimum-onnx",
    "llama.cpp": "gguf llama-cpp-python torch transformers",
}

# Below this many bits kept per weight a candidate counts as quantized; above, it is a fallback, tried last.
_QUANTIZED_BELOW_BITS = 10.0

# Figures that fall with every bit given up.
_FIDELITY = (
    "mean cosine",
    "neighbours kept",
    "agreement",
    "top-1 agreement",
    "mean KL",
    "p99 KL",
    "perplexity ratio",
    "drop",
)


def propose(model: SourceModel, setting: Setting, strategy: str = "auto") -> tuple[Candidate | Rejection, ...]:
    """What every strategy (or the one named) would offer for `model` in `setting`."""
    names = list(STRATEGIES) if strategy == "auto" else [strategy]
    return tuple(offer for name in names for offer in load(name).propose(model, setting))


def plan(
    model: SourceModel,
    setting: Setting,
    limits: Limits,
    offers: Iterable[Candidate | Rejection],
    engines: Collection[Engine],
    preferences: Preferences = Preferences(),  # noqa: B008 (frozen)
    *,
    siblings: Sequence[Sibling] = (),  # noqa: ARG001
    known: Sequence[Known] = (),  # noqa: ARG001
    data_at_hand: bool = False,  # noqa: ARG001
) -> Plan:
    """Keep the offers that may hold every limit, in the order they should be tried.

    `engines` are those installed here, where candidates are made and measured.

    An offer is rejected here only when even the low end of its estimate is over a limit; what may fit is tried and
    measured.
    """
    device = setting.device
    ram_limit_bytes = device.ram_budget_bytes if limits.max_ram_bytes is None else limits.max_ram_bytes
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for offer in offers:
        if isinstance(offer, Rejection):
            rejections.append(offer)
        elif (rejection := _not_for_this_cpu(offer, device)) is not None:
            rejections.append(rejection)
        elif offer.engine not in engines:
            rejections.append(_missing_engine(offer))
        elif (rejection := _over_a_limit(offer, device, limits, ram_limit_bytes)) is not None:
            rejections.append(rejection)
        else:
            candidates.append(offer)
    preferred = _PREFERRED_ENGINE.get(model.task, "onnxruntime")
    candidates.sort(key=lambda candidate: _order(candidate, preferred))
    return Plan(
        model=model.name,
        task=model.task,
        device=device.name,
        kind=model.kind,
        limits=limits,
        preferences=preferences,
        ram_limit_bytes=ram_limit_bytes,
        candidates=tuple(candidates),
        rejections=tuple(rejections),
    )


def _order(candidate: Candidate, preferred_engine: str) -> tuple[bool, bool, float, str]:
    """Quantized before unquantized, the task's engine before the other, the most faithful first."""
    fallback = candidate.faithfulness >= _QUANTIZED_BELOW_BITS
    return (fallback, candidate.engine != preferred_engine, -candidate.faithfulness, candidate.label)


def _not_for_this_cpu(candidate: Candidate, device: DeviceProfile) -> Rejection | None:
    """Nothing is said where the candidate asks nothing of any CPU."""
    if not candidate.min_isa:
        return None
    arch = device.cpu.arch
    if arch not in candidate.min_isa:
        known = ", ".join(candidate.min_isa)
        return Rejection(candidate.label, f"its engine runs on {known}, and {device.title} is {arch}", estimated=False)
    missing = [feature for feature in candidate.min_isa[arch] if not device.has(feature)]
    if not missing:
        return None
    return Rejection(
        candidate.label,
        f"its engine needs {', '.join(missing)}, which {device.title} does not have",
        remedy="an ONNX strategy runs there",
        estimated=False,
    )


def _missing_engine(candidate: Candidate) -> Rejection:
    return Rejection(
        candidate.label,
        f"what it takes to make and measure it with {candidate.engine} is not installed here",
        remedy=f"pip install {ENGINE_PACKAGES[candidate.engine]}",
    )


def counted_bytes(candidate: Candidate, device: DeviceProfile) -> Estimate:
    """What of the candidate's memory the device's system holds against an app's limit."""
    memory = candidate.memory
    if device.ram.counted == "resident" or memory is None:
        return candidate.ram_bytes
    return Estimate(
        memory.anonymous.low + memory.kv_bytes + memory.activations.low,
        memory.anonymous.high + memory.kv_bytes + memory.activations.high,
        "anonymous memory, KV cache and activations",
        memory.peak.leans_on,
    )


def _over_a_limit(
    candidate: Candidate, device: DeviceProfile, limits: Limits, ram_limit_bytes: int | None
) -> Rejection | None:
    if ram_limit_bytes is not None and candidate.ram_bytes.low > ram_limit_bytes:
        return Rejection(
            candidate.label,
            f"needs more RAM than {device.title} lets an app use",
            measured=candidate.ram_bytes.low,
            limit=ram_limit_bytes,
            unit="bytes",
            remedy=_smaller_context(candidate, limits, ram_limit_bytes),
        )
    if limits.max_disk_bytes is not None and candidate.disk_bytes.low > limits.max_disk_bytes:
        return Rejection(
            candidate.label,
            "is larger than --max-disk",
            measured=candidate.disk_bytes.low,
            limit=limits.max_disk_bytes,
            unit="bytes",
            remedy="raise --max-disk or choose fewer bits per weight",
        )
    speed = candidate.tokens_per_s
    if limits.min_tokens_per_s is not None and speed is not None and speed.high < limits.min_tokens_per_s:
        return Rejection(
            candidate.label,
            "decodes more slowly than --min-tokens-per-s",
            measured=speed.high,
            limit=limits.min_tokens_per_s,
            unit="tokens/s",
            remedy="choose fewer bits per weight or a smaller model",
        )
    latency = candidate.latency_ms
    if limits.max_latency_ms is not None and latency is not None and latency.low > limits.max_latency_ms:
        return Rejection(
            candidate.label,
            "is slower than --max-latency-ms",
            measured=latency.low,
            limit=limits.max_latency_ms,
            unit="ms",
            remedy="raise --max-latency-ms or choose a smaller model",
        )
    return None


def _smaller_context(candidate: Candidate, limits: Limits, ram_limit_bytes: int) -> str:
    """Whether a shorter context would fit, else by how much the model must shrink."""
    over = candidate.ram_bytes.low - ram_limit_bytes
    if candidate.kv_bytes > over and limits.context_tokens > 0:
        bytes_per_token = candidate.kv_bytes / limits.context_tokens
        fits = int(limits.context_tokens - over / bytes_per_token) // 128 * 128
        if fits >= 128:
            return f"fits with --context {fits}"
    share = ram_limit_bytes / candidate.ram_bytes.low
    return f"a device with {candidate.ram_bytes.low / 2**20:.0f} MiB for an app, or a model {share:.0%} of this size"


def after_miss(
    candidate: Candidate,
    missed: Iterable[Miss],
    remaining: Iterable[Candidate],
    figures: Mapping[str, float] = {},  # noqa: ARG001
    limits: Limits = Limits(),  # noqa: ARG001,B008
) -> tuple[tuple[Candidate, ...], tuple[Rejection, ...]]:
    """What is still worth trying once `candidate` was measured and missed: (kept, rejected with what was learnt).

    A fidelity limit missed rules out the less faithful of the same strategy. A memory or size limit missed shifts the
    other estimates of that strategy by the error seen, and rules out those that are then over it.
    """
    kept = list(remaining)
    rejected: list[Rejection] = []
    for miss in missed:
        still = []
        for other in kept:
            reason = _learnt(candidate, miss, other)
            if reason is None:
                still.append(other)
            else:
                rejected.append(reason)
        kept = still
    return tuple(kept), tuple(rejected)


def _learnt(candidate: Candidate, miss: Miss, other: Candidate) -> Rejection | None:
    if other.strategy != candidate.strategy:
        return None
    if miss.name in _FIDELITY and other.faithfulness < candidate.faithfulness:
        reason = f"keeps fewer bits than {candidate.label}, which missed {miss.name}"
        return Rejection(other.label, reason, miss.measured, miss.limit, remedy=f"loosen {miss.flag}", estimated=False)
    if miss.name == "peak RSS":
        expected = other.ram_bytes.mid + miss.measured - candidate.ram_bytes.mid
        if expected > miss.limit:
            reason = f"expected to miss {miss.name} too, from the error seen on {candidate.label}"
            return Rejection(other.label, reason, expected, miss.limit, "bytes", f"raise {miss.flag}")
    return None
