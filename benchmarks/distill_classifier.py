"""A classifier of Debian's packages by section, and a student of a third of its layers: what is lost in accuracy.

    python benchmarks/distill_classifier.py [--budget 8min] [--teacher-budget 10min] [--sections 12] [--json FILE]

The labels are the packages' own Section fields, the texts their synopses. The teacher is all-MiniLM-L6-v2 with a head,
trained on the labels. Its student is `edgekit distill`'s; the rival has the same layers of that teacher and the same
time, and learns from the labels alone. Packages of every tenth source are kept from all of them, to measure on. To see
in a few minutes that it works:
--budget 5s --teacher-budget 5s --rows 400 --held-out 50 --rounds 5
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.accuracy import Target
from harness.corpora import Package, of_sections, package_descriptions, parted, spaced
from harness.machine import heading, machine
from harness.outcomes import lesson_table, seconds, target_table
from harness.results import at_least, minilm, parser, write

from edgekit.grid import table

LENGTHS = (16, 128)
MOST_DROP, MOST_LATENCY, LEAST_SECTIONS = 0.01, 0.5, 10
TEACHER, TAUGHT, LABELS, DROPPED = "teacher", "distilled", "labels alone", "layers dropped, untrained"


def main(words: Sequence[str] | None = None) -> None:
    options = given(words)
    facts = machine()
    print(heading(facts), flush=True)
    train, held = parted(of_sections(package_descriptions(), options.sections))
    train, held = spaced(train, options.rows), spaced(held, options.held_out)
    with TemporaryDirectory(prefix="classify-") as name:
        figures = measured(train, held, options, facts["cores"], Path(name))
    asked = targets(figures)
    shown = (lesson_table(figures["lessons"]), accuracy_table(figures), speed_table(figures), target_table(asked))
    print("\n\n".join(shown))
    kept = {"budget_s": options.budget, "teacher_budget_s": options.teacher_budget}
    write(options.json, {"machine": facts, **kept, **figures, "targets": asked})


def given(words: Sequence[str] | None) -> Any:
    arguments = parser(__doc__)
    arguments.add_argument("--budget", type=seconds, default=480.0, metavar="TIME", help="of each student (8min)")
    arguments.add_argument("--teacher-budget", type=seconds, default=600.0, metavar="TIME", help="its (10min)")
    arguments.add_argument("--layers", type=at_least(1), default=2, metavar="N", help="the student's (default 2)")
    arguments.add_argument("--sections", type=at_least(2), default=12, metavar="N", help="the largest (default 12)")
    arguments.add_argument("--rows", type=at_least(200), default=10**9, metavar="N", help="to train on (default all)")
    arguments.add_argument("--held-out", type=at_least(20), default=10**9, metavar="N", help="texts (default all)")
    arguments.add_argument("--rounds", type=at_least(5), default=100, metavar="N", help="of latency (default 100)")
    arguments.add_argument("--body", type=Path, metavar="FOLDER", help="another encoder to begin with")
    return arguments.parse_args(words)


def measured(
    train: Sequence[Package], held: Sequence[Package], options: Any, threads: int, scratch: Path
) -> dict[str, Any]:
    import numpy as np
    from harness.classifiers import drop, fine_tuned
    from harness.embeddings import Tokens
    from harness.graphs import Session, in_turn_ms, packed_pair, torch_answers
    from harness.rivals import distilled, layers_dropped, opened, write_rows

    from edgekit.strategies.distill.aims import Aims

    sections = sorted({each.section for each in train})
    rows = [{"text": each.synopsis, "label": each.section} for each in train]
    data = write_rows(scratch / "rows.jsonl", rows)
    folder = fine_tuned(options.body or minilm(), rows, sections, options.teacher_budget, scratch / "teacher")
    teacher = opened(folder)
    spec, budget_s = f"layers={options.layers}", options.budget
    labels_alone = Aims(label=1.0, learning_rate=1e-4)
    lessons = {
        TAUGHT: distilled(teacher, data, spec, budget_s, scratch / "distilled"),
        LABELS: distilled(teacher, data, spec, budget_s, scratch / "labels", labels_alone),
    }
    folders = {TEACHER: folder, TAUGHT: lessons[TAUGHT].folder, LABELS: lessons[LABELS].folder}
    folders[DROPPED] = layers_dropped(teacher, options.layers, scratch / "dropped")
    tokens = Tokens(folder)
    ids = [tokens.of(each.synopsis) for each in held]
    truth = np.array([sections.index(each.section) if each.section in sections else -1 for each in held])
    answers = {f"{name}, torch": torch_answers(opened(each), ids) for name, each in folders.items()}
    graphs = packed_pair({name: folders[name] for name in (TEACHER, TAUGHT)}, scratch)
    sessions = {name: Session(graph, threads) for name, graph in graphs.items()}
    answers |= {name: session.answers(ids) for name, session in sessions.items()}
    right = {name: each.argmax(axis=1) == truth for name, each in answers.items()}
    long = " ".join(each.synopsis for each in held)
    return {
        "sections": sections,
        "held_out_rows": len(held),
        "lessons": {name: lesson.figures for name, lesson in lessons.items()},
        "accuracy": {
            name: {"accuracy": float(each.mean()), **drop(right[f"{TEACHER}, torch"], each)}
            for name, each in right.items()
        },
        "files": {name: graph.figures() for name, graph in graphs.items()},
        "latency_ms": {length: in_turn_ms(sessions, tokens.of(long, length), options.rounds) for length in LENGTHS},
        "latency_rounds": options.rounds,
    }


def share(figures: Mapping[str, Any], strategy: str, length: int) -> float:
    """The student's latency over its teacher's, packed alike."""
    latency = figures["latency_ms"][length]
    return float(latency[f"{TAUGHT} {strategy}"] / latency[f"{TEACHER} {strategy}"])


def targets(figures: Mapping[str, Any]) -> list[Target]:
    accuracy, sections = figures["accuracy"], len(figures["sections"])
    found = [Target("classes", f">= {LEAST_SECTIONS}", str(sections), sections >= LEAST_SECTIONS)]
    for strategy in ("onnx-fp32", "onnx-int8"):
        lost = accuracy[f"{TAUGHT} {strategy}"]["drop"]
        what = f"points below the teacher, {strategy}"
        found.append(Target(what, f"<= {100 * MOST_DROP:g}", f"{100 * lost:.2f}", lost <= MOST_DROP))
        for length in LENGTHS:
            of = share(figures, strategy, length)
            what = f"of the teacher's latency, {strategy}, {length} tokens"
            found.append(Target(what, f"<= {MOST_LATENCY} x", f"{of:.2f} x", of <= MOST_LATENCY))
    return found


def accuracy_table(figures: Mapping[str, Any]) -> str:
    rows = [
        (
            name, f"{each['accuracy']:.2%}", f"{100 * each['drop']:.2f}",
            f"{100 * each['drop_low']:.2f} to {100 * each['drop_high']:.2f}",
        )
        for name, each in figures["accuracy"].items()
    ]  # fmt: skip
    note = (
        f"{len(figures['sections'])} sections, on {figures['held_out_rows']} descriptions of packages whose sources"
        " nobody trained on"
    )
    return f"{table(('model', 'accuracy', 'points below the teacher', '95 % interval'), rows)}\n{note}"


def speed_table(figures: Mapping[str, Any]) -> str:
    rows = []
    for name, file in figures["files"].items():
        row = [name, f"{file['bytes'] / 1e6:.1f}"]
        for length in LENGTHS:
            of = f"{share(figures, name.rpartition(' ')[2], length):.2f}" if name.startswith(TAUGHT) else ""
            row += [f"{figures['latency_ms'][length][name]:.2f}", of]
        rows.append(row)
    header = ["packed", "MB"]
    for length in LENGTHS:
        header += [f"ms at {length} tokens", "of the teacher's"]
    return f"{table(header, rows)}\nmedians of {figures['latency_rounds']} rounds in turn, one text, ids to logits"


if __name__ == "__main__":
    main()
