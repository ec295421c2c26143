"""Rules about the device: what its system counts, what is not known of it, what is not used."""

from __future__ import annotations

from edgekit.costs import Phase
from edgekit.costs.rates import rate
from edgekit.report import show
from edgekit.rules.case import Case


def shared_gpu(case: Case) -> str | None:
    gpu = case.setting.device.gpu
    if gpu is None or not gpu.shared_memory:
        return None
    return f"{gpu.name} shares the memory: offloaded layers would count against RAM; the bundle's runtime uses the CPU"


def cpu_only(case: Case) -> str | None:
    gpu = case.setting.device.gpu
    if gpu is None or gpu.shared_memory:
        return None
    return f"the bundle's runtime runs on the CPU; no estimate counts on {gpu.name}"


def anonymous(case: Case) -> str | None:
    device = case.setting.device
    if device.ram.counted != "anonymous":
        return None
    name = _SYSTEMS.get(device.os, device.os)
    return (
        f"{name} counts anonymous memory, KV cache and activations; pages of the mapped file are left out, as long as "
        "all memory holds them"
    )


def unknown_ram(case: Case) -> str | None:
    device = case.setting.device
    if device.ram_budget_bytes is not None or case.limits.max_ram_bytes is not None:
        return None
    whole = device.ram.total_bytes.value
    held = "no memory limit is held" if whole is None else f"only its whole memory, {show(whole, 'bytes')}, is held"
    return f"what it lets an app use is not known, so {held}; --max-ram sets a limit"


_SYSTEMS = {"ios": "iOS", "android": "Android"}
_RATES = {"flops": "float32 throughput", "int8_ops": "8-bit throughput", "bytes": "memory bandwidth"}


def unknown_speed(case: Case) -> str | None:
    candidate, setting = case.candidate, case.setting
    assert candidate is not None
    phase: Phase = "decode" if case.model.task == "causal-lm" else "encode"
    if (candidate.tokens_per_s if phase == "decode" else candidate.latency_ms) is not None:
        return None
    by_tokens = candidate.work.terms.get(phase, {}) if candidate.work is not None else {}
    units = {term.unit for terms in by_tokens.values() for term in terms}
    missing = [
        told
        for unit, told in _RATES.items()
        if unit in units and rate(setting.device, unit, setting.threads) is None  # type: ignore[arg-type]
    ]
    if not by_tokens:
        why = "the model's shapes do not tell its work"
    elif missing:
        named = " or ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
        why = f"no {named} is known of {setting.device.title}"
    else:
        why = f"edgekit has no measurement of {candidate.engine} for such work"
    return f"no speed was estimated because {why}"


def unmeasured_terms(case: Case) -> str:
    """Which part of a candidate's work no factor was fitted for; "" where that is not what its speed lacks."""
    candidate, setting = case.candidate, case.setting
    assert candidate is not None
    phase: Phase = "decode" if case.model.task == "causal-lm" else "encode"
    found = setting.factors.row(candidate.engine, phase, setting.device)
    if found is None or candidate.work is None:
        return ""
    terms = [term for terms in candidate.work.terms.get(phase, {}).values() for term in terms if term.amount > 0]
    if any(term.unit != "seconds" and rate(setting.device, term.unit, setting.threads) is None for term in terms):
        return ""
    return ", ".join(dict.fromkeys(term.name for term in terms if term.name not in found[0].factors))
