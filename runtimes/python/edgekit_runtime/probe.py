"""`python -m edgekit_runtime.probe JOB.json [BUNDLE]`: measure a bundle in a process that holds nothing else.

result.json and the fidelity outputs are written beside the job (docs/manifest.md has its keys), and the job's paths are
relative to its folder; BUNDLE replaces the one that the job names. The order is part of the measurement: load, first
inference, latency, memory figures, and only then what would disturb them: tokenization, fidelity outputs, the baseline.
What this machine cannot tell is null.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._session import Session

FORBIDDEN = ("torch", "transformers", "edgekit")
MIN_LM_REPEATS = 3
_LIBRARIES = ("numpy", "onnxruntime", "tokenizers", "llama_cpp")


def main(arguments: Sequence[str]) -> int:
    """0, or 1 with one JSON line {error, message} on stderr, or 2 for wrong usage."""
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python -m edgekit_runtime.probe JOB.json [BUNDLE]\n")
        return 2
    try:
        work = Path(arguments[0]).resolve().parent
        job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        job["bundle"] = arguments[1] if len(arguments) == 2 else job["bundle"]
        result = json.dumps(probe(job, work), indent=2, ensure_ascii=False, allow_nan=False)
        (work / "result.json").write_text(result + "\n", encoding="utf-8")
    except Exception as error:
        told = {"error": type(error).__name__, "message": " ".join(str(error).split())}
        sys.stderr.write(json.dumps(told) + "\n")
        return 1
    return 0


def probe(job: dict[str, Any], work: Path) -> dict[str, Any]:
    """Every figure of result.json; outputs go into `work`. Raises RuntimeFailure; KeyError for an incomplete job."""
    from . import _machine
    from ._bundle import verify

    warmup, repeats = int(job.get("warmup", 3)), int(job.get("repeats", 20))
    started = time.perf_counter()
    info = verify(job["bundle"])
    result: dict[str, Any] = {"verify_ms": _since(started)}
    started = time.perf_counter()
    with _open(job, info) as session:
        result["load_ms"] = _since(started)
        timed = None
        if (latency := job["latency"]) is not None:
            timed = _task(session, latency, work)
            result["first_ms"] = timed()[0]
            result |= _speed(session, latency, timed, warmup, repeats)
        if job.get("longest"):
            _inference(session, job["longest"], work)()
        result |= _machine.memory_bytes()
        result["bundle_rss_bytes"] = _machine.resident_below(Path(job["bundle"]).resolve())
        result["token_ids"] = [session.tokenize(text) for text in job.get("tokenize") or ()]
        result["goldens"] = session.self_test() if job.get("goldens") else []
        _answer(session, job.get("fidelity") or {}, work)
        if timed and job.get("baseline"):
            result |= _against(job, info, timed, warmup, repeats, work)
        result |= _environment(session)
        result["isa_safety"] = job.get("isa_safety", True)
    if present := [name for name in FORBIDDEN if name in sys.modules]:
        raise RuntimeError(f"{', '.join(present)} was imported: the figures are not the bundle's own")
    return result


def _open(job: dict[str, Any], info: dict[str, Any], model: Path | None = None) -> Session:
    """The bundle's session, with the job's context; with `model`, the same around another file: the baseline."""
    from ._session import load

    if (context_tokens := job.get("context_tokens")) is not None and info.get("generation"):
        info = {**info, "generation": {**info["generation"], "context_tokens": context_tokens}}
    threads, low_memory, isa_safety = job.get("threads"), bool(job.get("low_memory")), job.get("isa_safety", True)
    return load(Path(job["bundle"]), dict(info), threads, low_memory, model, isa_safety)


def _task(session: Session, latency: dict[str, Any], work: Path) -> Callable[[], list[float]]:
    """One run on the job's input; it returns milliseconds: of the whole, or, for a language model, of each step."""
    if session.info["task"] == "causal-lm":
        ids = _ids(session, latency)
        steps, engine = int(latency.get("decode_tokens", 32)), session.engine
        return lambda: [1000 * seconds for seconds in engine.step_seconds(ids, steps)]
    once = _inference(session, latency, work)

    def timed() -> list[float]:
        started = time.perf_counter()
        once()
        return [_since(started)]

    return timed


def _inference(session: Session, latency: dict[str, Any], work: Path) -> Callable[[], object]:
    """One inference, tokenization included where there is text."""
    if "tensors" in latency:
        tensors = _tensors(work / latency["tensors"])
        return lambda: session.run(tensors)
    text = latency["text"]
    if session.info["task"] == "embedding":
        return lambda: session.embed([text])
    return lambda: session.classify([text])


