"""all-MiniLM-L6-v2 packed by edgekit, beside optimum-cli's export and quantize: time, size, speed, fidelity.

    python benchmarks/minilm_against_optimum.py [--chains 3] [--sentences 400] [--repeats 100] [--json FILE]

The chains run in turn as whole processes. `edgekit pack` also plans, measures, validates against torch and writes the
bundle; optimum-cli exports and quantizes, with its own check of the export's outputs. Then every file runs in one
process with the same ids, threads and session options: embeddings against the original's in torch float32, and
latencies taken in turn. optimum's file with --per_channel is a row of its own, as edgekit quantizes per channel too.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.machine import heading, machine
from harness.processes import Finished, in_turn, program, run, spread
from harness.results import at_least, minilm, parser, write

from edgekit.tables import table

ISAS = ("arm64", "avx2", "avx512", "avx512_vnni")
LENGTHS = (16, 128)
PACK, EXPORT, QUANTIZE, PER_CHANNEL = "pack", "export", "quantize", "quantize --per_channel"
EDGEKIT, OPTIMUM, OPTIMUM_PER_CHANNEL = "edgekit", "optimum", "optimum --per_channel"
CHAINS = {EDGEKIT: (PACK,), OPTIMUM: (EXPORT, QUANTIZE), OPTIMUM_PER_CHANNEL: (EXPORT, PER_CHANNEL)}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--chains", type=at_least(1), default=3, metavar="N", help="runs of each chain (default 3)")
    arguments.add_argument("--sentences", type=at_least(10), default=400, metavar="N", help="docstrings' (default 400)")
    arguments.add_argument("--repeats", type=at_least(5), default=100, metavar="N", help="latency rounds (default 100)")
    arguments.add_argument("--isa", choices=ISAS, help="optimum's preset (default: what this CPU has)")
    options = arguments.parse_args()
    facts = machine()
    isa = options.isa or preset(facts["isa"])
    print(heading(facts))
    with tempfile.TemporaryDirectory(prefix="minilm-") as name:
        scratch = Path(name)
        steps = in_turn(chain_steps(minilm(), scratch, isa), options.chains)
        chains = {chain: chain_figures([steps[step] for step in CHAINS[chain]]) for chain in CHAINS}
        print(chain_table(chains, isa, options.chains), flush=True)
        files = model_files(minilm(), scratch)
        figures = evaluate(files, facts, options.sentences, options.repeats)
    print(f"\n{speed_table(figures, facts['cores'], options.repeats)}\n\n{fidelity_tables(figures)}")
    kept = {"machine": facts, "optimum_preset": isa, "threads": facts["cores"], "sentences": options.sentences}
    write(options.json, kept | {"latency_rounds": options.repeats, "chains": chains, "files": figures})


def preset(isa: Sequence[str]) -> str:
    """The best of optimum's presets for this CPU."""
    for preset_name, feature in (("avx512_vnni", "avx512_vnni"), ("avx512", "avx512f"), ("avx2", "avx2")):
        if feature in isa:
            return preset_name
    return "arm64"


def chain_steps(model: Path, scratch: Path, isa: str) -> dict[str, Any]:
    edgekit, optimum = program("edgekit"), program("optimum-cli")
    exported = scratch / EXPORT
    quantize = [optimum, "onnxruntime", "quantize", "--onnx_model", exported, f"--{isa}", "--output"]
    commands: dict[str, list[Any]] = {
        PACK: [edgekit, "pack", model, "--device", "host", "--force", "--out"],
        EXPORT: [optimum, "export", "onnx", "--model", model, "--task", "feature-extraction"],
        QUANTIZE: quantize,
        PER_CHANNEL: [*quantize[:-1], "--per_channel", quantize[-1]],
    }
    return {step: partial(afresh, words, scratch / step) for step, words in commands.items()}


def afresh(command: Sequence[Any], out: Path) -> Finished:
    shutil.rmtree(out, ignore_errors=True)
    return run([*command, out])


def chain_figures(steps: Sequence[Sequence[Finished]]) -> dict[str, Any]:
    """Of a chain whose steps ran several times; rounds are added up before the median is taken."""
    rounds = list(zip(*steps, strict=True))
    return {
        "wall_s": spread([sum(step.wall_s for step in each) for each in rounds]),
        "cpu_s": spread([sum(step.cpu_s for step in each) for each in rounds]),
        "peak_rss_bytes": statistics.median(max(step.peak_rss_bytes for step in each) for each in rounds),
        "step_wall_s": [statistics.median(step.wall_s for step in each) for each in steps],
    }


