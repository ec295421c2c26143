"""What a wrapper costs an app in each language: time over the bare engine, cold start, bytes.

    python benchmarks/wrapper_costs.py [--bundle FOLDER] [--rounds 300] [--repeats 3] [--cold 5] [--json FILE]

Without --bundle, all-MiniLM-L6-v2 is packed for this machine first. Overhead: one process a language calls the wrapper
and the bare engine in turn (A B A B), on one session of the engine and the same tensors of 128 tokens, one thread; the
median of the paired differences over the bare median. (Two sessions of one model differ by up to 1 % themselves, by
where their weights lie.) Java's calls are timed once its machine is warm: 400 go before them. Cold start: from starting
a process to its first embedding, every file hashed; a page's is from opening its address in a live Chromium.
Bytes are what the app gets: the wrapper's own files, compiled and stripped where it is compiled, and beside them the
engine's and the other packages that it needs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fixtures import c_runtime, drivers, java_runtime, js_runtime
from harness.machine import heading, machine
from harness.processes import Finished, in_turn, program, run, spread
from harness.results import at_least, minilm, parser, verdict, write

from edgekit import runtimes
from edgekit.tables import table

HERE = Path(__file__).resolve().parent / "wrappers"
TEXT = "The ferry leaves the harbour at half past six, whatever the weather."
# The most that a call may cost over the bare engine: a share of its time, or milliseconds; None: measured, no aim.
AIMS: dict[str, tuple[float, float] | None] = {
    "python": (0.03, 0.1),
    "node": None,
    "c": (0.01, 0.0),
    "java": (0.01, 0.0),
}
# An app's JVM once it is warm: with its optimizing compiler, unlike the tests', and a heap as small as a phone's.
_JVM = ("-XX:TieredStopAtLevel=4", "-Xmx256m", "-Xmn16m")
COLD = ("python", "node", "c", "java")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", type=Path, metavar="FOLDER", help="an embedding bundle with an ONNX model")
    arguments.add_argument("--rounds", type=at_least(20), default=300, metavar="N", help="calls of each (default 300)")
    arguments.add_argument("--repeats", type=at_least(1), default=3, metavar="N", help="processes each (default 3)")
    arguments.add_argument("--cold", type=at_least(2), default=5, metavar="N", help="cold starts each (default 5)")
    options = arguments.parse_args()
    facts = machine()
    print(heading(facts))
    with tempfile.TemporaryDirectory(prefix="wrappers-") as scratch:
        work = Path(scratch)
        bundle = options.bundle.resolve() if options.bundle else packed(work / "bundle")
        built = build(work)
        overheads = overhead(bundle, built, options.rounds, options.repeats)
        print(overhead_table(overheads) + "\n")
        colds = cold_starts(bundle, built, options.cold)
        print(cold_table(colds) + "\n")
        added = added_bytes(work, built)
        print(bytes_table(added))
    write(options.json, {"machine": facts, "overhead": overheads, "cold_start": colds, "added_bytes": added})


def packed(bundle: Path) -> Path:
    run([program("edgekit"), "pack", minilm(), "--device", "host", "--out", bundle, "--max-slowdown", "100"])
    return bundle


def build(work: Path) -> dict[str, Path]:
    """Everything compiled as an app would: optimized, from the assembled wrappers."""
    for language in runtimes.LANGUAGES:
        runtimes.assemble(language, work / "wrappers" / language)
    c, java = work / "wrappers" / "c", work / "wrappers" / "java"
    flags = ["-std=c11", "-O2", "-D_GNU_SOURCE", "-I", str(c)]
    links = ["-ldl", "-lpthread", "-lm"]
    library = work / "libedgekit.so"
    compiled(["gcc", *flags, "-shared", "-fPIC", "-fvisibility=hidden", c / "edgekit.c", "-o", library, *links])
    for name in ("overhead", "cold"):
        sources = [HERE / "overhead.c"] if name == "overhead" else [drivers.DRIVERS / "driver.c", c / "edgekit.c"]
        compiled(["gcc", *flags, "-I", c_runtime.SOURCES, *sources, "-o", work / name, *links])
    native = java_runtime.native(work / "java" / "native", java, "-DCMAKE_BUILD_TYPE=Release")
    classes = java_runtime.javac(work / "java" / "classes", (java / "src" / "main" / "java").rglob("*.java"))
    sources = [java_runtime.DRIVER, HERE / "Overhead.java"]
    java_runtime.javac(work / "java" / "programs", sources, [classes, java_runtime.GSON])
    headers = java_runtime.jdk() / "include"
    bare = work / "libbare.so"
    places = ["-I", headers, "-I", headers / "linux", "-I", c_runtime.SOURCES]
    compiled(["gcc", *flags, *places, "-shared", "-fPIC", HERE / "overhead_jni.c", "-o", bare, *links])
    compiled(["jar", "cf", work / "edgekit.jar", "-C", classes, "."])
    return {
        "c": work / "overhead", "cold": work / "cold", "library": library, "java": work / "java", "jni": native,
        "bare": bare, "jar": work / "edgekit.jar", "js": js_runtime.app(work / "app"),
    }  # fmt: skip


def compiled(command: Sequence[str | Path]) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr[-2000:]}")


def overhead(bundle: Path, built: dict[str, Path], rounds: int, repeats: int) -> dict[str, Any]:
    library = str(c_runtime.engine_library("onnxruntime"))
    given = [str(bundle), library, str(rounds)]
    java = java_runtime.command(
        built["java"], "Overhead", *given, options=[f"-Doverhead.library={built['bare']}", *_JVM]
    )
    commands = {
        "python": [sys.executable, HERE / "overhead.py", *given],
        "node": ["node", HERE / "overhead.mjs", *given, built["js"]],
        "c": [built["c"], *given],
        "java": java,
    }
    told = in_turn({name: partial(run, words) for name, words in commands.items()}, repeats, warmup=0)
    return {name: _overhead(name, [last_line(each) for each in runs]) for name, runs in told.items()}


def last_line(finished: Finished) -> dict[str, Any]:
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def _overhead(name: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Paired differences of all processes, their median over the median of the bare engine, and its interval."""
    pairs = [
        (wrapper, bare) for each in runs for wrapper, bare in zip(each["wrapper_ms"], each["bare_ms"], strict=True)
    ]
    bare_ms = statistics.median(bare for _, bare in pairs)
    differences = [wrapper - bare for wrapper, bare in pairs]
    added_ms = statistics.median(differences)
    low_ms, high_ms = _interval(differences)
    aim = AIMS[name]
    held = None if aim is None else added_ms / bare_ms <= aim[0] or added_ms <= aim[1]
    return {
        "bare_ms": bare_ms, "added_ms": added_ms, "added_low_ms": low_ms, "added_high_ms": high_ms,
        "share": added_ms / bare_ms, "held": held, "calls": len(pairs),
    }  # fmt: skip


