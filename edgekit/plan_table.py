"""A plan as people read it: what each candidate takes and does, what was rejected and why, the rules that bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgekit.grid import PAGE_COLUMNS, paragraph, table, tables

if TYPE_CHECKING:
    from edgekit.costs import Estimate
    from edgekit.planner import Plan
    from edgekit.strategies import Candidate, Rejection

_CHOSEN = "->"
_ORDERS = {
    None: "the most faithful quantized candidate first, the unquantized one as the fallback",
    "accuracy": "the most faithful first",
    "speed": "the fastest first, ties to the more faithful",
    "size": "the smallest first",
}


def plan_value(plan: Plan) -> dict[str, Any]:
    """A plan as plain values, for --json."""
    value = asdict(plan)
    for entry, candidate in zip(value["candidates"], plan.candidates, strict=True):
        entry["label"] = candidate.label
    if plan.student is not None:
        value["student"]["label"] = plan.student.label
    return {"chosen": plan.candidates[0].label if plan.candidates else None, **value}


def plan_text(plan: Plan, explain: bool = False) -> str:
    """At most 110 columns wide. `explain` adds what each estimate was computed from and leans on."""
    told = [paragraph(_heading(plan)), ""]
    if plan.candidates:
        told += [_costs(plan), "", _speeds(plan), "", paragraph(_legend(plan))]
    else:
        held = any(each.limit is not None for each in plan.rejections)
        told.append("no candidate can hold every limit" if held else f"no candidate can be packed for {plan.device}")
    told += _rejected(plan.rejections)
    if plan.remarks:
        told += ["", "why:"]
        told += [paragraph(f"  {each.subject}: {each.reason} [{each.rule}]", "    ") for each in plan.remarks]
    told += _advice(plan)
    if explain and plan.candidates:
        told += ["", *_grounds(plan)]
    return "\n".join(told)


def _heading(plan: Plan) -> str:
    from edgekit.report import show

    budget = "unknown" if plan.ram_limit_bytes is None else show(plan.ram_limit_bytes, "bytes")
    counted = " of anonymous memory" if plan.ram_counted == "anonymous" and plan.ram_limit_bytes is not None else ""
    threads = {None: "", 1: "; 1 thread"}.get(plan.preferences.threads, f"; {plan.preferences.threads} threads")
    context = "" if plan.context_tokens is None else f"; context {plan.context_tokens} tokens"
    if plan.context_tokens is not None and plan.context_tokens < plan.limits.context_tokens:
        context += ", all that the model takes"
    sensitive = "; sensitivity high" if plan.preferences.sensitivity == "high" else ""
    what = plan.task if plan.kind in (plan.task, "module", "classifier") else f"{plan.task}, {plan.kind}"
    return (
        f"{plan.model} ({what}) for {plan.device}; RAM limit {budget}{counted}{context}{threads}{sensitive};"
        f" order: {_ORDERS[plan.preferences.prefer]}"
    )


def _legend(plan: Plan) -> str:
    longest = max((n for each in plan.candidates for n in (*each.latency_at, *each.ttft_at)), default=0)
    taken = "the model, or --context," if plan.task == "causal-lm" else "the model"
    is_cut = 0 < longest < max(plan.preferences.lengths)
    cut = f" Longer inputs than {longest} tokens are left out: {taken} takes no more." if is_cut else ""
    moved = " Earlier reports moved the estimates: --explain names them." if plan.earlier_reports else ""
    return (
        f"{_CHOSEN} is what pack makes first. Every figure is an estimate, for {plan.device}; pack measures, and goes"
        f" on to the next if a limit is missed.{cut}{moved}"
    )


def _named(plan: Plan) -> Iterable[tuple[str, Candidate]]:
    return ((f"{_CHOSEN if index == 0 else '  '} {each.label}", each) for index, each in enumerate(plan.candidates))


def _costs(plan: Plan) -> str:
    """Bytes on disk, and peak memory with its parts; "counted" is what the system holds against its limit, if less."""
    from edgekit.planner.holding import unbacked_bytes
    from edgekit.report import show

    decodes, counts_part = plan.task == "causal-lm", plan.ram_counted == "anonymous"
    header = [
        "   candidate",
        "disk",
        *(["counted"] if counts_part else []),
        "peak RAM",
        "file-backed",
        "anonymous",
        *(["KV cache"] if decodes else []),
    ]
    header += ["activations", *(["limits"] if plan.may_miss else [])]
    rows = []
    for name, each in _named(plan):
        memory = each.memory
        row = [name, interval(each.disk_bytes, "bytes")]
        row += [interval(unbacked_bytes(each), "bytes")] if counts_part else []
        row += [interval(each.ram_bytes, "bytes")]
        row += [interval(memory.file_backed if memory else None, "bytes")]
        row += [interval(memory.anonymous if memory else None, "bytes")]
        row += [show(each.kv_bytes, "bytes")] if decodes else []
        row += [interval(memory.activations if memory else None, "bytes")]
        row += [_doubts(each, plan.may_miss.get(each.label, ()))] if plan.may_miss else []
        rows.append(row)
    return tables(header, rows)


def _doubts(candidate: Candidate, limits: Sequence[str]) -> str:
    """ "may miss RAM; latency unknown": limits that an interval straddles, and those that nothing is known for."""
    from edgekit.planner.holding import is_unknown

    straddled = [name for name in limits if not is_unknown(candidate, name)]
    told = [f"may miss {', '.join(straddled)}"] if straddled else []
    return "; ".join([*told, *(f"{name} unknown" for name in limits if name not in straddled)])


def _speeds(plan: Plan) -> str:
    """Latency at each length, or, for decoders, the time to the first token, prefill and decode; and fidelity."""
    decodes = plan.task == "causal-lm"
    lengths = sorted({n for each in plan.candidates for n in (each.ttft_at if decodes else each.latency_at)})
    header = ["   candidate"]
    header += [f"{'first token' if decodes else 'latency'} @{n}" if n else "latency" for n in lengths]
    header += ["prefill", "decode"] if decodes else [] if lengths else ["latency"]
    rows = []
    for name, each in _named(plan):
        at = each.ttft_at if decodes else each.latency_at
        row = [name, *(interval(at.get(n), "ms") for n in lengths)]
        if decodes:
            row += [interval(each.prefill_tokens_per_s, "tok/s"), interval(each.tokens_per_s, "tok/s")]
        elif not lengths:
            row.append(interval(each.latency_ms, "ms"))
        rows.append([*row, plan.expectations.get(each.label, "")])
    return tables([*header, "fidelity expected"], rows)


def interval(estimate: Estimate | None, unit: str) -> str:
    """ "31-40 MiB": both ends in the unit of the higher one; "unknown" without grounds."""
    from edgekit.report import show

    if estimate is None:
        return "unknown"
    name = show(estimate.high, unit).rpartition(" ")[2]
    scale = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}.get(name, 1)
    unit = name if unit == "bytes" else unit
    low, high = (_digits(value / scale) for value in (estimate.low, estimate.high))
    return f"{high} {unit}" if low == high else f"{low}-{high} {unit}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def _rejected(rejections: Sequence[Rejection]) -> list[str]:
    """Those over a limit with how far; then the others, each reason once."""
    from edgekit.report import show

    rows = []
    others: dict[str, list[str]] = {}
    for each in rejections:
        if each.measured is None or each.limit is None:
            others.setdefault("; ".join(filter(None, (each.reason, each.remedy))), []).append(each.label)
            continue
        over = abs(each.measured - each.limit)
        share = f"{over / abs(each.limit):.1%}" if each.limit else "-"
        figures = (show(value, each.unit) for value in (each.measured, each.limit, over))
        estimate, limit, by = figures
        rows.append((each.label, each.broke, estimate, limit, f"{by}, {share}", each.remedy))
    told: list[str] = []
    if rows:
        header = ("rejected", "limit", "at best", "allowed", "over by", "what would have to change")
        told += ["", table(header, rows, PAGE_COLUMNS)]
    if others:
        told += ["", "not tried:", *(paragraph(f"  {', '.join(v)}: {k}", "    ") for k, v in others.items())]
    return told


def _advice(plan: Plan) -> list[str]:
    from edgekit.planner import packed_as
    from edgekit.report import show

    told = ["", "what would fit:", *(paragraph(f"  {line}", "    ") for line in plan.advice)] if plan.advice else []
    student = plan.student
    if student is None:
        return told
    disk = show(student.disk_bytes.mid, "bytes")
    rows = [("distilled student", student.student, packed_as(student), disk, "--data FILE trains it")]
    return [*told, "", table(("proposal", "shape", "packed as", "disk", ""), rows, PAGE_COLUMNS)]


def _grounds(plan: Plan) -> list[str]:
    """Under each candidate what its estimates were computed from, and the measurements they lean on, each once."""
    labels: dict[tuple[str, ...], list[str]] = {}
    for each in plan.candidates:
        labels.setdefault(tuple(_grounds_of(each)), []).append(each.label)
    told = []
    for lines, names in labels.items():
        told += [paragraph(f"grounds of {', '.join(names)}:"), *(paragraph(f"  {line}", "    ") for line in lines)]
    return told


def _grounds_of(candidate: Candidate) -> list[str]:
    figures: list[tuple[str, Estimate | None]] = [("disk", candidate.disk_bytes), ("peak RAM", candidate.ram_bytes)]
    figures += [(f"latency @{length}" if length else "latency", at) for length, at in candidate.latency_at.items()]
    figures += [("latency", candidate.latency_ms)] if not candidate.latency_at else []
    figures += [(f"first token @{length}", found) for length, found in candidate.ttft_at.items()]
    figures += [("prefill", candidate.prefill_tokens_per_s), ("decode", candidate.tokens_per_s)]
    known = [(name, found) for name, found in figures if found is not None]
    by_basis: dict[str, list[str]] = {}
    for name, found in known:
        by_basis.setdefault(found.basis, []).append(name)
    measured = dict.fromkeys(source for _, found in known for source in found.leans_on)
    told = [f"{', '.join(names)}: {basis}" for basis, names in by_basis.items()]
    return told + ([f"leans on {source}" for source in measured] or ["leans on no measurement"])
