"""What pruning takes from all-MiniLM-L6-v2, by each measure of importance and at random; what recovery brings back; and
what zeros alone do for a compressed file.

    python benchmarks/pruning.py [--recover 2min] [--rows 3000] [--draws 5] [--json FILE]

Rows are descriptions of Debian's packages (`apt-get update` first), parted as `edgekit prune` parts them: importance is
measured on some of those it would train on, every cosine to the whole model on those that it holds out. To see in a
minute that it works: --recover 5s --rows 400 --draws 2
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from harness.corpora import package_descriptions, spaced
from harness.machine import heading, machine
from harness.outcomes import seconds
from harness.results import at_least, minilm, parser, write

import edgekit
from edgekit.distilling.answered import Pair, losses_of
from edgekit.grid import table
from edgekit.progress import Silent
from edgekit.pruning import Amounts, prune
from edgekit.pruning.amounts import target_of
from edgekit.strategies.distill.lesson import Lesson, lesson
from edgekit.training_data import read_training

if TYPE_CHECKING:
    from torch import nn

    from edgekit.model import SourceModel
    from edgekit.students.importance import Scores

MEASURED_ROWS, MOST_TOKENS = 256, 256
CUTS = {
    "a quarter of the heads": Amounts(heads=0.25),
    "half of the heads": Amounts(heads=0.5),
    "a quarter of the feed-forward channels": Amounts(ffn=0.25),
    "half of the feed-forward channels": Amounts(ffn=0.5),
    "a third of the layers": Amounts(layers=2),
}
RECOVERED = Amounts(heads=0.25, ffn=0.5)
ZEROED = Amounts(unstructured=0.5)


def main(words: Sequence[str] | None = None) -> None:
    options = given(words)
    facts = machine()
    print(heading(facts), flush=True)
    with TemporaryDirectory(prefix="pruning-") as name:
        scratch = Path(name)
        data = scratch / "rows.jsonl"
        texts = [each.synopsis for each in spaced(package_descriptions(), options.rows)]
        data.write_text("".join(json.dumps({"text": each}) + "\n" for each in texts), encoding="utf-8")
        model = options.model or minilm()
        figures = {
            "cosine": by_measure(model, data, options.draws),
            **by_command(model, data, options.recover, scratch),
        }
    print(f"{cosine_table(figures['cosine'])}\n\n{command_table(figures)}")
    write(options.json, {"machine": facts, "rows": options.rows, **figures})


def given(words: Sequence[str] | None) -> Any:
    arguments = parser(__doc__)
    arguments.add_argument("--recover", type=seconds, default=120.0, metavar="TIME", help="of the recovery (2min)")
    arguments.add_argument("--rows", type=at_least(200), default=3000, metavar="N", help="descriptions (default 3000)")
    arguments.add_argument("--draws", type=at_least(1), default=5, metavar="N", help="at random (default 5)")
    arguments.add_argument("--model", type=Path, metavar="FOLDER", help="another sentence encoder of 4 layers or more")
    return arguments.parse_args(words)


def by_measure(folder: Path, data: Path, draws: int) -> dict[str, dict[str, float]]:
    """Mean cosine to the whole model before any recovery, by what went and how it was chosen."""
    from edgekit.students.cutting import module_family
    from edgekit.students.importance import importance
    from edgekit.students.own_loss import own_loss
    from edgekit.torch_model import load_torch
    from edgekit.training.batches import batches

    source = edgekit.open_model(folder)
    source = replace(source, training=read_training(data, source))
    assert source.training is not None
    taught, whole = lesson(source, source.training, MOST_TOKENS), load_torch(source)
    first = taught.parts.train[:MEASURED_ROWS]
    scored = {
        kind: importance(
            whole, batches(taught.examples, first, 32, 0, 0, taught.pad, None, shuffled=False), own_loss(source), kind
        )
        for kind in ("taylor", "activation")
    }
    random = [drawn(scored["taylor"], seed) for seed in range(draws)]
    family, shape = module_family(whole)
    found: dict[str, dict[str, float]] = {}
    for name, amounts in CUTS.items():
        target = target_of(shape, family, amounts)
        small = cutter(whole, target)
        row = {kind: cosine(source, whole, small(scores), taught) for kind, scores in scored.items()}
        row["at random"] = float(np.mean([cosine(source, whole, small(scores), taught) for scores in random]))
        if amounts.layers:
            row["evenly"] = cosine(source, whole, evenly(whole, target.layers), taught)
        found[name] = row
    return found


def drawn(like: Scores, seed: int) -> Scores:
    """Scores of the same shapes that know nothing."""
    draw = np.random.default_rng(seed)
    tables = {each.name: getattr(like, each.name) for each in fields(like) if each.name != "kind"}
    return replace(
        like, **{name: draw.random(found.shape) for name, found in tables.items() if isinstance(found, np.ndarray)}
    )


def cutter(whole: nn.Module, target: Any) -> Callable[[Scores], nn.Module]:
    from edgekit.students.cutting import cut, module_family
    from edgekit.students.depth import dearest_layers
    from edgekit.students.width import choice

    family, shape = module_family(whole)

    def small(scores: Scores) -> nn.Module:
        layers = dearest_layers(whole, target.layers, scores.layers)
        return cut(whole, target, choice(shape, target, family, scores, layers))

    return small


def evenly(whole: nn.Module, layers: int) -> nn.Module:
    from edgekit.students.depth import shallower

    return shallower(whole, layers)


def cosine(source: SourceModel, whole: nn.Module, small: nn.Module, taught: Lesson) -> float:
    return next(
        float(each.value)
        for each in losses_of(Pair(source, whole, small), taught, Silent())
        if each.name == "mean cosine" and each.value is not None
    )


def by_command(folder: Path, data: Path, recover_s: float, scratch: Path) -> dict[str, Any]:
    """`edgekit prune` with recovery, and of single weights without."""
    return {
        "recovered": prune(folder, data, RECOVERED, recover_s=recover_s, out=scratch / "cut").record.model_dump(),
        "zeroed": prune(folder, data, ZEROED, recover_s=None, out=scratch / "sparse").record.model_dump(),
    }


def cosine_table(found: Mapping[str, Mapping[str, float]]) -> str:
    kinds = ("taylor", "activation", "at random", "evenly")
    rows = [(name, *(f"{row[kind]:.3f}" if kind in row else "" for kind in kinds)) for name, row in found.items()]
    told = "mean cosine to the whole model on held-out rows, before any recovery"
    return f"{table(('what went', *kinds), rows)}\n{told}"


def command_table(figures: Mapping[str, Any]) -> str:
    cut, sparse = figures["recovered"], figures["zeroed"]
    rows = [
        ("a quarter of the heads, half of the channels", *told(cut), ""),
        ("half of all single weights", *told(sparse), ", ".join(deflated(sparse))),
    ]
    header = ("what went", "mean cosine", "recovered", "times faster", "deflated")
    return f"{table(header, rows)}\nrecovery: {cut['recovery']['steps']} steps in {cut['recovery']['seconds']:.0f} s"


def told(record: Mapping[str, Any]) -> tuple[str, str, str]:
    before, after = (
        next(each["value"] for each in record[side] if each["name"] == "mean cosine") for side in ("before", "after")
    )
    faster = next(each["value"] for each in record["gained"] if each["name"] == "latency")
    return f"{before:.3f}", f"{after:.3f}" if record["recovery"] else "", f"{faster:.2f}"


def deflated(record: Mapping[str, Any]) -> Iterator[str]:
    for each in record["compressed"]:
        yield f"{each['stored_as']} {each['before_bytes'] / 2**20:.1f} to {each['after_bytes'] / 2**20:.1f} MiB"


if __name__ == "__main__":
    main()
