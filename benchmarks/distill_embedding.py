"""all-MiniLM-L6-v2 taught to a student of 3 layers on Debian's package descriptions, without labels: how much faster
it is and how close to its teacher, beside the same student trained without a teacher, and beside layers merely dropped.

    python benchmarks/distill_embedding.py [--budget 10min] [--layers 3] [--rows N] [--held-out 1000] [--json FILE]

The student is `edgekit distill`'s; the one without a teacher begins with the same layers, learns from the same texts by
unsupervised SimCSE, and has the same time. Packages of every tenth source are kept from both, and all is measured on
their descriptions. All of it in a few minutes, to see that it works:
--budget 5s --rows 400 --held-out 50 --rounds 5
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.accuracy import Target
from harness.corpora import package_descriptions, parted, spaced
from harness.machine import heading, machine
from harness.outcomes import lesson_table, seconds, target_table
from harness.results import at_least, minilm, parser, write

from edgekit.grid import table

BOARD = "rpi-zero-2w"
LENGTHS = (16, 128)
LEAST_SPEED, LEAST_COSINE, MOST_MINUTES = 1.9, 0.95, 25.0
TEACHER, TAUGHT = "teacher", "distilled"
ALONE, DROPPED = "without a teacher", "layers dropped, untrained"


def main(words: Sequence[str] | None = None) -> None:
    options = given(words)
    facts = machine()
    print(heading(facts), flush=True)
    train, held = parted(package_descriptions())
    rows = [{"text": each.synopsis} for each in spaced(train, options.rows)]
    texts = [each.synopsis for each in spaced(held, options.held_out)]
    with TemporaryDirectory(prefix="distill-") as name:
        figures = measured(rows, texts, options, facts["cores"], Path(name))
    asked = targets(figures)
    shown = (lesson_table(figures["lessons"]), fidelity_table(figures["fidelity"]), speed_table(figures))
    print("\n\n".join((*shown, target_table(asked))))
    write(options.json, {"machine": facts, "budget_s": options.budget, **figures, "targets": asked})


def given(words: Sequence[str] | None) -> Any:
    arguments = parser(__doc__)
    arguments.add_argument("--budget", type=seconds, default=600.0, metavar="TIME", help="of each training (10min)")
    arguments.add_argument("--layers", type=at_least(1), default=3, metavar="N", help="the student's (default 3)")
    arguments.add_argument("--rows", type=at_least(200), default=10**9, metavar="N", help="to train on (default all)")
    arguments.add_argument("--held-out", type=at_least(20), default=1000, metavar="N", help="texts (default 1000)")
    arguments.add_argument("--rounds", type=at_least(5), default=100, metavar="N", help="of latency (default 100)")
    arguments.add_argument("--teacher", type=Path, metavar="FOLDER", help="another sentence encoder")
    return arguments.parse_args(words)


def measured(
    rows: Sequence[dict[str, str]], texts: Sequence[str], options: Any, threads: int, scratch: Path
) -> dict[str, Any]:
    from harness.embeddings import Tokens, fidelity
    from harness.graphs import Session, in_turn_ms, packed_pair, torch_answers
    from harness.rivals import contrasted, distilled, layers_dropped, opened, write_rows

    teacher = opened(options.teacher or minilm())
    data = write_rows(scratch / "rows.jsonl", rows)
    dropped = layers_dropped(teacher, options.layers, scratch / "dropped")
    lessons = {
        TAUGHT: distilled(teacher, data, f"layers={options.layers}", options.budget, scratch / "distilled"),
        ALONE: contrasted(teacher, [row["text"] for row in rows], options.layers, options.budget, scratch / "alone"),
    }
    folders = {TAUGHT: lessons[TAUGHT].folder, ALONE: lessons[ALONE].folder, DROPPED: dropped}
    tokens = Tokens(Path(teacher.source))
    ids = [tokens.of(text) for text in texts]
    truth = torch_answers(teacher, ids)
    kept = {f"{name}, torch": fidelity(truth, torch_answers(opened(each), ids)) for name, each in folders.items()}
    graphs = packed_pair({TEACHER: Path(teacher.source), TAUGHT: folders[TAUGHT]}, scratch)
    sessions = {name: Session(graph, threads) for name, graph in graphs.items()}
    kept |= {name: fidelity(truth, session.answers(ids)) for name, session in sessions.items()}
    long = " ".join(texts)
    return {
        "lessons": {name: lesson.figures for name, lesson in lessons.items()},
        "fidelity": kept,
        "files": {name: graph.figures() for name, graph in graphs.items()},
        "latency_ms": {length: in_turn_ms(sessions, tokens.of(long, length), options.rounds) for length in LENGTHS},
        "latency_rounds": options.rounds,
        "board": on_board(folders[TAUGHT], scratch / "board"),
    }


def on_board(student: Path, out: Path) -> dict[str, Any]:
    """The student's int8 packed for the board: whether it fits, by what this machine measured."""
    import edgekit
    from edgekit.limits import Limits

    report = edgekit.pack(
        student, BOARD, out=out, strategy="onnx-int8", limits=Limits(max_slowdown=1e6), history="none", force=True
    ).report
    held = [each for each in report.rows if each.unit == "bytes" and each.limit is not None]
    return {
        "device": report.device,
        "status": report.status,
        "rows": {each.name: {"measured": each.measured, "limit": each.limit, "passed": each.passed} for each in held},
        "fits": bool(held) and all(each.passed for each in held),
    }


