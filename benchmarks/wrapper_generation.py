"""Tokens a second of a GGUF bundle in each language that runs llama.cpp in another build: Python, Node, Chromium.

    python benchmarks/wrapper_generation.py --bundle FOLDER [--tokens 96] [--repeats 5] [--threads 1] [--json FILE]

The languages' drivers take turns with the same prompt, greedy. A figure is of the tokens after the first: the time of a
whole answer less that of its first token, which holds the prompt's.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pytest
from fixtures import drivers, js_runtime
from fixtures.wrappers import Driver
from harness.machine import heading, machine
from harness.results import at_least, parser, write

from edgekit.tables import table

LANGUAGES = ("python", "node", "page", "worker")
PROMPT = "    def __init__(self, name, value):\n        self.name = name\n"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", type=Path, required=True, metavar="FOLDER", help="a GGUF bundle that generates")
    arguments.add_argument("--tokens", type=at_least(16), default=96, metavar="N", help="tokens an answer (default 96)")
    arguments.add_argument("--repeats", type=at_least(1), default=5, metavar="N", help="answers each (default 5)")
    arguments.add_argument("--threads", type=at_least(1), default=1, metavar="N", help="threads (default 1)")
    options = arguments.parse_args()
    facts = machine()
    print(heading(facts))
    with tempfile.TemporaryDirectory(prefix="generation-") as scratch:
        request = SimpleNamespace(getfixturevalue={"js_app": js_runtime.app(Path(scratch) / "app")}.__getitem__)
        started = {name: drivers.start(name, cast(pytest.FixtureRequest, request)) for name in LANGUAGES}
        opened = {name: _open(driver, options.bundle, options.threads) for name, driver in started.items()}
        rounds = [
            {name: _measured(driver, options.tokens) for name, driver in started.items()}
            for _ in range(options.repeats + 1)
        ][1:]  # the first warms up
        for driver in started.values():
            driver.end()
    figures = {name: _summary([each[name] for each in rounds]) | opened[name] for name in LANGUAGES}
    print(_table(figures))
    write(options.json, {"machine": facts, "generation": figures})


def _open(driver: Driver, bundle: Path, threads: int) -> dict[str, Any]:
    begun = time.perf_counter()
    asked = {"threads": threads, "engine_library": None, "memory_budget": None, "low_memory": False}
    told = driver.ask("open", bundle=str(bundle.resolve()), **asked)
    return {"open_ms": (time.perf_counter() - begun) * 1000, "threads": told["threads"]}


def _measured(driver: Driver, tokens: int) -> dict[str, float]:
    """Seconds to the first token and tokens a second after it."""
    taken = {}
    for count in (1, tokens):
        begun = time.perf_counter()
        texts = driver.ask("generate", prompt=PROMPT, max_tokens=count, temperature=0, seed=None, stop=[])
        taken[count] = time.perf_counter() - begun
    if len(texts) < tokens // 2:
        raise SystemExit(f"the answer has {len(texts)} pieces of {tokens} tokens: name a bundle that goes on")
    return {"first_ms": taken[1] * 1000, "tokens_per_s": (tokens - 1) / (taken[tokens] - taken[1])}


def _summary(measured: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in measured) for key in measured[0]}


def _table(figures: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        (name, str(each["threads"]), f"{each['open_ms']:.0f}", f"{each['first_ms']:.1f}", f"{each['tokens_per_s']:.0f}")
        for name, each in figures.items()
    ]
    return table(("language", "threads", "open ms", "first token ms", "tokens/s"), rows)


if __name__ == "__main__":
    main()
