"""Start-up of the command line: `edgekit --help` and `edgekit devices list` beside `optimum-cli --help`.

    python benchmarks/cli_startup.py [--repeats 15] [--json FILE]

Whole processes, run in turn; then each once more with Python's import log, which shows what it imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from harness.machine import heading, machine
from harness.processes import in_turn, program, run, spread
from harness.results import at_least, parser, verdict, write

from edgekit.tables import table

PEER = "optimum-cli --help"
COMMANDS = ("edgekit --help", "edgekit devices list", PEER)
HEAVY = ("torch", "onnx", "transformers", "onnxruntime")
AIM = 1.5  # times the peer's median, at most


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=at_least(2), default=15, metavar="N", help="rounds (default 15)")
    options = arguments.parse_args()
    facts = machine()
    print(heading(facts))

    words = {command: [program(command.split()[0]), *command.split()[1:]] for command in COMMANDS}
    samples = in_turn({name: partial(wall_ms, each) for name, each in words.items()}, options.repeats)
    imported = {name: modules(run(each, PYTHONPROFILEIMPORTTIME="1").stderr) for name, each in words.items()}

    peer = spread(samples[PEER])["median"]
    results = {
        name: {
            "wall_ms": spread(samples[name]),
            "over_peer": spread(samples[name])["median"] / peer,
            "modules_imported": len(imported[name]),
            "heavy_imported": [each for each in HEAVY if each in imported[name]],
            "samples_ms": samples[name],
        }
        for name in COMMANDS
    }
    print(report(results, options.repeats))
    write(options.json, {"machine": facts, "repeats": options.repeats, "aim_over_peer": AIM, "commands": results})


def wall_ms(command: Sequence[str]) -> float:
    return run(command).wall_s * 1e3


def modules(log: str) -> set[str]:
    """The modules named in the log that PYTHONPROFILEIMPORTTIME writes."""
    found = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", log, re.MULTILINE))
    if "site" not in found:
        raise SystemExit("the process wrote no import log: this Python has no PYTHONPROFILEIMPORTTIME")
    return found


def report(results: Mapping[str, Mapping[str, Any]], repeats: int) -> str:
    rows = []
    for name, each in results.items():
        wall = each["wall_ms"]
        lean = not each["heavy_imported"]
        rows.append((
            name, f"{wall['median']:.0f}", f"{wall['min']:.0f}", f"{wall['max']:.0f}", f"{each['over_peer']:.2f}",
            "" if name == PEER else verdict(each["over_peer"] <= AIM), str(each["modules_imported"]),
            ", ".join(each["heavy_imported"]) or "none", "" if name == PEER else verdict(lean),
        ))  # fmt: skip
    header = ("command", "median ms", "min", "max", "over optimum-cli", f"aim <= {AIM}", "modules", "heavy", "aim none")
    return (
        f"{table(header, rows)}\n\n{repeats} rounds in turn after one that is dropped, whole processes; "
        f"heavy: which of {', '.join(HEAVY)} Python's import log names"
    )


if __name__ == "__main__":
    main()
