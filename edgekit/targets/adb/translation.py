"""The standard job (docs/manifest.md) as the C probe takes it: tensors in .npy files, and token ids.

The device has no Python and so no tokenizer of ONNX bundles: texts become tensors here, by the bundle's own Python
runtime. Its answers to texts are therefore the device's; its token ids are not.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadReport, ValidationFailed
from edgekit.manifest import Manifest
from edgekit.resources import probe_runtime, use_python_runtime
from edgekit.targets import endings, received
from edgekit.targets.ssh.files import of_job

_TEXTS_S = 3600.0
# What an answer of a graph is taken to weigh when room is looked for; those of language models are known.
_ANSWER_BYTES = 2**20
_MAX_OUTPUTS = 256


@dataclass
class Translated:
    """`job` without engine_library and baseline, which depend on the device; `folder` holds the files that it names.

    The answers that it asks for are first those of the evaluation's inputs, then those of `golden_cases`, whose texts
    have `golden_ids`. `baseline` are the files of a model to be timed against, by path; `baseline_model` is the graph.
    """

    folder: Path
    job: dict[str, Any]
    evaluated: int
    golden_cases: Sequence[dict[str, Any]] = ()
    golden_ids: Sequence[Sequence[int] | None] = ()
    token_ids: Sequence[Sequence[int]] = ()
    needed_bytes: int = 0
    baseline: Mapping[str, Path] = field(default_factory=dict)
    baseline_model: str = ""
    had_texts: bool = False
    notes: Sequence[str] = ()

    def limit_threads(self, cores: str) -> None:
        """No more threads than the device has cores, where it tells how many."""
        asked = self.job.get("threads")
        if re.fullmatch("[0-9]{1,4}", cores) and asked and asked > int(cores) > 0:
            self.job["threads"] = int(cores)
            self.notes = [*self.notes, f"{asked} threads were asked for; the device has {cores} cores"]

    def answer_names(self, result: Path, place: str) -> list[str]:
        """The files that the probe wrote, by what it says of the graph's outputs."""
        try:
            outputs = json.loads(result.read_bytes()).get("outputs", ())
        except (ValueError, AttributeError, RecursionError) as error:
            raise BadReport(
                f"{place} sent a result that is none: {received.plain(str(error))[:200]}", "run again"
            ) from error
        if not isinstance(outputs, list) or len(outputs) > _MAX_OUTPUTS:
            raise BadReport(f"{place} names no outputs of the graph that could be", "run again")
        names = []
        for number, asked in enumerate(self.job["answers"]):
            if "ids" in asked:
                names.append(f"answer-{number}.npy")
            else:
                names += [f"answer-{number}-{index}.npy" for index in range(len(outputs))]
        return names


def translate(bundle: Path, manifest: Manifest, job: Mapping[str, Any], beside: Path, folder: Path) -> Translated:
    """The job in `beside` for the probe, its files in `folder`. Raises ValidationFailed where the bundle's own runtime
    cannot tokenize here.
    """
    folder.mkdir()
    asked = [each for each in (job.get("latency"), job.get("longest")) if each]
    fidelity = job.get("fidelity") or {}
    evaluated = [
        *({"text": each} for each in fidelity.get("texts") or ()),
        *({"ids": each} for each in fidelity.get("ids") or ()),
        *({"tensors": each} for each in fidelity.get("npz") or ()),
    ]
    cases = _golden_cases(bundle) if job.get("goldens") else []
    goldens = [case["input"] for case in cases]
    all_asked = [*asked, *evaluated, *goldens]
    texts = [each["text"] for each in all_asked if "text" in each]
    chats = [each["messages"] for each in goldens if "messages" in each]
    encoded, token_ids, chat_ids = _encode(bundle, texts, job.get("tokenize") or (), chats, folder)
    prompts = iter(chat_ids)
    all_asked = [{"ids": next(prompts)} if "messages" in each else each for each in all_asked]
    inputs = [_input(each, number, encoded, beside, folder) for number, each in enumerate(all_asked)]
    named: dict[str, Any] = {"latency": None, "longest": None}
    timed = iter(inputs)
    for name in ("latency", "longest"):
        if job.get(name):
            named[name] = next(timed) | {"decode_tokens": job[name].get("decode_tokens", 32)}
    answers = inputs[len(asked) :]
    kept = {key: job[key] for key in ("threads", "warmup", "repeats", "context_tokens", "low_memory") if key in job}
    baseline = _baseline(job, beside)
    return Translated(
        folder=folder,
        job={"bundle": "", **kept, **named, "answers": answers},
        evaluated=len(evaluated),
        golden_cases=cases,
        golden_ids=_golden_ids(goldens, dict(zip(texts, token_ids, strict=False)), chat_ids),
        token_ids=token_ids[len(texts) :],
        needed_bytes=_needed_bytes(answers, bundle, manifest) + sum(p.stat().st_size for p in folder.iterdir()),
        baseline=baseline,
        baseline_model=Path(job["baseline"]["model_file"]).name if baseline else "",
        had_texts=bool(texts or chats),
    )