def speedup(figures: Mapping[str, Any], strategy: str, length: int) -> float:
    """How many times the teacher's latency is the student's, packed alike."""
    latency = figures["latency_ms"][length]
    return float(latency[f"{TEACHER} {strategy}"] / latency[f"{TAUGHT} {strategy}"])


def targets(figures: Mapping[str, Any]) -> list[Target]:
    kept = figures["fidelity"]
    minutes = figures["lessons"][TAUGHT]["train_s"] / 60
    int8, fp32 = (kept[f"{TAUGHT} onnx-{kind}"]["mean_cosine"] for kind in ("int8", "fp32"))
    rivals = max(kept[f"{name}, torch"]["mean_cosine"] for name in (ALONE, DROPPED))
    found = [
        Target("training, minutes", f"<= {MOST_MINUTES:g}", f"{minutes:.1f}", minutes <= MOST_MINUTES),
        Target("mean cosine to the teacher, fp32", f">= {LEAST_COSINE}", f"{fp32:.4f}", fp32 >= LEAST_COSINE),
        Target("mean cosine to the teacher, int8", f">= {LEAST_COSINE}", f"{int8:.4f}", int8 >= LEAST_COSINE),
        Target("closer than without distillation", f"> {rivals:.4f}", f"{fp32:.4f}", fp32 > rivals),
    ]
    for strategy in ("onnx-fp32", "onnx-int8"):
        for length in LENGTHS:
            times = speedup(figures, strategy, length)
            what = f"faster than the teacher, {strategy}, {length} tokens"
            found.append(Target(what, f">= {LEAST_SPEED} x", f"{times:.2f} x", times >= LEAST_SPEED))
    board = figures["board"]
    told = ", ".join(f"{name} {row['measured'] / 2**20:.0f} MiB" for name, row in board["rows"].items())
    return [*found, Target(f"int8 on {board['device']}", "fits", told, board["fits"])]


def fidelity_table(kept: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        (
            name, f"{each['mean_cosine']:.4f}", f"{each['min_cosine']:.4f}",
            f"{each['neighbours_kept']:.3f} +- {each['neighbours_kept_error']:.3f}",
        )
        for name, each in kept.items()
    ]  # fmt: skip
    count = next(iter(kept.values()))["texts"]
    note = f"to the teacher in torch float32, on {count} descriptions of packages whose sources nobody trained on"
    return f"{table(('model', 'mean cosine', 'min cosine', 'nearest neighbour kept'), rows)}\n{note}"


def speed_table(figures: Mapping[str, Any]) -> str:
    rows = []
    for name, file in figures["files"].items():
        row = [name, f"{file['bytes'] / 1e6:.1f}"]
        strategy = name.rpartition(" ")[2]
        for length in LENGTHS:
            row += [f"{figures['latency_ms'][length][name]:.2f}", f"{speedup(figures, strategy, length):.2f}"]
        rows.append(row if name.startswith(TAUGHT) else [*row[:3], "", row[4], ""])
    header = ["packed", "MB"]
    for length in LENGTHS:
        header += [f"ms at {length} tokens", "times faster"]
    return f"{table(header, rows)}\nmedians of {figures['latency_rounds']} rounds in turn, one text, ids to embedding"


if __name__ == "__main__":
    main()