def _interval(samples: Sequence[float], draws: int = 500) -> tuple[float, float]:
    """The median's 95 % interval, by bootstrap."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(samples, k=len(samples))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def overhead_table(found: dict[str, Any]) -> str:
    rows = [
        (
            name, f"{each['bare_ms']:.3f}", f"{each['added_ms'] * 1000:+.0f}",
            f"{each['added_low_ms'] * 1000:+.0f} to {each['added_high_ms'] * 1000:+.0f}", f"{each['share']:+.2%}",
            "" if each["held"] is None else verdict(each["held"]), str(each["calls"]),
        )
        for name, each in found.items()
    ]  # fmt: skip
    header = ("language", "bare ms", "added us", "95 % interval", "share", "aim", "calls")
    return f"a call over the bare engine, in one process\n{table(header, rows)}"


def cold_starts(bundle: Path, built: dict[str, Path], repeats: int) -> dict[str, Any]:
    runs: dict[str, Callable[[], float]] = {language: partial(_cold, language, built, bundle) for language in COLD}
    found = {name: spread(seconds) for name, seconds in in_turn(runs, repeats).items()}
    told = run(["node", HERE / "browser.mjs", bundle, "1", built["js"]])
    return {**found, "page": last_line(told)}


def _cold(language: str, built: dict[str, Path], bundle: Path) -> float:
    """Seconds from starting the language's driver to its first embedding."""
    fixtures = {"c_programs": built["cold"].parent, "java_programs": built["java"], "js_app": built["js"]}
    request = SimpleNamespace(getfixturevalue=fixtures.__getitem__)
    started = time.perf_counter()
    unsanitized = language == "c"
    driver = drivers.Driver([built["cold"]]) if unsanitized else drivers.start(language, request)  # type: ignore[arg-type]
    library = drivers.engine_library(language, "onnxruntime")
    driver.ask("open", bundle=str(bundle), engine_library=library, threads=None, memory_budget=None, low_memory=False)
    driver.ask("embed", text=TEXT)
    taken_s = time.perf_counter() - started
    driver.end()
    return taken_s


