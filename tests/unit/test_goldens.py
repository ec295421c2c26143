"""Tolerances follow from how far a bundle's answers are from the original's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import goldens
from edgekit.fidelity import Truth
from edgekit.goldens import ROOM, Room
from edgekit.questions import Prompt, Questions
from edgekit.resources import use_python_runtime

use_python_runtime()
distances = st.lists(st.floats(0, 1e3), min_size=1, max_size=8)


class Opened:
    """Stands in for an open bundle whose answers are the right ones, each number `off` too much."""

    def __init__(self, info: dict[str, Any], off: float = 0.0) -> None:
        self.info, self._off = info, off

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tokenize(self, text: str) -> list[int]:
        return [len(text)]

    def embed(self, texts: list[str]) -> Any:
        return np.stack([right(text) + np.float32([0, self._off, 0, 0]) for text in texts])

    def classify(self, texts: list[str]) -> Any:
        return [[{"label": "a", "score": 0.75 + self._off}, {"label": "b", "score": 0.25 - self._off}] for _ in texts]

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        return [len(message["content"]) for message in messages]

    def logits(self, ids: list[int]) -> Any:
        return np.tile(np.arange(100, dtype=np.float32), (len(ids), 1)) + np.float32(self._off)

    def run(self, inputs: dict[str, Any]) -> Any:
        return {"y": inputs["x"] + np.float32(self._off), "z": inputs["x"][:, :1]}

    def encode(self, text: str) -> dict[str, Any]:
        return {"x": right(text)[None]}


def right(text: str) -> Any:
    return np.float32([1, 0, 0, len(text) % 3])


def recorded(
    monkeypatch: pytest.MonkeyPatch, opened: Opened, inputs: list[Any], answers: list[Any]
) -> list[dict[str, Any]]:
    import edgekit_runtime

    monkeypatch.setattr(edgekit_runtime, "open", lambda folder, verify: opened)
    questions = Questions(inputs, Truth(), inputs[0], "one", "a test")
    cases: list[dict[str, Any]] = goldens.record(Path("bundle"), questions, iter(answers))["cases"]
    return cases


TEXTS = [f"text {'x' * index}" for index in range(20)]


class Tasks:
    """What the original answers, by task."""

    logits: ClassVar = np.float32([np.log(0.75), np.log(0.25)])
    arrays: ClassVar = [{"x": np.float32([[1, 2, index]])} for index in range(6)]


def test_an_embedding_is_given_twice_the_distance_of_its_own_input(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = recorded(monkeypatch, Opened({"task": "embedding"}, 0.1), TEXTS, [right(text) for text in TEXTS])
    assert len(cases) == 8
    for case, text in zip(cases, TEXTS, strict=False):
        norm = float(np.linalg.norm(right(text)))
        away = 1 - norm / np.hypot(norm, 0.1)
        assert case["distance"] == pytest.approx(away, rel=1e-3)
        assert case["tolerance"] == {"metric": "cosine", "default": pytest.approx(max(0.002, 2 * away), rel=1e-3)}


def test_scores_are_compared_with_the_probabilities_of_the_original_s_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    info = {"task": "text-classification", "labels": ["a", "b"], "problem_type": "single_label_classification"}
    cases = recorded(monkeypatch, Opened(info, 0.05), TEXTS, [Tasks.logits for _ in TEXTS])
    assert [case["distance"] for case in cases] == pytest.approx([0.05] * 8, rel=1e-4)
    assert [case["tolerance"]["default"] for case in cases] == pytest.approx([0.1] * 8, rel=1e-3)


def test_of_a_language_model_the_last_token_of_the_short_prompt_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, shape = [list(range(50))] * 6, (50, 100)
    answers = [np.tile(np.arange(100, dtype=np.float32), (50, 1)) for _ in ids]
    for answer in answers:
        answer[32:] = 0  # of tokens that no golden has
    assert answers[0].shape == shape
    cases = recorded(monkeypatch, Opened({"task": "causal-lm"}, 1.0), ids, answers)
    assert len(cases) == 4
    assert {case["distance"] for case in cases} == {1.0}
    assert {case["tolerance"]["default"] for case in cases} == {2.0}


def test_a_language_model_is_asked_a_text_and_a_chat_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import edgekit_runtime

    monkeypatch.setattr(edgekit_runtime, "open", lambda folder, verify: Opened({"task": "causal-lm"}, 1.0))
    said = [{"role": "user", "content": "abc"}]
    prompts = [Prompt("four", [4]), Prompt(said, [3])]
    questions = Questions([[1, 2]], Truth(), [1], "one", "a test", prompts=prompts)
    rows = np.arange(100, dtype=np.float32)
    answers = [np.tile(rows, (2, 1))]
    cases = goldens.record(Path("bundle"), questions, iter(answers), [rows - 1, rows])["cases"]
    assert [case["name"] for case in cases] == ["input 0", "text", "chat"]
    assert [case["input"] for case in cases[1:]] == [{"text": "four"}, {"messages": said}]
    assert [case["expected"].get("token_ids") for case in cases] == [None, [4], [3]]
    assert [case["distance"] for case in cases] == [1.0, 2.0, 1.0]
    assert [case["tolerance"]["default"] for case in cases] == pytest.approx([2.667, 4.0, 2.667], rel=1e-3)


def test_where_the_source_s_tokens_are_others_no_distance_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import edgekit_runtime

    monkeypatch.setattr(edgekit_runtime, "open", lambda folder, verify: Opened({"task": "causal-lm"}, 1.0))
    questions = Questions([[1, 2]], Truth(), [1], "one", "a test", prompts=[Prompt("four", [5])])
    rows = np.arange(100, dtype=np.float32)
    cases = goldens.record(Path("bundle"), questions, iter([np.tile(rows, (2, 1))]), [rows * 50])["cases"]
    assert "distance" not in cases[1]
    assert cases[1]["tolerance"] == cases[0]["tolerance"]


def test_plain_outputs_are_taken_apart_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [np.concatenate([each["x"].ravel(), each["x"][:, :1].ravel()]) for each in Tasks.arrays]
    cases = recorded(monkeypatch, Opened({"task": "tensors"}, 0.25), Tasks.arrays, answers)
    assert [case["distance"] for case in cases] == [0.25] * 4
    assert all(case["tolerance"]["metric"] == "max_abs" for case in cases)


def test_of_pictures_and_tokens_the_scores_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = Opened({"task": "token-classification"}, 0.05)
    cases = recorded(monkeypatch, tagger, TEXTS, [right(text) for text in TEXTS])
    assert [case["distance"] for case in cases] == pytest.approx([0.05] * 8, rel=1e-4)
    for case in cases:
        assert 0.1 <= case["tolerance"]["default"] <= 0.2


def test_a_bundle_that_answers_as_the_original_does_is_held_more_strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = recorded(monkeypatch, Opened({"task": "embedding"}), TEXTS, [right(text) for text in TEXTS])
    assert {case["tolerance"]["default"] for case in exact} == {1e-4}


@pytest.mark.parametrize("kind", sorted(ROOM))
@given(cases=distances)
def test_a_tolerance_grows_with_the_distance_and_stays_in_its_bounds(kind: str, cases: list[float]) -> None:
    room = ROOM[kind]
    tolerances = [room.tolerance(each, cases) for each in sorted(cases)]
    assert tolerances == sorted(tolerances)
    assert all(room.least <= each <= room.most for each in tolerances)
    assert all(each >= min(2 * away, room.most) for each, away in zip(tolerances, sorted(cases), strict=True))


def test_a_few_numbers_near_by_chance_count_as_the_average() -> None:
    room = Room(exact=0, least=0, least_rounded=0, most=1)
    assert room.tolerance(0.0, [0.0, 0.2]) == pytest.approx(0.2)
    assert room.tolerance(0.2, [0.0, 0.2]) == pytest.approx(0.4)
