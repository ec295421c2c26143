"""A small language model's student of half its layers: perplexity beside its teacher's, and beside the same student
trained from random weights for as long.

    EDGEKIT_TINYLM=DIR python benchmarks/distill_decoder.py [--budget 8min] [--rows N] [--json FILE]

DIR holds a model of Python code with eval.txt, held-out text beside it. Training text is Python's own library, without
the files that share lines with eval.txt. The student is `edgekit distill`'s; the one from random weights learns the
next token alone, and so does a third one, cut like the student: what the teacher's answers are worth beside its
weights. To see in a minute that it works: --budget 5s --rows 300 --windows 8
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.accuracy import Target
from harness.corpora import library_pieces, spaced
from harness.machine import heading, machine
from harness.outcomes import lesson_table, seconds, target_table
from harness.results import at_least, parser, write

from edgekit.grid import table

WINDOW_TOKENS = 256
CHARACTERS = 900  # of the library, 3.8 to a token
LEARNING_RATE = 1e-3  # of those who learn the next token alone
TEACHER, TAUGHT = "teacher", "distilled"
SCRATCH, NEXT_TOKEN, DROPPED = "from random weights", "layers kept, next token alone", "layers dropped, untrained"


def main(words: Sequence[str] | None = None) -> None:
    options = given(words)
    named = options.teacher or os.environ.get("EDGEKIT_TINYLM")
    if named is None or not (Path(named) / "eval.txt").is_file():
        raise SystemExit("EDGEKIT_TINYLM names no folder with a language model and eval.txt, held-out text of its kind")
    facts = machine()
    print(heading(facts), flush=True)
    held_out = (Path(named) / "eval.txt").read_text(encoding="utf-8")
    rows = [{"text": each} for each in spaced(library_pieces(held_out, CHARACTERS), options.rows)]
    with TemporaryDirectory(prefix="decoder-") as name:
        figures = measured(Path(named), rows, held_out, options, Path(name))
    asked = targets(figures)
    tables = (lesson_table(figures["lessons"]), perplexity_table(figures), likeness_table(figures["lessons"]))
    print("\n\n".join((*tables, target_table(asked))))
    write(options.json, {"machine": facts, "budget_s": options.budget, **figures, "targets": asked})


def given(words: Sequence[str] | None) -> Any:
    arguments = parser(__doc__)
    arguments.add_argument("--budget", type=seconds, default=480.0, metavar="TIME", help="of each student (8min)")
    arguments.add_argument("--rows", type=at_least(200), default=5000, metavar="N", help="to train on (default 5000)")
    arguments.add_argument("--windows", type=at_least(2), default=10**9, metavar="N", help="held out (default all)")
    arguments.add_argument("--teacher", metavar="DIR", help="instead of EDGEKIT_TINYLM")
    return arguments.parse_args(words)


def measured(
    folder: Path, rows: Sequence[dict[str, str]], held_out: str, options: Any, scratch: Path
) -> dict[str, Any]:
    from harness.perplexity import perplexities, windows
    from harness.rivals import distilled, from_scratch, layers_dropped, opened, write_rows

    from edgekit.strategies.distill.aims import Aims
    from edgekit.strategies.distill.teaching import half_as_deep

    teacher = opened(folder)
    layers = half_as_deep(teacher).layers
    assert layers is not None
    data, budget_s = write_rows(scratch / "rows.jsonl", rows), options.budget
    random = from_scratch(teacher, layers, scratch / "random")
    next_token = Aims(label=1.0, learning_rate=LEARNING_RATE, batch_size=16)
    lessons = {
        TAUGHT: distilled(teacher, data, f"layers={layers}", budget_s, scratch / "distilled"),
        NEXT_TOKEN: distilled(teacher, data, f"layers={layers}", budget_s, scratch / "labels", next_token),
        SCRATCH: distilled(teacher, data, str(random), budget_s, scratch / "scratch", next_token),
    }
    folders = {TEACHER: folder} | {name: lesson.folder for name, lesson in lessons.items()}
    folders[DROPPED] = layers_dropped(teacher, layers, scratch / "dropped")
    ids = windows(teacher, held_out, WINDOW_TOKENS)[: options.windows]
    return {
        "layers": layers,
        "parameters": {
            TEACHER: lessons[TAUGHT].figures["teacher_parameters"],
            TAUGHT: lessons[TAUGHT].figures["parameters"],
        },
        "lessons": {name: lesson.figures for name, lesson in lessons.items()},
        "perplexity": perplexities({name: opened(each) for name, each in folders.items()}, ids),
        "held_out_windows": len(ids),
    }


def targets(figures: Mapping[str, Any]) -> list[Target]:
    found = {name: each["perplexity"] for name, each in figures["perplexity"].items()}
    own = found[TAUGHT]
    return [
        Target(f"perplexity below that of {name}", f"< {found[name]:.2f}", f"{own:.2f}", own < found[name])
        for name in (SCRATCH, NEXT_TOKEN, DROPPED)
    ]


def perplexity_table(figures: Mapping[str, Any]) -> str:
    rows = [
        (
            name, f"{each['perplexity']:.2f}", f"{each['low']:.2f} to {each['high']:.2f}", f"{each['ratio']:.3f}",
            f"{each['ratio_low']:.3f} to {each['ratio_high']:.3f}",
        )
        for name, each in figures["perplexity"].items()
    ]  # fmt: skip
    counts = figures["parameters"]
    note = (
        f"on {figures['held_out_windows']} windows of {WINDOW_TOKENS} tokens of eval.txt, in torch float32; the student"
        f" has {counts[TAUGHT] / 1e6:.1f} million parameters, the teacher {counts[TEACHER] / 1e6:.1f}"
    )
    header = ("model", "perplexity", "95 % interval", "over the teacher's", "95 % interval")
    return f"{table(header, rows)}\n{note}"


def likeness_table(lessons: Mapping[str, Any]) -> str:
    """How much each answers like the teacher, which is what a student's bundle is held to."""
    rows = []
    for name, figures in lessons.items():
        found = {each["name"]: each["value"] for each in figures["compared"]}
        rows.append((name, f"{found['mean KL']:.3f}", f"{found['top-1 agreement']:.1%}"))
    header = ("beside the teacher", "mean KL", "same first choice")
    return f"{table(header, rows)}\non rows like those trained on, held out from training"


if __name__ == "__main__":
    main()