def _speed(
    session: Session, latency: dict[str, Any], timed: Callable[[], list[float]], warmup: int, repeats: int
) -> dict[str, Any]:
    import numpy as np

    if session.info["task"] != "causal-lm":
        samples = [timed()[0] for _ in range(warmup + repeats)][warmup:]
        quantiles = {f"p{rank}_ms": float(np.percentile(samples, rank)) for rank in (50, 90, 99)}
        return {"latency_ms": samples, **quantiles}
    tokens = len(_ids(session, latency))
    runs = [timed() for _ in range(max(MIN_LM_REPEATS, repeats // 10))]
    first, decode = [run[0] for run in runs], [step for run in runs for step in run[1:]]
    return {
        "prompt_tokens": tokens,
        "ttft_samples_ms": first,
        "ttft_ms": float(np.median(first)),
        "prefill_tokens_per_s": 1000 * tokens / float(np.median(first)),
        "decode_ms": decode,
        "decode_tokens_per_s": 1000 / float(np.median(decode)) if decode else None,
    }


def _answer(session: Session, fidelity: dict[str, Any], work: Path) -> None:
    """The outputs on the job's inputs, one at a time: embeddings.npy, logits-N.npy or outputs-N.npz, all float32."""
    import numpy as np

    if session.info["task"] == "embedding" and "texts" in fidelity:
        np.save(work / "embeddings.npy", session.embed(fidelity["texts"], batch_size=1))
        return
    if session.info["task"] == "causal-lm":
        sequences = fidelity.get("ids") or [session.tokenize(text) for text in fidelity.get("texts") or ()]
        for index, ids in enumerate(sequences):
            shape = (len(ids), session.engine.vocabulary)
            out = np.lib.format.open_memmap(work / f"logits-{index}.npy", "w+", np.dtype(np.float32), shape)
            session.logits(ids, out)
            out.flush()
        return
    inputs = [session.encode(text) for text in fidelity.get("texts") or ()]
    paths = fidelity.get("npz") or ()
    for index in range(len(inputs) or len(paths)):
        outputs = session.run(inputs[index] if inputs else _tensors(work / paths[index]))
        floats: dict[str, Any] = {
            name: one.astype(np.float32) if one.dtype.kind == "f" else one for name, one in outputs.items()
        }
        np.savez(work / f"outputs-{index}.npz", **floats)


def _against(
    job: dict[str, Any], info: dict[str, Any], timed: Callable[[], list[float]], warmup: int, repeats: int, work: Path
) -> dict[str, Any]:
    """The bundle and the baseline in turn, A B A B, so that whatever else the machine does falls on both alike."""
    baseline = job["baseline"]
    with _open(job, {**info, "engine": baseline["engine"]}, work / baseline["model_file"]) as session:
        other = _task(session, job["latency"], work)
        language_model = session.info["task"] == "causal-lm"
        warmup, repeats = (1, max(MIN_LM_REPEATS, repeats // 10)) if language_model else (warmup, repeats)
        runs = [(timed(), other()) for _ in range(warmup + repeats)][warmup:]
    first = 1 if language_model else 0  # of a language model the decoding steps, not the prompt
    return {
        "paired_latency_ms": [sample for own, _ in runs for sample in own[first:]],
        "baseline_latency_ms": [sample for _, its in runs for sample in its[first:]],
    }


def _environment(session: Session) -> dict[str, Any]:
    from . import _machine

    features = _machine.isa_features()
    loaded = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
    return {
        "model_sha256": next(
            one["sha256"] for one in session.info["files"] if one["path"] == session.info["model_file"]
        ),
        "cpu": _machine.cpu_model(),
        "arch": _machine.arch(),
        "isa": None if features is None else sorted(features & _machine.INSTRUCTION_SETS),
        "cores": _machine.physical_cores(),
        "cpu_parts": _machine.cpu_parts(),
        "ram_total_bytes": _machine.ram_total_bytes(),
        "system": platform.platform(),
        "threads": session.info["runtime"]["threads"],
        "engine": session.info["runtime"]["engine"],
        "python": platform.python_version(),
        "libraries": {name: sys.modules[name].__version__ for name in _LIBRARIES if name in loaded},
        "modules": sorted(name for name in loaded if not name.startswith("__")),
        "notes": session.info["runtime"]["notes"],
    }


def _ids(session: Session, latency: dict[str, Any]) -> list[int]:
    return list(latency["ids"]) if "ids" in latency else session.tokenize(latency["text"])


def _tensors(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path) as stored:
        return dict(stored)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
