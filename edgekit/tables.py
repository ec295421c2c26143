"""What commands print for people: plain text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.costs import Estimate
    from edgekit.device import Summary
    from edgekit.planner import Plan


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces between."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def plan_value(plan: Plan) -> dict[str, Any]:
    """A plan as plain values, for --json."""
    value = asdict(plan)
    for entry, candidate in zip(value["candidates"], plan.candidates, strict=True):
        entry["label"] = candidate.label
    return value


def plan_text(plan: Plan, explain: bool = False) -> str:
    from edgekit.report import show

    def interval(estimate: Estimate | None, unit: str) -> str:
        return "unknown" if estimate is None else f"{show(estimate.low, unit)} to {show(estimate.high, unit)}"

    budget = "unknown" if plan.ram_limit_bytes is None else show(plan.ram_limit_bytes, "bytes")
    context = f"; context {plan.limits.context_tokens} tokens" if plan.task == "causal-lm" else ""
    told = [f"{plan.model} ({plan.task}) for {plan.device}; RAM limit {budget}{context}", ""]
    rows = [
        (
            str(number),
            each.label,
            interval(each.disk_bytes, "bytes"),
            interval(each.ram_bytes, "bytes"),
            interval(each.tokens_per_s, "tokens/s") if plan.task == "causal-lm" else interval(each.latency_ms, "ms"),
        )
        for number, each in enumerate(plan.candidates, 1)
    ]
    speed = "decode speed" if plan.task == "causal-lm" else "latency"
    told.append(table(("", "candidate", "disk", "RAM", speed), rows) if rows else "no candidate can fit")
    told += ["", "Every figure above is an estimate; pack tries the candidates in this order and measures them."]
    told += [f"{each.label}: {note}" for each in plan.candidates for note in each.notes]
    if explain:
        told += [
            f"{each.label} leans on {name}"
            for each in plan.candidates
            for estimate in (each.disk_bytes, each.ram_bytes, each.latency_ms, each.tokens_per_s)
            if estimate is not None
            for name in dict.fromkeys((estimate.basis, *estimate.leans_on))
        ]
    if plan.rejections:
        told += ["", "not tried:"]
    for rejection in plan.rejections:
        figures = ""
        if rejection.measured is not None:
            figures = f" ({show(rejection.measured, rejection.unit)} against {show(rejection.limit, rejection.unit)})"
        remedy = f"; {rejection.remedy}" if rejection.remedy else ""
        told.append(f"  {rejection.label}: {rejection.reason}{figures}{remedy}")
    return "\n".join(told)


def devices_text(summaries: Sequence[Summary]) -> str:
    def size(value: float | None) -> str:
        return "unknown" if value is None else f"{value / 2**20:,.0f} MiB"

    rows = [
        (each.name, each.title, each.arch, str(each.cores), size(each.total_bytes), size(each.app_bytes))
        for each in summaries
    ]
    return table(("name", "device", "arch", "cores", "RAM", "for an app"), rows)


def facts_text(facts: Mapping[str, Any], indent: str = "") -> str:
    """Nested facts, one a line; lists of more than six entries are counted."""
    lines = []
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            lines.append(f"{label}:")
            lines.append(facts_text(value, indent + "  "))
        elif isinstance(value, (list, tuple)):
            plain = [str(item) for item in value if not isinstance(item, Mapping)]
            shown = ", ".join(plain) if len(plain) == len(value) and len(value) <= 6 else f"{len(value)} entries"
            lines.append(f"{label}: {shown if value else 'none'}")
        elif value is not None:
            lines.append(f"{label}: {value}")
    return "\n".join(line for line in lines if line)


def run_text(result: Sequence[Any], inputs: Sequence[str]) -> str:
    """Embeddings as their cosine similarities (or first values); labels with scores."""
    if isinstance(result[0][0], float):
        return _similarities(result, inputs)
    lines = []
    for text, labels in zip(inputs, result, strict=True):
        lines.append(text)
        for entry in labels[:20]:
            word = f"{entry['word']}: " if "word" in entry else ""
            lines.append(f"  {word}{entry['label']} {entry['score']:.3f}")
    return "\n".join(lines)


def _similarities(vectors: Sequence[Sequence[float]], inputs: Sequence[str]) -> str:
    import numpy as np

    matrix = np.asarray(vectors)
    if len(matrix) == 1:
        first = " ".join(f"{value:.4f}" for value in matrix[0][:6])
        return f"{len(matrix[0])} values: {first} ..."
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    similarity = unit @ unit.T
    header = ("", *(f"[{index}]" for index in range(len(inputs))))
    rows = [
        (f"[{index}] {text[:60]}", *(f"{value:.3f}" for value in similarity[index]))
        for index, text in enumerate(inputs)
    ]
    return table(header, rows)
