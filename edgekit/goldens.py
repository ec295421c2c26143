"""Goldens: a few inputs with the bundle's own answers, recorded by the code that will replay them in an app.

Other CPUs round otherwise, and how far that may take an answer is not the same for every bundle and input: what was
rounded away in quantizing says it. Two answers that both lie a distance d from the original's, each by errors of its
own, lie up to about 2 d from one another: so much is tolerated, but never more than a sound answer can need.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.evaluation import Answer, Input
from edgekit.questions import Questions
from edgekit.resources import use_python_runtime

_CASES, _TEXTS = 4, 8
_TOKENS = 32
_SPREAD = 2.0


@dataclass(frozen=True)
class Room:
    """Bounds of a tolerance. `least` is for rounding alone, where the bundle answers as the original does to within
    `exact`, and `least_rounded` for bundles that do not; `most` is what no sound answer is away. `few`: answers are so
    few numbers that one may be near the original's by chance; a case then counts as no nearer than the average.
    """

    exact: float
    least: float
    least_rounded: float
    most: float
    few: bool = True

    def tolerance(self, distance: float, distances: Sequence[float]) -> float:
        """For a case whose answer is `distance` from the original's; `distances` are those of all the cases."""
        least = self.least if max(distances) <= self.exact else self.least_rounded
        if self.few:
            distance = max(distance, statistics.fmean(distances))
        return min(max(least, _SPREAD * distance), self.most)


# By the kind of what is expected. Those of logits and outputs are shares of the largest value that is compared.
ROOM = {
    "embedding": Room(exact=1e-5, least=1e-4, least_rounded=2e-3, most=0.05, few=False),
    "scores": Room(exact=1e-4, least=1e-3, least_rounded=0.02, most=0.25),
    "logits": Room(exact=1e-4, least=1e-3, least_rounded=0.01, most=0.2),
    "outputs": Room(exact=1e-4, least=1e-3, least_rounded=0.01, most=0.2),
}


def record(
    bundle: Path, questions: Questions, answers: Iterable[Answer], prompt_answers: Sequence[Answer] = ()
) -> dict[str, Any]:
    """golden.json as a value (see docs/manifest.md): the first inputs of the validation and the bundle's answers, with
    tolerances by how far those are from the original's `answers` to the same questions. A language model is also asked
    the questions' prompts, with the logits that follow them as `prompt_answers`.
    """
    use_python_runtime()
    import edgekit_runtime
    from edgekit_runtime import goldens

    cases, originals, unknown = [], [], []
    with edgekit_runtime.open(bundle, verify=False) as session:
        for index, (each, answer) in enumerate(zip(questions.inputs, answers, strict=False)):
            if index == (_TEXTS if isinstance(each, str) else _CASES):
                break
            case = goldens.make_case(session, _short(each), f"input {index}")
            cases.append(case)
            originals.append(_as_expected(answer, case, session.info))
        distances = [_distance(case, original) for case, original in zip(cases, originals, strict=True)]
        for prompt, answer in zip(questions.prompts, prompt_answers, strict=True):
            name, given = ("text", prompt.given) if isinstance(prompt.given, str) else ("chat", list(prompt.given))
            case = goldens.make_case(session, given, name)
            cases.append(case)
            asked_the_same = case["expected"]["token_ids"] == list(prompt.ids)
            distances.append(_prompt_distance(case, answer) if asked_the_same else max(distances))
            unknown += [] if asked_the_same else [case]
    units = [_unit(case["expected"]) for case in cases]
    shares = [distance / unit for distance, unit in zip(distances, units, strict=True)]
    for case, distance, unit in zip(cases, distances, units, strict=True):
        tolerance = unit * ROOM[case["expected"]["kind"]].tolerance(distance / unit, shares)
        if case not in unknown:
            case["distance"] = _rounded(distance)
        case["tolerance"] = {"metric": case["tolerance"]["metric"], "default": _rounded(tolerance)}
    return goldens.document(cases)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _unit(expected: Mapping[str, Any]) -> float:
    """What a distance is a share of: 1, or, of logits and outputs, their largest value where that is more."""
    from edgekit_runtime import goldens

    if expected["kind"] not in ("logits", "outputs"):
        return 1.0
    arrays = goldens.values(expected).values()
    return max(1.0, *(float(np.abs(one.astype(np.float64)).max(initial=0.0)) for one in arrays))


def _short(each: Input) -> Input:
    """Token ids cut short: the first step's logits are compared, and a golden should be quick on a slow device."""
    return each if isinstance(each, (str, Mapping)) else each[:_TOKENS]


def _as_expected(answer: Answer, case: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The original's answer in the form of the case's: by the same names, of those outputs that it answers."""
    from edgekit_runtime import _labels, goldens

    expected = case["expected"]
    if expected["kind"] == "embedding":
        return {"": answer}
    if expected["kind"] == "logits":
        return {"": answer[len(case["input"]["ids"]) - 1][np.asarray(expected["ids"])]}
    if expected["kind"] == "scores":
        scores = _labels.probabilities(np.asarray(answer), info.get("problem_type"))
        return {
            one["label"]: np.asarray(one["score"], np.float32)
            for one in _labels.ranked(scores, info.get("labels") or [])
        }
    values = goldens.values(expected)
    if info["task"] != "tensors":
        name = "logits" if "logits" in values else next(iter(values))
        return {name: np.asarray(answer)[None]}
    ends = np.cumsum([one.size for one in values.values()])[:-1]  # all outputs one after another
    pieces = np.split(np.asarray(answer), ends)
    return {name: piece.reshape(one.shape) for (name, one), piece in zip(values.items(), pieces, strict=True)}


def _prompt_distance(case: Mapping[str, Any], answer: Answer) -> float:
    return _distance(case, {"": answer[np.asarray(case["expected"]["ids"])]})


def _distance(case: Mapping[str, Any], original: dict[str, NDArray[Any]]) -> float:
    """From the case's answer to the original's, in the metric of its tolerance."""
    from edgekit_runtime import goldens

    values = goldens.values(case["expected"])
    found = goldens.difference({name: values[name] for name in original}, original, case["tolerance"]["metric"])
    if found is None:
        raise AssertionError(f"the golden {case['name']} and the original's answer do not compare")
    return max(0.0, found)
