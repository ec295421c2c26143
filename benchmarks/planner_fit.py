"""Fit the planner's factors: measure models of many shapes on this machine, and fit edgekit/data/factors.json to them.

    python benchmarks/planner_fit.py            measure, write benchmarks/data/planner_points.json, fit
    python benchmarks/planner_fit.py --refit    fit again to what was measured last, with the work as it is told now

Models have random weights; each candidate is made, staged and measured as `edgekit pack` does, in fresh processes with
the bundle's own runtime. The machine's rates are measured before and after each shape. Other load on the machine makes
the figures worse, and is told. benchmarks/planner_accuracy.py then holds the factors against shapes that are not here.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness.checkpoints import write_checkpoint
from harness.fitting import Fit, collinear, fit, groups, undecided
from harness.machine import OtherLoad, heading, machine
from harness.points import Point, median_rates, points, read_points, terms_of, write_points
from harness.probing import DISTURBED, Reading, readings, stage
from harness.results import parser
from harness.shapes import FIT_SHAPES, Shape

from edgekit.costs import LENGTHS, Setting
from edgekit.costs.factors import ANY_ISA, Factors, Row, isa_class, read_factors, table_path, write_factors
from edgekit.device import DeviceProfile, detect
from edgekit.grid import table
from edgekit.limits import Limits
from edgekit.model import SourceModel, open_model
from edgekit.planner import propose
from edgekit.strategies import Candidate

POINTS = Path(__file__).resolve().parent / "data" / "planner_points.json"
THREADS = (1, 2)
LIMITS = Limits()
# More than this of the cores' time taken by others, and the factors say that they are provisional.
QUIET = 0.05
# Fewer points than this ground no factors.
FEWEST = 8
ENGINE_PACKAGES = {"onnxruntime": "onnxruntime", "llama.cpp": "llama-cpp-python"}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--refit", action="store_true", help="do not measure: fit the points measured last")
    arguments.add_argument("--points", type=Path, default=POINTS, metavar="FILE", help=f"default {POINTS.name}")
    arguments.add_argument(
        "--factors", type=Path, default=table_path(), metavar="FILE", help="default: the shipped ones"
    )
    arguments.add_argument("--only", default="", metavar="TEXT", help="only shapes with TEXT in their name")
    options = arguments.parse_args()
    if options.refit:
        provenance, measured = read_points(options.points)
        if provenance["isa_classes"] == isa_classes(detect(measure=False)):
            write_points(options.points, provenance, tuple(retold(measured, provenance["shapes"])))
    else:
        measure_all([shape for shape in FIT_SHAPES if options.only in shape.name], options.points)
    provenance, measured = read_points(options.points)
    used = undisturbed(measured)
    if len(used) < len(measured):
        told(
            f"{len(measured) - len(used)} of {len(measured)} points are not used: others took more than {DISTURBED:.0%}"
        )
    fitted = {key: fit(each) for key, each in groups(used).items() if len(each) >= FEWEST}
    print(report(used, fitted))
    rows = [_row(key, groups(used)[key], each, provenance) for key, each in fitted.items()]
    kept = read_factors(options.factors.read_text(encoding="utf-8")) if options.factors.exists() else Factors(())
    merged = merge(rows, kept.rows)
    options.factors.write_text(write_factors(Factors(merged)), encoding="utf-8")
    print(f"\n{len(rows)} rows written to {options.factors}")


def measure_all(shapes: Sequence[Shape], path: Path) -> None:
    facts = machine()
    print(heading(facts))
    started, load = time.monotonic(), OtherLoad()
    taken: dict[str, list[Taken]] = {}
    machines = [detect()]
    with tempfile.TemporaryDirectory(prefix="planner-fit-") as scratch:
        for shape in shapes:
            begun = time.monotonic()
            taken[shape.name] = list(measure_shape(shape, machines[-1], Path(scratch)))
            machines.append(detect())
            told(f"{shape.name}: {time.monotonic() - begun:.0f} s")
    found = [
        point
        for number, (name, each) in enumerate(taken.items())
        for candidate, threads, measured in each
        for point in points(name, candidate, threads, measured, machines[max(0, number - 1) : number + 3])
    ]
    provenance = {
        "command": "python benchmarks/planner_fit.py",
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.monotonic() - started),
        "other_load_share": load.share(),
        "isa_classes": isa_classes(machines[0]),
        "machine": facts,
        "shapes": {shape.name: dict(shape.config) for shape in shapes},
        "rates": [{threads: median_rates((each,), threads) for threads in THREADS} for each in machines],
    }
    path.parent.mkdir(exist_ok=True)
    write_points(path, provenance, found)
    told(f"{len(found)} points in {provenance['seconds']} s, written to {path}")


def isa_classes(host: DeviceProfile) -> dict[str, str]:
    return {engine: isa_class(host, engine) for engine in ENGINE_PACKAGES}


Taken = tuple[Candidate, int, tuple[Reading, ...]]


def measure_shape(shape: Shape, host: DeviceProfile, scratch: Path) -> Iterator[Taken]:
    """Every candidate with every number of threads, and what was read of it."""
    folder = write_checkpoint(shape, scratch / "model")
    model = open_model(folder)
    for label in shape.strategies:
        work = scratch / "work"
        work.mkdir()
        offers = {threads: offer(model, host, threads, shape.lengths, label) for threads in THREADS}
        staged = stage(offers[THREADS[0]], model, host, LIMITS, work)
        for threads, candidate in offers.items():
            yield candidate, threads, tuple(readings(staged, candidate, model, threads, shape.lengths, work))
        shutil.rmtree(work)
    shutil.rmtree(folder)


def retold(measured: Sequence[Point], configs: Mapping[str, Mapping[str, Any]]) -> Iterator[Point]:
    """The points with the terms that their candidates have now. Shapes no longer listed, or listed with another
    configuration than was measured, are left out.
    """
    host = detect(measure=False)
    with tempfile.TemporaryDirectory(prefix="planner-fit-") as scratch:
        for number, shape in enumerate(FIT_SHAPES):
            if shape.config != configs.get(shape.name):
                continue
            model = open_model(write_checkpoint(shape, Path(scratch) / str(number), headers_only=True))
            own = [point for point in measured if point.shape == shape.name]
            for label, threads in dict.fromkeys((point.strategy, point.threads) for point in own):
                candidate = offer(model, host, threads, shape.lengths, label)
                for point in own:
                    if (point.strategy, point.threads) == (label, threads):
                        terms = terms_of(candidate.work, point.phase, point.tokens)
                        yield replace(point, terms=terms or point.terms)


def offer(model: SourceModel, host: DeviceProfile, threads: int, lengths: tuple[int, ...], label: str) -> Candidate:
    setting = Setting(host, Factors(()), LIMITS.context_tokens, threads, lengths or LENGTHS)
    for each in propose(model, setting):
        if isinstance(each, Candidate) and each.label == label:
            return each
    raise SystemExit(f"{model.name}: no {label} is offered")


def undisturbed(measured: Sequence[Point]) -> list[Point]:
    """Memory is what it is, whatever others do; times are not."""
    return [each for each in measured if each.phase == "memory" or (each.other_load or 0.0) <= DISTURBED]


def _row(key: tuple[str, str], measured: Sequence[Point], fitted: Fit, provenance: Mapping[str, Any]) -> Row:
    engine, phase = key
    shapes = len({point.shape for point in measured})
    facts = provenance["machine"]
    package = ENGINE_PACKAGES[engine]
    share = provenance["other_load_share"]
    doubt = "" if share is not None and share <= QUIET else ", provisional: the machine had other load"
    return Row(
        engine=engine,
        phase=phase,  # type: ignore[arg-type]
        isa=ANY_ISA if phase == "memory" else provenance["isa_classes"][engine],
        factors={name: float(f"{value:.4g}") for name, value in sorted(fitted.factors.items())},
        low=float(f"{np.exp(-fitted.half_width):.4g}"),
        high=float(f"{np.exp(fitted.half_width):.4g}"),
        points=len(measured),
        provenance=(
            f"benchmarks/planner_fit.py of {provenance['date']} on {facts['cpu']} with {facts['cores']} cores, "
            f"{package} {facts['versions'][package]}, {shapes} shapes with random weights{doubt}"
        ),
        least=0.0 if phase == "memory" else float(f"{min(map(operations, groups(measured)[key])):.3g}"),
    )


def operations(point: Point) -> float:
    return sum(amount for _, amount, unit in point.terms if unit in ("flops", "int8_ops"))


def merge(rows: Sequence[Row], kept: Sequence[Row]) -> tuple[Row, ...]:
    """The new rows, and of those found in the table the ones of other ISAs."""
    own = {(row.engine, row.phase, row.isa) for row in rows}
    others = [row for row in kept if (row.engine, row.phase, row.isa) not in own]
    return tuple(sorted((*rows, *others), key=lambda row: (row.engine, row.phase, row.isa)))


def report(measured: Sequence[Point], fitted: Mapping[tuple[str, str], Fit]) -> str:
    parts = []
    for key, each in fitted.items():
        own = groups(measured)[key]
        unseen = np.abs(each.unseen[~np.isnan(each.unseen)])
        parts.append(
            f"\n{key[0]}, {key[1]}: {len(own)} points of {len({point.shape for point in own})} shapes; median error: "
            f"{_percent(np.median(np.abs(each.errors)))} fitted, {_percent(np.median(unseen)) if len(unseen) else '?'} "
            f"of shapes left out; interval {np.exp(-each.half_width):.2f} to {np.exp(each.half_width):.2f}\n"
        )
        unsure = undecided(own, each)
        rows = [
            (name, f"{value:.3g}", "by the prior" if name in unsure else "") for name, value in each.factors.items()
        ]
        parts.append(table(("term", "factor", "decided"), rows))
        parts += [f"hardly told apart: {a}, {b} ({value:+.2f})" for a, b, value in collinear(own, each)[:6]]
        worst = np.argsort(-np.nan_to_num(np.abs(each.unseen)))[:4]
        parts += [f"furthest off, left out: {_told(own[index])} {_percent(each.unseen[index])}" for index in worst]
    dropped = [f"{engine} {phase}" for engine, phase in groups(measured) if (engine, phase) not in fitted]
    if dropped:
        parts.append(f"\nfewer than {FEWEST} points, no factors: {', '.join(dropped)}")
    return "\n".join(parts)


def _told(point: Point) -> str:
    return f"{point.shape}, {point.strategy}, {point.threads} threads, {point.tokens} tokens:"


def _percent(error: float) -> str:
    return f"{np.expm1(error):+.0%}" if error else "0%"


def told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
