"""Cold start: a fresh process to its first embedding, the bundle's runtime beside optimum's on the same folder.

    python benchmarks/cold_start.py [--bundle FOLDER] [--repeats 7] [--json FILE]

Without --bundle, all-MiniLM-L6-v2 is packed for this machine first. Four processes run in turn, each with the same
threads and the same text: the bundle's own runtime (which hashes every file, and once more without hashing), a bare
script on numpy, onnxruntime and tokenizers, and optimum's ORTModelForFeatureExtraction with AutoTokenizer. The first
round is dropped: after it every file is in the page cache.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.machine import heading, machine
from harness.processes import Finished, in_turn, program, run, spread
from harness.results import at_least, minilm, parser, verdict, write

from edgekit.tables import table

TEXT = "The ferry leaves the harbour at half past six, whatever the weather."
AIM = 10  # times faster than optimum, at least
PEER = "optimum ORTModel"
RUNTIME = "edgekit runtime"

# Each program: argv is the bundle, the model file inside it, threads and the text; it prints the vector as JSON.
_START = "import json, sys; folder, model, threads, text = sys.argv[1:]\n"
_RUNTIME = """
sys.path.insert(0, folder + "/runtime/python")
import edgekit_runtime as rt
session = rt.open(folder, threads=int(threads){verify})
print(json.dumps(session.embed([text])[0].tolist()))
"""
_POOLED = """
mask = encoded["attention_mask"][..., None]
vector = (hidden * mask).sum(1) / mask.sum(1)
print(json.dumps((vector / np.linalg.norm(vector))[0].tolist()))
"""
_BARE = """
import numpy as np, onnxruntime, tokenizers
tokenizer = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
tokenizer.no_padding()
encoding = tokenizer.encode(text)
given = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
encoded = {name: np.array([ids], np.int64) for name, ids in given.items()}
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(folder + "/" + model, options, providers=["CPUExecutionProvider"])
(hidden,) = session.run(["last_hidden_state"], encoded)
"""
_OPTIMUM = """
import numpy as np, onnxruntime
from optimum.onnxruntime import ORTModelForFeatureExtraction
from transformers import AutoTokenizer
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
subfolder, _, name = model.rpartition("/")
loaded = ORTModelForFeatureExtraction.from_pretrained(
    folder, subfolder=subfolder, file_name=name, session_options=options, provider="CPUExecutionProvider"
)
encoded = AutoTokenizer.from_pretrained(folder)([text], return_tensors="np")
hidden = loaded(**encoded)["last_hidden_state"]
"""
PROGRAMS = {
    RUNTIME: _START + _RUNTIME.format(verify=""),
    f"{RUNTIME}, verify=False": _START + _RUNTIME.format(verify=", verify=False"),
    "bare onnxruntime script": _START + _BARE + _POOLED,
    PEER: _START + _OPTIMUM + _POOLED,
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", type=Path, metavar="FOLDER", help="an embedding bundle with an ONNX model")
    arguments.add_argument("--repeats", type=at_least(2), default=7, metavar="N", help="rounds (default 7)")
    options = arguments.parse_args()
    facts = machine()
    print(heading(facts))
    with tempfile.TemporaryDirectory(prefix="cold-start-") as scratch:
        bundle = options.bundle.resolve() if options.bundle else packed(Path(scratch) / "bundle")
        manifest = json.loads((bundle / "edgekit.json").read_text(encoding="utf-8"))
        if (manifest["task"], manifest["engine"]) != ("embedding", "onnxruntime"):
            raise SystemExit(
                f"{bundle} is for {manifest['task']} by {manifest['engine']}; this takes embeddings by ONNX"
            )
        given = [str(bundle), manifest["model_file"], str(facts["cores"]), TEXT]
        commands = {name: [sys.executable, "-c", source, *given] for name, source in PROGRAMS.items()}
        samples = in_turn({name: partial(run, words) for name, words in commands.items()}, options.repeats)

    peer = spread([each.wall_s for each in samples[PEER]])["median"]
    results = {name: figures(each, samples[PEER], peer) for name, each in samples.items()}
    print(f"{manifest['name']}, {manifest['strategy']}, {facts['cores']} threads\n")
    print(report(results, options.repeats))
    shown = {"name": manifest["name"], "strategy": manifest["strategy"], "threads": facts["cores"]}
    kept = {"machine": facts, "bundle": shown, "repeats": options.repeats, "aim_times_faster": AIM}
    write(options.json, kept | {"processes": results})


def packed(bundle: Path) -> Path:
    run([program("edgekit"), "pack", minilm(), "--device", "host", "--out", bundle, "--force"])
    return bundle


def figures(samples: Sequence[Finished], peer_samples: Sequence[Finished], peer_s: float) -> dict[str, Any]:
    walls = [each.wall_s for each in samples]
    return {
        "wall_s": spread(walls),
        "cpu_s": spread([each.cpu_s for each in samples]),
        "peak_rss_bytes": spread([each.peak_rss_bytes for each in samples]),
        "times_faster": peer_s / spread(walls)["median"],
        "cosine_with_peer": cosine(json.loads(samples[0].stdout), json.loads(peer_samples[0].stdout)),
        "samples_s": walls,
    }


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def report(results: Mapping[str, Mapping[str, Any]], repeats: int) -> str:
    rows = [
        (
            name, f"{each['wall_s']['median']:.3f}", f"{each['wall_s']['min']:.3f}", f"{each['wall_s']['max']:.3f}",
            f"{each['cpu_s']['median']:.2f}", f"{each['peak_rss_bytes']['median'] / 2**20:.0f}",
            f"{each['times_faster']:.1f} x", verdict(each["times_faster"] >= AIM) if name == RUNTIME else "",
            f"{each['cosine_with_peer']:.5f}",
        )
        for name, each in results.items()
    ]  # fmt: skip
    header = (
        "process", "median s", "min", "max", "CPU s", "peak RSS MiB", "faster than optimum", f"aim >= {AIM} x",
        "cosine with optimum's",
    )  # fmt: skip
    return f"{table(header, rows)}\n\n{repeats} rounds in turn after one that is dropped, whole processes"


if __name__ == "__main__":
    main()
