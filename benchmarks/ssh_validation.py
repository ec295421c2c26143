"""Validation over ssh: how long it takes against a real sshd on loopback, and what it copies the first and later times.

    python benchmarks/ssh_validation.py [--bundle FOLDER] [--python PYTHON] [--repeats 3] [--json FILE]

Without --bundle, all-MiniLM-L6-v2 is packed for a Raspberry Pi 5 first. The host is this machine: an sshd of the
benchmark's own, with an empty home, in which --python is the only Python; without it that is the one that runs this,
which has the engine, so that nothing is installed. The same bundle is validated by `local` in turn with the later
runs, and once before all, which is dropped. Copied bytes are those of files: the bundle's, and of the fp32 model that
the speed gate is timed against.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fixtures.sshd import serving
from harness.machine import heading, machine
from harness.processes import in_turn, program, run, spread
from harness.results import at_least, minilm, parser, verdict, write

import edgekit
from edgekit.tables import table

DEVICE = "raspberry-pi-5-8gb"


@dataclass
class Steps:
    """Progress that keeps the seconds of each step, and the bytes that were copied."""

    seconds: dict[str, float] = field(default_factory=dict)
    copied_bytes: int = 0
    _title: str = ""
    _started: float = 0.0

    def step(self, title: str, total: float | None = None) -> None:
        del total
        now = time.perf_counter()
        if self._title:
            self.seconds[self._title] = self.seconds.get(self._title, 0.0) + now - self._started
        self._title, self._started = title, now

    def advance(self, done: float) -> None:
        if self._title.startswith("copy "):
            self.copied_bytes += int(done)


@dataclass(frozen=True)
class Validation:
    wall_s: float
    copied_bytes: int
    steps_s: dict[str, float]
    cosine: float | None
    latency_ms: float | None


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", type=Path, metavar="FOLDER", help="a bundle whose original is still there")
    arguments.add_argument("--python", default=sys.executable, metavar="PYTHON", help="the host's Python")
    arguments.add_argument("--repeats", type=at_least(1), default=3, metavar="N", help="later runs (default 3)")
    options = arguments.parse_args()
    os.environ["EDGEKIT_HISTORY"] = "none"
    facts = machine()
    print(heading(facts))
    with tempfile.TemporaryDirectory(prefix="ssh-validation-") as scratch, serving(Path(scratch) / "sshd") as server:
        os.environ["EDGEKIT_SSH_CONFIG"] = str(server.config)
        server.commanded(python=options.python)
        bundle = options.bundle.resolve() if options.bundle else packed(Path(scratch) / "bundle")
        there = partial(validated, bundle, "ssh:board", facts["cores"])
        validated(bundle, "local", facts["cores"])  # dropped: it imports torch and reads the model's files
        first = there()
        runs: dict[str, Callable[[], Validation]] = {
            "ssh, later": there,
            "local": partial(validated, bundle, "local", facts["cores"]),
        }
        later = in_turn(runs, options.repeats, warmup=0)
        stored = sum(path.stat().st_size for path in (server.store / "blobs").iterdir())
    results = {"ssh, first": [first], **later}
    print(report(results))
    nothing = all(each.copied_bytes == 0 for each in later["ssh, later"])
    print(f"\na later run copies nothing: {verdict(nothing)}; kept there: {stored / 1e6:.1f} MB of files")
    figures = {name: [vars(each) for each in runs] for name, runs in results.items()}
    write(options.json, {"machine": facts, "device": DEVICE, "stored_bytes": stored, "runs": figures})


def packed(bundle: Path) -> Path:
    run([program("edgekit"), "pack", minilm(), "--device", DEVICE, "--out", bundle, "--force"])
    return bundle


def validated(bundle: Path, target: str, threads: int) -> Validation:
    steps, started = Steps(), time.perf_counter()
    report = edgekit.validate(bundle, target=target, threads=threads, progress=steps)
    wall_s = time.perf_counter() - started
    steps.step("")
    return Validation(
        wall_s, steps.copied_bytes, steps.seconds, report.figure("mean cosine"), report.figure("latency p50")
    )


def report(results: dict[str, list[Validation]]) -> str:
    rows = [row(name, runs) for name, runs in results.items()]
    header = (
        "run",
        "times",
        "median s",
        "copied MB",
        "of which connect, prepare, copy, run there s",
        "cosine",
        "p50 ms",
    )
    return table(header, rows)


def row(name: str, runs: list[Validation]) -> tuple[str, ...]:
    parts = [
        spread([sum(s for title, s in each.steps_s.items() if title.startswith(start)) for each in runs])["median"]
        for start in ("connect", "prepare", "copy", "run on")
    ]
    shown: list[Any] = [each.cosine for each in runs]
    return (
        name,
        str(len(runs)),
        f"{spread([each.wall_s for each in runs])['median']:.2f}",
        f"{max(each.copied_bytes for each in runs) / 1e6:.1f}",
        ", ".join(f"{part:.2f}" for part in parts) if name != "local" else "",
        f"{shown[0]:.4f}" if shown[0] is not None else "",
        f"{spread([each.latency_ms or 0.0 for each in runs])['median']:.2f}",
    )


if __name__ == "__main__":
    main()
