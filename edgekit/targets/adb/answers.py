"""What the C probe wrote on a device, written as the Python probe would have: the goldens held against the tolerances
of that device's CPU, and the arrays as `measure` reads them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import BadReport
from edgekit.manifest import Manifest
from edgekit.targets.adb.translation import Translated
from edgekit.targets.received import UNREADABLE, plain

Array = NDArray[Any]

UNPROVEN = (
    "measured by edgekit's C runtime with a C library and engine built for Linux, brought along: of the adb target only"
    " the protocol was tested, never an Android device"
)
TOKENIZED_HERE = (
    "texts were tokenized on this computer, not on the device: no time holds that, and token ids are its own"
)


def write_standard(
    found: Path,
    to: Path,
    manifest: Manifest,
    job: Mapping[str, Any],
    translated: Translated,
    facts: Mapping[str, str],
    bundle: Path,
) -> None:
    """result.json, and embeddings.npy, outputs-N.npz or logits-N.npy, in `to`. BadReport for arrays that are none."""
    try:
        result = json.loads((found / "result.json").read_bytes())
        names = [str(name) for name in result["outputs"]]
        cpu = (str(result["arch"]), frozenset(str(name) for name in result["isa"] or ()))
        answers = _Answers(found, names, translated)
        _write_arrays(answers, to, manifest, job, translated.evaluated)
        goldens = _goldens(answers, bundle, translated, cpu)
        told = _told(facts, result)
        own_notes = [*translated.notes, *([TOKENIZED_HERE] if translated.had_texts else [])]
        notes = [*result.get("notes", ()), UNPROVEN, *own_notes]
    except (*UNREADABLE, AttributeError) as error:
        raise BadReport(f"the device sent answers that are none: {plain(str(error))[:200]}", "run again") from error
    result |= {"goldens": goldens, "token_ids": translated.token_ids, "python": "none: the C runtime", "notes": notes}
    result |= told
    (to / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _told(facts: Mapping[str, str], result: Mapping[str, Any]) -> dict[str, str]:
    """The CPU and the system by their names on Android, which the kernel does not know."""
    system = f"Android {facts['android']}" if facts["android"] else str(result["system"])
    device = " ".join(each for each in (facts["maker"], facts["model"]) if each)
    return {
        "system": f"{system} ({device})" if device else system,
        "cpu": facts["soc"] or str(result["cpu"] or facts["arch"]),
    }


class _Answers:
    """The probe's answers by their number, read when asked for."""

    def __init__(self, folder: Path, outputs: Sequence[str], translated: Translated) -> None:
        self._folder, self._outputs = folder, outputs
        self._asked = translated.job["answers"]

    def file(self, number: int) -> Path:
        return self._folder / f"answer-{number}.npy"

    def array(self, number: int) -> Array:
        """Of token ids: a matrix of logits, or one vector."""
        return _load(self.file(number))

    def outputs(self, number: int) -> dict[str, Array]:
        """Of tensors: the graph's outputs by name."""
        files = (self._folder / f"answer-{number}-{index}.npy" for index in range(len(self._outputs)))
        return {name: _load(file) for name, file in zip(self._outputs, files, strict=True)}

    def vector(self, number: int) -> Array:
        """The embedding, chosen among a graph's outputs as the runtime does."""
        if "ids" in self._asked[number]:
            return self.array(number)
        outputs = self.outputs(number)
        flat = {name: array[0] for name, array in outputs.items() if array.ndim == 2 and len(array) == 1}
        if not flat:
            raise ValueError(f"none of the outputs ({', '.join(outputs)}) is one vector per text")
        found: Array = flat.get("sentence_embedding", next(iter(flat.values())))
        return found


def _load(file: Path) -> Array:
    found: Array = np.load(file, allow_pickle=False)
    return found


def _write_arrays(answers: _Answers, to: Path, manifest: Manifest, job: Mapping[str, Any], count: int) -> None:
    if manifest.task == "embedding" and (job.get("fidelity") or {}).get("texts"):
        np.save(to / "embeddings.npy", np.stack([answers.vector(each) for each in range(count)]).astype(np.float32))
        return
    for number in range(count):
        if manifest.task == "causal-lm":
            shutil.move(answers.file(number), to / f"logits-{number}.npy")
            continue
        outputs = answers.outputs(number)
        floats: dict[str, Any] = {
            name: one.astype(np.float32) if one.dtype.kind == "f" else one for name, one in outputs.items()
        }
        np.savez(to / f"outputs-{number}.npz", allow_pickle=False, **floats)


class _Recorded:
    """A session that gives one answer, whatever it is asked: what the device said to a golden case."""

    def __init__(self, info: dict[str, Any], answers: _Answers, number: int, token_ids: Sequence[int] | None) -> None:
        self.info = info
        self._answers, self._number, self._token_ids = answers, number, token_ids

    def tokenize(self, _text: str) -> list[int]:
        return list(self._token_ids or ())

    def chat_ids(self, _messages: Sequence[Mapping[str, str]]) -> list[int]:
        return list(self._token_ids or ())

    def encode(self, _text: str) -> dict[str, Array]:
        return {}

    def run(self, _inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._answers.outputs(self._number)

    def logits(self, _ids: Sequence[int]) -> Array:
        return self._answers.array(self._number)

    def embed(self, _texts: Sequence[str]) -> Array:
        return self._answers.vector(self._number)[None]

    def classify(self, _texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        from edgekit_runtime import _labels

        outputs = self._answers.outputs(self._number)
        scores = _labels.probabilities(
            outputs["logits"] if "logits" in outputs else next(iter(outputs.values())), self.info.get("problem_type")
        )
        return [_labels.ranked(row, self.info.get("labels", [])) for row in scores]


def _goldens(
    answers: _Answers, bundle: Path, translated: Translated, cpu: tuple[str, frozenset[str]]
) -> list[dict[str, Any]]:
    """The device's answers to the goldens, compared by the runtime's own code with the tolerances of its CPU."""
    if not translated.golden_cases:
        return []
    from edgekit_runtime import goldens

    info = json.loads((bundle / "edgekit.json").read_bytes())
    results: list[dict[str, Any]] = []
    for index, (case, ids) in enumerate(zip(translated.golden_cases, translated.golden_ids, strict=True)):
        recorded: Any = _Recorded(info, answers, translated.evaluated + index, ids)
        results += [dict(each) for each in goldens.replay(recorded, [case], cpu)]
    return results