def model_files(model: Path, scratch: Path) -> dict[str, dict[str, Any]]:
    """Every model file by name, with the name of the fp32 file it is held against, and edgekit's verdict on its own."""
    run([program("edgekit"), "pack", model, "--strategy", "onnx-fp32", "--force", "--out", scratch / "pack-fp32"])
    fp32, packed = (
        json.loads((scratch / name / "edgekit.json").read_text(encoding="utf-8")) for name in ("pack-fp32", PACK)
    )
    own, peer = f"{EDGEKIT} {fp32['strategy']}", f"{OPTIMUM} fp32"
    return {
        own: {"path": scratch / "pack-fp32" / fp32["model_file"], "fp32": own},
        f"{EDGEKIT} {packed['strategy']}": {
            "path": scratch / PACK / packed["model_file"], "fp32": own, "validation": packed["status"],
        },
        peer: {"path": scratch / EXPORT / "model.onnx", "fp32": peer},
        f"{OPTIMUM} int8": {"path": scratch / QUANTIZE / "model_quantized.onnx", "fp32": peer},
        f"{OPTIMUM_PER_CHANNEL} int8": {"path": scratch / PER_CHANNEL / "model_quantized.onnx", "fp32": peer},
    }  # fmt: skip


def evaluate(
    files: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any], sentences: int, repeats: int
) -> dict[str, dict[str, Any]]:
    # Here and not above: the chains' peaks are measured by a process that has nothing large imported.
    import numpy as np
    from harness.embeddings import OnnxFile, Tokens, fidelity, latencies_ms, torch_vectors
    from harness.sentences import docstring_sentences, multilingual_sentences

    tokens, threads = Tokens(minilm()), facts["cores"]
    texts = {
        "from the standard library's docstrings": docstring_sentences(sentences),
        "multilingual, shipped with edgekit": multilingual_sentences(),
    }
    inputs = {kind: [tokens.of(text) for text in each] for kind, each in texts.items()}
    truth = {kind: torch_vectors(minilm(), each, threads) for kind, each in inputs.items()}
    saturating = "sse3" in facts["isa"] and not {"avx512_vnni", "avx_vnni"} & set(facts["isa"])
    opened = {
        name: OnnxFile(each["path"], threads, precise=saturating and name.startswith(EDGEKIT))
        for name, each in files.items()
    }
    long = " ".join(docstring_sentences(sentences))
    timed = {length: latencies_ms(opened, tokens.of(long, length), repeats) for length in LENGTHS}
    return {
        name: {
            "fp32": files[name]["fp32"],
            "validation": files[name].get("validation"),
            "file_bytes": files[name]["path"].stat().st_size,
            "latency_ms": {length: timed[length][name] for length in LENGTHS},
            "over_fp32": {length: timed[length][name] / timed[length][files[name]["fp32"]] for length in LENGTHS},
            "fidelity": {
                kind: fidelity(truth[kind], np.stack([file.embed(given) for given in each]))
                for kind, each in inputs.items()
            },
        }
        for name, file in opened.items()
    }


def chain_table(chains: Mapping[str, Mapping[str, Any]], isa: str, repeats: int) -> str:
    words = {
        EDGEKIT: "edgekit pack",
        OPTIMUM: f"optimum-cli export onnx + quantize --{isa}",
        OPTIMUM_PER_CHANNEL: f"optimum-cli export onnx + quantize --{isa} --per_channel",
    }
    own = chains[EDGEKIT]["wall_s"]["median"]
    rows = [
        (
            words[name], f"{each['wall_s']['median']:.1f}", f"{each['wall_s']['min']:.1f}",
            f"{each['wall_s']['max']:.1f}", f"{each['cpu_s']['median']:.1f}", f"{each['peak_rss_bytes'] / 2**20:.0f}",
            f"{own / each['wall_s']['median']:.2f}",
        )
        for name, each in chains.items()
    ]  # fmt: skip
    header = ("chain", "median s", "min", "max", "CPU s", "peak RSS MiB", "edgekit over it")
    return f"{table(header, rows)}\n{repeats} runs of each in turn after one that is dropped"


def speed_table(figures: Mapping[str, Mapping[str, Any]], threads: int, repeats: int) -> str:
    packed = next(each for name, each in figures.items() if each["validation"] is not None)
    rows = []
    for name, each in figures.items():
        row = [name, f"{each['file_bytes'] / 1e6:.1f}"]
        for length in LENGTHS:
            own = each["latency_ms"][length]
            row += [f"{own:.2f}", f"{each['over_fp32'][length]:.2f}", f"{packed['latency_ms'][length] / own:.2f}"]
        rows.append(row)
    header = ["file", "MB"]
    for length in LENGTHS:
        header += [f"ms at {length} tokens", "over its fp32", "edgekit's over it"]
    note = f"medians of {repeats} rounds in turn, {threads} threads, one text, from ids to the normalised embedding"
    return f"{table(header, rows)}\n{note}; edgekit's own validation: {packed['validation']}"


def fidelity_tables(figures: Mapping[str, Mapping[str, Any]]) -> str:
    shown = []
    for kind in next(iter(figures.values()))["fidelity"]:
        rows = []
        for name, each in figures.items():
            one = each["fidelity"][kind]
            kept = f"{one['neighbours_kept']:.3f} +- {one['neighbours_kept_error']:.3f}"
            rows.append((name, f"{one['mean_cosine']:.4f}", f"{one['min_cosine']:.4f}", kept))
        title = f"against the original in torch float32, on {one['texts']} sentences, {kind}"
        shown.append(f"{title}\n{table(('file', 'mean cosine', 'min cosine', 'nearest neighbour kept'), rows)}")
    return "\n\n".join(shown)


if __name__ == "__main__":
    main()
