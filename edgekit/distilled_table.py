"""A distilled student as people read it in a terminal."""

from __future__ import annotations

from edgekit.grid import REPORT_COLUMNS, fitted, paragraph
from edgekit.report import TrainingRecord, show


def distilled_text(record: TrainingRecord) -> str:
    """What the student is, what it lost and gained, and what a person should know; at most 100 columns wide."""
    header = ("figure", "teacher", "student", "lost or gained", "95 % interval")
    rows = [
        (
            each.name,
            "" if each.teacher is None else show(each.teacher, each.unit),
            "" if each.student is None else show(each.student, each.unit),
            show(each.value, each.value_unit),
            ""
            if each.low is None or each.high is None
            else f"{show(each.low, each.value_unit)} to {show(each.high, each.value_unit)}",
        )
        for each in record.compared
    ]
    facts = {
        "trained": f"{record.steps} steps in {record.seconds:.0f} s on {record.train_rows} of {record.origin};"
        f" {record.machine}",
        "validated": f"loss {show(record.best_loss, '')} at step {record.best_step}, whose weights are kept",
        "compared on": f"{record.held_out_rows} rows that training never saw, in torch, teacher and student in turn",
    }
    how = [f"{each.name}: {each.how}" for each in record.compared if each.how]
    told = [
        paragraph(f"a student of {record.teacher}: {record.student}", "  ", REPORT_COLUMNS),
        "",
        fitted(header, rows, REPORT_COLUMNS),
        "",
        *(paragraph(f"{name:13} {fact}", " " * 14, REPORT_COLUMNS) for name, fact in facts.items()),
        *(paragraph(f"note: {note}", "  ", REPORT_COLUMNS) for note in (*record.remarks, "; ".join(how)) if note),
    ]
    return "\n".join(told)
