"""What commands print for people: plain text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.grid import PAGE_COLUMNS, fitted, table
from edgekit.plan_table import plan_text, plan_value

if TYPE_CHECKING:
    from edgekit.device import Summary
    from edgekit.targets.listing import Listed
    from edgekit.targets.preparing import Step

__all__ = ["devices_text", "facts_text", "plan_text", "plan_value", "run_text", "steps_text", "targets_text"]


_SENTENCE = 32
"""Characters: of a list with longer entries each stands on a line of its own."""


def devices_text(summaries: Sequence[Summary]) -> str:
    def size(value: float | None) -> str:
        return "unknown" if value is None else f"{value / 2**20:,.0f} MiB"

    rows = [
        (each.name, each.title, each.arch, str(each.cores), size(each.total_bytes), size(each.app_bytes))
        for each in summaries
    ]
    return table(("name", "device", "arch", "cores", "RAM", "for an app"), rows)


def targets_text(listed: Sequence[Listed]) -> str:
    rows = [(each.target, "yes" if each.ready else "no", each.state, each.purpose) for each in listed]
    return fitted(("target", "ready", "how", "shows"), rows, PAGE_COLUMNS)


def steps_text(steps: Sequence[Step]) -> str:
    """What was prepared or fetched, with what was there already."""
    rows = [
        (
            each.name,
            "new" if each.new else "was there",
            f"{each.size_bytes / 1e6:.0f} MB",
            ", ".join(f"{name} {version}" for name, version in each.versions.items()),
        )
        for each in steps
    ]
    return table(("what", "", "size", "versions"), rows, PAGE_COLUMNS)


def facts_text(facts: Mapping[str, Any], indent: str = "") -> str:
    """Nested facts, one a line; lists of more than six entries are counted, sentences stand on lines of their own."""
    lines = []
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            lines.append(f"{label}:")
            lines.append(facts_text(value, indent + "  "))
        elif isinstance(value, (list, tuple)) and any(
            isinstance(item, str) and len(item) > _SENTENCE for item in value
        ):
            lines += [f"{label}:", *(f"{indent}  {item}" for item in value)]
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