def _golden_cases(bundle: Path) -> list[dict[str, Any]]:
    use_python_runtime()
    from edgekit_runtime import RuntimeFailure, goldens, verify

    try:
        return goldens.read(bundle, verify(bundle))
    except RuntimeFailure as error:
        raise ValidationFailed(f"the bundle's goldens cannot be read: {error}", "pack it again") from error


def _golden_ids(
    goldens: Sequence[Mapping[str, Any]], ids_of: Mapping[str, list[int]], chat_ids: Sequence[list[int]]
) -> list[list[int] | None]:
    """The ids of each case's text or messages; None of one that has neither."""
    chats = iter(chat_ids)
    return [next(chats) if "messages" in each else ids_of.get(each.get("text", "")) for each in goldens]


def _encode(
    bundle: Path, texts: Sequence[str], tokenize: Sequence[str], chats: Sequence[Any], folder: Path
) -> tuple[list[dict[str, Any]], list[list[int]], list[list[int]]]:
    """(what each of `texts` becomes, token ids of `texts` and then of `tokenize`, those of the prompts of `chats`)."""
    if not texts and not tokenize and not chats:
        return [], [], []
    request = folder / "request.json"
    asked = {"bundle": str(bundle.resolve()), "texts": list(texts), "tokenize": [*texts, *tokenize], "chats": chats}
    request.write_text(json.dumps(asked), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(probe_runtime(bundle)), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(Path(__file__).with_name("texts.py")), str(request)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_TEXTS_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValidationFailed(f"tokenizing here took more than {_TEXTS_S:.0f} s", "give fewer --eval rows") from error
    if done.returncode != 0:
        raise endings.failure(done.returncode, done.stderr, "this machine, where texts are tokenized")
    answer = json.loads((folder / "answer.json").read_bytes())
    request.unlink()
    (folder / "answer.json").unlink()
    return answer["inputs"], answer["token_ids"], answer["chat_ids"]


def _input(
    asked: Mapping[str, Any], number: int, encoded: list[dict[str, Any]], beside: Path, folder: Path
) -> dict[str, Any]:
    """One input as the probe takes it; of texts the next of `encoded`."""
    if "text" in asked:
        return encoded.pop(0)
    if "ids" in asked:
        return {"ids": list(asked["ids"])}
    tensors = asked["tensors"]
    if isinstance(tensors, str):
        with np.load(beside / tensors, allow_pickle=False) as stored:
            arrays = dict(stored)
    else:
        from edgekit_runtime import goldens

        arrays = {name: goldens.decode(one) for name, one in tensors.items()}
    files = {name: f"input-{number}-{index}.npy" for index, name in enumerate(arrays)}
    for name, file in files.items():
        np.save(folder / file, np.ascontiguousarray(arrays[name]))
    return {"tensors": files}


def _baseline(job: Mapping[str, Any], beside: Path) -> dict[str, Path]:
    """The files of the model to be timed against: the graph, and what holds its weights beside it."""
    if not job.get("baseline"):
        return {}
    _, files = of_job(job, beside)
    prefix = "baseline/"
    return {name.removeprefix(prefix): each.path for name, each in files.items() if name.startswith(prefix)}


def _needed_bytes(answers: Sequence[Mapping[str, Any]], bundle: Path, manifest: Manifest) -> int:
    """What the answers will take there: of a language model rows of the vocabulary's width."""
    tokens = sum(len(each.get("ids", ())) for each in answers)
    if manifest.task != "causal-lm" or not tokens:
        return len(answers) * _ANSWER_BYTES
    return tokens * _vocabulary(bundle / manifest.model_file) * 4


def _vocabulary(model_file: Path) -> int:
    """Tokens that a GGUF file knows: the longer side of its embedding."""
    from edgekit.model.gguf_file import read_gguf_header

    tensors = read_gguf_header(model_file).tensors
    return max((max(each.shape) for each in tensors if each.name == "token_embd.weight"), default=1)
