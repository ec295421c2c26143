"""int8 with and without the guard against saturation, on this machine and on emulated CPUs.

    python benchmarks/isa_safety.py [--cpus cortex-a53,Haswell] [--sentences 64] [--json FILE]

On x86 without VNNI an int8 matrix product adds neighbouring products in 16 bits, and the sum of two can exceed them.
The runtime forbids that by a session option, where the CPU needs it. Two bundles are packed for a server with VNNI,
with weights of all 8 bits: all-MiniLM-L6-v2, and a plain net of matrix products that saturate hard. Each then runs on
every CPU with the guard and without: how far its goldens are from those recorded here, how near its answers are to the
original's, and the int8 instructions that ran. The matrix products whose pairs exceed 16 bits, with the activations
seen, are named. (For a device without VNNI edgekit quantizes to 7 bits, of which no pair can: nothing to see here.)

The emulated CPUs are prepared by `edgekit targets prepare`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine import heading, machine
from harness.results import at_least, minilm, parser, write

from edgekit.device import load_profile
from edgekit.grid import table
from edgekit.progress import Silent
from edgekit.targets import Conditions, open_target

CPUS = "cortex-a53,cortex-a76,max,Haswell,Nehalem"
PROFILE = "server-avx512-vnni"
TIMEOUT_S = 1200.0
INT16 = 2**15
# Of the net that saturates: layers, width, samples.
LAYERS, WIDTH, SAMPLES = 4, 256, 32


@dataclass(frozen=True)
class Subject:
    """A bundle with what it is asked, as the probe's job names it, and the original's answers [inputs, width]."""

    name: str
    bundle: Path
    fidelity: Mapping[str, Any]
    truth: Any


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--cpus", default=CPUS, help=f"emulated ones, by comma (default {CPUS})")
    arguments.add_argument("--sentences", type=at_least(2), default=64, metavar="N", help="docstrings' (default 64)")
    options = arguments.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    facts = machine()
    print(heading(facts))
    with tempfile.TemporaryDirectory(prefix="isa-safety-") as name:
        scratch = Path(name)
        subjects = [encoder(scratch / "minilm", options.sentences), saturating(scratch / "net")]
        places = ["local", *(f"emulated:{cpu}" for cpu in options.cpus.split(","))]
        rows = [row for subject in subjects for place in places for row in measured(subject, place, scratch)]
        print(rows_table(rows), flush=True)
        products = [found for subject in subjects for found in exceeding(subject)]
    print(f"\n{products_table(products)}\n\n{verdict(rows)}")
    write(options.json, {"machine": facts, "rows": rows, "products": products})


def encoder(folder: Path, sentences: int) -> Subject:
    """all-MiniLM-L6-v2 in int8, on sentences of the standard library's docstrings."""
    from harness.embeddings import Tokens, torch_vectors
    from harness.sentences import docstring_sentences

    texts = docstring_sentences(sentences)
    tokens = Tokens(minilm())
    truth = torch_vectors(minilm(), [tokens.of(text) for text in texts], 1)
    return Subject("MiniLM-L6", packed(minilm(), folder), {"texts": texts}, truth)


def saturating(folder: Path) -> Subject:
    """Matrix products with ReLU: activations are positive and neighbouring weights alike, so that pairs add up."""
    import numpy as np
    import onnxruntime

    folder.mkdir()
    random = np.random.default_rng(0)
    write_net(folder / "net.onnx", [pairs_alike(random) for _ in range(LAYERS)])
    session = onnxruntime.InferenceSession(str(folder / "net.onnx"), providers=["CPUExecutionProvider"])
    samples = random.uniform(0.5, 1, (SAMPLES, 1, WIDTH)).astype(np.float32)
    paths = []
    for index, sample in enumerate(samples):
        paths.append(str(folder / f"sample-{index}.npz"))
        np.savez(paths[-1], x=sample)
    truth = np.concatenate([session.run(None, {"x": sample})[0] for sample in samples])
    return Subject("saturating net", packed(folder / "net.onnx", folder / "bundle"), {"npz": paths}, truth)