def cold_table(found: dict[str, Any]) -> str:
    rows = [
        (name, f"{each['median']:.2f}", f"{each['min']:.2f}", f"{each['max']:.2f}")
        for name, each in found.items()
        if "median" in each
    ]
    page = found["page"]
    rows.append(("page", f"{page['page_ms'] / 1000:.2f}", "", ""))
    return f"cold start to the first embedding, s\n{table(('language', 'median', 'min', 'max'), rows)}"


def added_bytes(work: Path, built: dict[str, Path]) -> dict[str, Any]:
    """What an app on this machine's architecture gets, by language: {wrapper, engine, other}."""
    wrappers = work / "wrappers"
    for each in ("library", "jni"):
        compiled(["strip", built[each]])
    packages = built["js"] / "node_modules"
    engine = c_runtime.engine_library("onnxruntime").stat().st_size
    native = packages / "onnxruntime-node" / "bin" / "napi-v6" / sys.platform / _node_arch()
    web = [
        packages / "onnxruntime-web" / "dist" / f"ort{name}"
        for name in (".wasm.min.mjs", "-wasm-simd-threaded.wasm", "-wasm-simd-threaded.mjs")
    ]
    text = _size([packages / "@huggingface" / name / "dist" for name in ("tokenizers", "jinja")])
    scripts = _size((wrappers / "js").rglob("*.js"))
    java = built["jni"].stat().st_size + built["jar"].stat().st_size
    python = _size([wrappers / "python" / "edgekit_runtime"])
    return {
        "python": {
            "wrapper": python, "engine": _packages("onnxruntime"), "other": _packages("numpy", "tokenizers"),
        },
        "node": {"wrapper": scripts, "engine": _size([native]), "other": text},
        "page": {"wrapper": scripts, "engine": _size(web), "other": text},
        "c": {"wrapper": built["library"].stat().st_size, "engine": engine, "other": 0},
        "java": {"wrapper": java, "engine": engine, "other": 0},
    }  # fmt: skip


def _node_arch() -> str:
    return {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]


def _packages(*names: str) -> int:
    """Installed bytes of Python packages, with the libraries beside them."""
    from importlib.metadata import files

    found = [Path(str(each.locate())) for name in names for each in files(name) or ()]
    return sum(path.stat().st_size for path in found if path.is_file() and path.suffix != ".pyc")


def _size(paths: Iterable[Path]) -> int:
    inside = [path for each in paths for path in ([each] if each.is_file() else each.rglob("*"))]
    return sum(path.stat().st_size for path in inside if path.is_file() and path.suffix not in (".pyc", ".map"))


def bytes_table(found: dict[str, Any]) -> str:
    rows = [
        (name, f"{each['wrapper'] / 1000:.0f}", f"{each['engine'] / 1e6:.1f}", f"{each['other'] / 1e6:.1f}")
        for name, each in found.items()
    ]
    return f"bytes that an app gets\n{table(('language', 'wrapper kB', 'engine MB', 'other MB'), rows)}"


if __name__ == "__main__":
    if shutil.which("node") is None or shutil.which("javac") is None:
        raise SystemExit("Node.js and a JDK are needed: run `make packages`")
    main()
