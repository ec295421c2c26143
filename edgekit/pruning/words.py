"""What a pruning came to, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.errors import UnsupportedModel
from edgekit.grid import REPORT_COLUMNS, fitted, paragraph
from edgekit.model import SourceModel
from edgekit.pruning.record import RECORD, Compressed, PruningRecord, Recovery, Removed
from edgekit.report import Compared, show
from edgekit.strategies.distill.words import duration_told
from edgekit.students.shape import Shape

_GGUF_TASKS = ("causal-lm", "embedding")


def shape_told(source: Shape, target: Shape, parameters: int) -> str:
    """ "5 of 6 layers, 384 wide, 9 heads, 768 feed-forward channels, 8.1 million parameters"."""
    size = f"{parameters / 1e6:,.1f} million" if parameters >= 1e5 else f"{parameters:,}"
    return (
        f"{target.layers} of {source.layers} layers, {target.hidden} wide, {target.heads} heads, {target.inner:,}"
        f" feed-forward channels, {size} parameters"
    )


def removed_told(removed: Sequence[Removed]) -> str:
    """ "2 of 6 layers, 3 of 12 heads a layer"."""
    a_layer = {"heads", "key/value heads", "feed-forward channels"}
    parts = [
        f"{each.gone:,} of {each.had:,} {each.what}{' a layer' if each.what in a_layer else ''}" for each in removed
    ]
    return ", ".join(parts)


def card(source: SourceModel, removed: Sequence[Removed], recovery: Recovery | None) -> str:
    """What the model is, for whoever finds the folder."""
    then = "Nothing was trained afterwards."
    if recovery is not None:
        then = (
            f"Then it learnt to answer like the whole model again, on {recovery.train_rows:,} rows, for"
            f" {duration_told(recovery.seconds)}."
        )
    return (
        f"# {source.name}, pruned\n\nedgekit removed {removed_told(removed)} of {source.name}. {then}"
        f" `{RECORD}` tells what went, by what measure, and what that cost."
    )


def remarks_on(source: SourceModel, written: SourceModel, compressed: Sequence[Compressed]) -> tuple[str, ...]:
    """What a person should know of the pruned model before packing it."""
    found = []
    if source.task in _GGUF_TASKS and (refusal := _no_gguf(written)) and not _no_gguf(source):
        found.append(f"it cannot be packed as GGUF any more: {refusal}")
    if compressed:
        found.append(
            "zeros among other weights are stored and multiplied like any: RAM and latency stay what they were; only a"
            " compressed file gets smaller"
        )
        found += [
            f"as {each.stored_as}, compressing saves no more than before: the zeros buy nothing"
            for each in compressed
            if each.after_bytes >= each.before_bytes
        ]
    return tuple(found)


def _no_gguf(model: SourceModel) -> str:
    """Why llama.cpp would not run it, "" where it would."""
    from edgekit.strategies.gguf.architecture import lay_out

    try:
        lay_out(model)
    except UnsupportedModel as error:
        return error.message
    return ""


def pruned_text(record: PruningRecord) -> str:
    """What went, what that lost before and after recovery, and what it gained; at most 100 columns wide."""
    before = {each.name: each for each in record.before}
    recovered = record.recovery is not None
    lost = [
        (each.name, _told(before.get(each.name)), _told(each) if recovered else "", _interval(each))
        for each in record.after
    ]
    gained = [
        (each.name, show(each.teacher, each.unit), show(each.student, each.unit), _told(each), _interval(each))
        for each in record.gained
    ]
    gained += [
        (f"deflated, {each.stored_as}", show(each.before_bytes, "bytes"), show(each.after_bytes, "bytes"),
         show(each.before_bytes / max(1, each.after_bytes), "x"), "")
        for each in record.compressed
    ]  # fmt: skip
    facts = {
        "removed": f"{removed_told(record.removed)}, by {record.importance}"
        + (f" on {record.measured_rows} rows" if record.measured_rows else ""),
        "compared on": f"{record.held_out_rows} held-out rows of {record.origin}",
    }
    if record.recovery is not None:
        facts["recovered"] = (
            f"{record.recovery.steps} steps in {record.recovery.seconds:.0f} s on {record.recovery.train_rows} rows;"
            f" the weights of step {record.recovery.best_step} are kept"
        )
    unknown = [f"{each.name}: {each.how}" for each in record.gained if each.value is None]
    return "\n".join(
        [
            paragraph(f"pruned from {record.source}: {record.pruned}", "  ", REPORT_COLUMNS),
            "",
            fitted(("against the whole model", "cut", "recovered", "95 % interval"), lost, REPORT_COLUMNS),
            "",
            fitted(("gained", "whole", "pruned", "whole / pruned", "95 % interval"), gained, REPORT_COLUMNS),
            "",
            *(paragraph(f"{name:13} {fact}", " " * 14, REPORT_COLUMNS) for name, fact in facts.items()),
            *(paragraph(f"note: {note}", "  ", REPORT_COLUMNS) for note in (*record.remarks, *unknown)),
        ]
    )


def _told(figure: Compared | None) -> str:
    return "" if figure is None else show(figure.value, figure.value_unit)


def _interval(figure: Compared) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{show(figure.low, figure.value_unit)} to {show(figure.high, figure.value_unit)}"