def pairs_alike(random: Any) -> Any:
    """float32 [WIDTH, WIDTH] whose rows 2k and 2k + 1 differ little, and whose columns keep the scale."""
    import numpy as np

    half = random.choice([-1.0, 1.0], (WIDTH // 2, WIDTH)) * random.uniform(0.8, 1, (WIDTH // 2, WIDTH))
    weights = np.repeat(half, 2, axis=0) + random.normal(0, 0.02, (WIDTH, WIDTH))
    return (weights / np.sqrt(WIDTH)).astype(np.float32)


def write_net(path: Path, layers: Sequence[Any]) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, flow = [], "x"
    for index in range(len(layers)):
        last = index == len(layers) - 1
        out = "y" if last else f"product{index}"
        nodes.append(helper.make_node("MatMul", [flow, f"weights{index}"], [out], name=f"layer{index}"))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"hidden{index}"]))
        flow = f"hidden{index}"
    axes = ("batch", WIDTH)
    graph = helper.make_graph(
        nodes,
        "saturating",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
        [numpy_helper.from_array(weights, f"weights{index}") for index, weights in enumerate(layers)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def packed(model: Path, out: Path) -> Path:
    import edgekit
    from edgekit.limits import Limits

    # What quantizing costs is no matter here, nor how fast this machine is.
    limits = Limits(min_cosine=0.0, max_slowdown=1e6)
    return edgekit.pack(model, PROFILE, out=out, strategy="onnx-int8", limits=limits, history="none").folder


def measured(subject: Subject, place: str, scratch: Path) -> list[dict[str, Any]]:
    """The subject there, with the guard and without."""
    with open_target(place, Conditions(load_profile(PROFILE), 1, Silent(), "onnxruntime")) as target:
        return [one_run(subject, target, guard, Path(tempfile.mkdtemp(dir=scratch))) for guard in (True, False)]


def one_run(subject: Subject, target: Any, guard: bool, folder: Path) -> dict[str, Any]:
    job = {"bundle": str(subject.bundle), "threads": 1, "latency": None, "goldens": True, "isa_safety": guard}
    (folder / "job.json").write_text(json.dumps({**job, "fidelity": subject.fidelity}), encoding="utf-8")
    target.run(subject.bundle, folder / "job.json", TIMEOUT_S)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    values = [each for each in result["goldens"] if each["tolerance"]]
    return {
        "model": subject.name,
        "cpu": result["cpu"] if target.kind == "emulated" else f"this machine ({result['cpu']})",
        "guard": guard,
        "golden_difference": max(each["difference"] for each in values),
        "golden_tolerance": min(each["tolerance"] for each in values),
        "goldens_failing": sum(not each["passed"] for each in values),
        "goldens": len(values),
        "mean_cosine": mean_cosine(answers(folder, len(subject.truth)), subject.truth),
        "kernels": [words for words in result.get("kernels") or () if words.startswith("int8")],
    }


def answers(folder: Path, count: int) -> Any:
    """[inputs, width] that the probe wrote."""
    import numpy as np

    if (folder / "embeddings.npy").is_file():
        return np.load(folder / "embeddings.npy")
    rows = []
    for index in range(count):
        with np.load(folder / f"outputs-{index}.npz") as stored:
            rows.append(stored["y"][0])
    return np.stack(rows)


def mean_cosine(found: Any, truth: Any) -> float:
    import numpy as np

    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    return float(((found * truth).sum(axis=1) / norms).mean())


def exceeding(subject: Subject) -> list[dict[str, Any]]:
    """Per matrix product of the bundle: the share of its pairs' sums beyond int16 on the first inputs, the largest."""
    import numpy as np
    import onnx
    import onnxruntime
    from edgekit_runtime import _session

    manifest = json.loads((subject.bundle / "edgekit.json").read_text(encoding="utf-8"))
    model = onnx.load(str(subject.bundle / manifest["model_file"]))
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger" and node.input[1] in weights]
    taps = sorted({node.input[0] for node in products})
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in taps)
    runner = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with _session.load(subject.bundle, manifest, 1, False) as session:
        inputs = [session.encode(text) for text in subject.fidelity.get("texts", ())]
    inputs += [dict(np.load(path)) for path in subject.fidelity.get("npz", ())]
    found = {node.output[0]: [0, 0, 0] for node in products}
    for given in inputs[:8]:
        seen = dict(zip(taps, runner.run(taps, given), strict=True))
        for node in products:
            sums = pair_sums(seen[node.input[0]], weights[node.input[1]])
            tally = found[node.output[0]]
            tally[0] += int((np.abs(sums + 0.5) > INT16).sum())
            tally[1] += sums.size
            tally[2] = max(tally[2], int(np.abs(sums).max()))
    return [
        {
            "model": subject.name,
            "product": name.removesuffix("_output_quantized").removesuffix("_output_0"),
            "share_beyond": beyond / count,
            "largest_sum": largest,
        }
        for name, (beyond, count, largest) in found.items()
    ]


def pair_sums(activations: Any, weights: Any) -> Any:
    """int32 [rows, pairs, columns], added in 16 bits there, of uint8 [..., depth] and int8 [depth, columns]."""
    import numpy as np

    rows = activations.reshape(-1, activations.shape[-1]).astype(np.int32)
    rows = rows[: max(1, 2**24 // weights.size)]
    left = rows[:, 0::2, None] * weights[None, 0::2].astype(np.int32)
    return left + rows[:, 1::2, None] * weights[None, 1::2].astype(np.int32)


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [
        (
            row["model"], row["cpu"], "on" if row["guard"] else "off", f"{row['golden_difference']:.4f}",
            f"{row['golden_tolerance']:.4f}", f"{row['goldens_failing']} of {row['goldens']}",
            f"{row['mean_cosine']:.4f}", "; ".join(row["kernels"]).replace("int8 products: ", "") or "not observed",
        )
        for row in rows
    ]  # fmt: skip
    header = ("model", "CPU", "guard", "worst golden", "least tolerance", "failing", "mean cosine", "int8 instructions")
    return table(header, shown)


def products_table(products: Sequence[Mapping[str, Any]]) -> str:
    """The worst of each model; the rest is in the JSON."""
    shown = []
    for model in dict.fromkeys(each["model"] for each in products):
        own = sorted((each for each in products if each["model"] == model), key=lambda each: -each["share_beyond"])
        beyond = [each for each in own if each["share_beyond"]]
        shown += [
            (model, each["product"], f"{each['share_beyond']:.4%}", f"{each['largest_sum']}") for each in beyond[:5]
        ]
        shown.append((model, f"{len(beyond)} of {len(own)} products can", "", ""))
    return table(
        ("model", "matrix product that saturates", "pairs beyond int16", f"largest (int16: {INT16 - 1})"), shown
    )


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    guarded = [row for row in rows if row["guard"]]
    failing = [f"{row['model']} on {row['cpu']}" for row in guarded if row["goldens_failing"]]
    unsafe = [f"{row['model']} on {row['cpu']}" for row in rows if not row["guard"] and row["goldens_failing"]]
    held = f"MISSED on {', '.join(failing)}" if failing else f"held in all {len(guarded)} runs"
    return f"goldens with the guard: {held}\ngoldens fail without it: {', '.join(unsafe) or 'nowhere'}"


if __name__ == "__main__":
    main()
