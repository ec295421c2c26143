from __future__ import annotations

import json
import math
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from edgekit_runtime import BadInput, BundleInvalid, goldens
from edgekit_runtime._session import Session
from hypothesis import given
from hypothesis import strategies as st


class Embedder:
    """Stands in for a session: each text's vector and ids come from its letters."""

    info: ClassVar = {"task": "embedding"}

    def __init__(self, shift: float = 0.0, extra_token: bool = False) -> None:
        self._shift, self._extra = shift, extra_token

    def tokenize(self, text: str) -> list[int]:
        return [ord(letter) for letter in text] + [0] * self._extra

    def embed(self, texts: list[str]) -> Any:
        return np.array([[1.0, len(text), self._shift] for text in texts], np.float32)


class Doubler:
    info: ClassVar = {"task": "tensors"}

    def __init__(self, factor: float = 2.0) -> None:
        self._factor = factor

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"y": inputs["x"] * np.float32(self._factor)}


class Speaker:
    info: ClassVar = {"task": "causal-lm"}

    def tokenize(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        return [ord(letter) for message in messages for letter in message["role"] + message["content"]]

    def logits(self, ids: list[int]) -> Any:
        return np.arange(len(ids) * 100, dtype=np.float32).reshape(len(ids), 100)


def _session(stand_in: Any) -> Session:
    return cast(Session, stand_in)


def _through_json(case: dict[str, Any]) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], json.loads(json.dumps(goldens.document([case])))["cases"])


def test_a_case_passes_where_it_was_recorded_and_carries_the_token_ids() -> None:
    case = goldens.make_case(_session(Embedder()), "ab", "greeting")
    assert case["expected"]["token_ids"] == [97, 98]
    results = goldens.replay(_session(Embedder()), _through_json(case))
    assert [(one["name"], one["passed"]) for one in results] == [("greeting", True), ("greeting tokens", True)]


def test_a_vector_that_turned_away_fails() -> None:
    cases = _through_json(goldens.make_case(_session(Embedder()), "ab", "greeting"))
    vector, tokens = goldens.replay(_session(Embedder(shift=1.0)), cases)
    assert not vector["passed"]
    assert vector["difference"] is not None
    assert vector["difference"] == pytest.approx(1 - 5 / math.sqrt(5 * 6), abs=1e-6)
    assert tokens["passed"]


def test_another_token_fails_though_the_vector_is_right() -> None:
    cases = _through_json(goldens.make_case(_session(Embedder()), "ab", "greeting"))
    vector, tokens = goldens.replay(_session(Embedder(extra_token=True)), cases)
    assert vector["passed"]
    assert (tokens["passed"], tokens["difference"]) == (False, 1.0)


@pytest.mark.parametrize("count", [4, 3000])
def test_arrays_go_through_json_as_numbers_or_as_bytes(count: int) -> None:
    given_array = np.linspace(-1, 1, count, dtype=np.float32).reshape(2, -1)
    case = goldens.make_case(_session(Doubler()), {"x": given_array}, "arrays")
    assert ("data" in case["input"]["tensors"]["x"]) == (count == 4)
    (result,) = goldens.replay(_session(Doubler()), _through_json(case))
    assert (result["passed"], result["difference"]) == (True, 0.0)
    (result,) = goldens.replay(_session(Doubler(2.1)), _through_json(case))
    assert not result["passed"]
    assert result["difference"] == pytest.approx(0.1, rel=1e-5)


def test_of_logits_the_largest_of_the_last_token_are_kept() -> None:
    case = goldens.make_case(_session(Speaker()), [5, 6], "ids")
    assert case["input"] == {"ids": [5, 6]}
    assert case["expected"]["ids"] == list(range(99, 67, -1))
    assert case["expected"]["values"][0] == 199
    assert "token_ids" not in case["expected"]
    assert all(one["passed"] for one in goldens.replay(_session(Speaker()), _through_json(case)))


@pytest.mark.parametrize(
    ("given_input", "stored"),
    [
        ("ab", {"text": "ab"}),
        ([{"role": "user", "content": "ab"}], {"messages": [{"role": "user", "content": "ab"}]}),
    ],
)
def test_of_texts_and_messages_the_prompt_s_tokens_are_kept_too(given_input: Any, stored: dict[str, Any]) -> None:
    case = goldens.make_case(_session(Speaker()), given_input, "said")
    assert case["input"] == stored
    assert case["expected"]["kind"] == "logits"
    assert case["expected"]["token_ids"][-2:] == [97, 98]
    cases = _through_json(case)
    assert [one["name"] for one in goldens.replay(_session(Speaker()), cases)] == ["said", "said tokens"]
    cases[0]["expected"]["token_ids"][0] += 1
    values, tokens = goldens.replay(_session(Speaker()), cases)
    assert (values["passed"], tokens["passed"], tokens["difference"]) == (True, False, 1.0)


@pytest.mark.parametrize("messages", [3, [3], [[]], None])
def test_messages_that_are_none_are_malformed(messages: object) -> None:
    case = goldens.make_case(_session(Speaker()), [{"role": "user", "content": "ab"}], "said")
    with pytest.raises(BundleInvalid, match="malformed"):
        goldens.replay(_session(Speaker()), [{**case, "input": {"messages": messages}}])


def test_an_output_without_a_value_is_no_golden() -> None:
    with pytest.raises(BadInput, match="infinite"):
        goldens.make_case(_session(Doubler(math.inf)), {"x": np.ones(2, np.float32)}, "broken")


def test_an_output_that_lost_its_value_fails() -> None:
    cases = _through_json(goldens.make_case(_session(Doubler()), {"x": np.ones(2, np.float32)}, "ones"))
    (result,) = goldens.replay(_session(Doubler(math.nan)), cases)
    assert (result["passed"], result["difference"]) == (False, None)


def test_another_shape_or_name_does_not_compare() -> None:
    one, other = {"y": np.ones(2)}, {"y": np.ones(3)}
    assert goldens.difference(one, other, "max_abs") is None
    assert goldens.difference(one, {"z": np.ones(2)}, "max_abs") is None
    assert goldens.difference(one, one, "cosine") == pytest.approx(0, abs=1e-12)


@given(
    st.sampled_from(["float32", "float16", "float64", "int64", "int8", "uint8", "bool"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_encoding_loses_nothing(dtype: str, shape: list[int], seed: int) -> None:
    array = (np.random.default_rng(seed).normal(size=shape) * 100).astype(dtype)
    for limit in (0, goldens.MAX_INLINE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(goldens, "MAX_INLINE", limit)
            stored = json.loads(json.dumps(goldens.encode(array)))
        back = goldens.decode(stored)
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)


@pytest.mark.parametrize(
    "stored",
    [
        {"dtype": "object", "shape": [1], "data": [1]},
        {"dtype": "float32", "shape": [-1], "data": [1]},
        {"dtype": "float32", "shape": [3], "data": [1]},
        {"dtype": "float32", "shape": [1], "data": ["x"]},
        {"dtype": "float32", "shape": [1], "base64": "????"},
        {"dtype": "float32", "shape": [1], "base64": "AAA="},
        {"dtype": "float32", "shape": [2**40], "base64": "AAAAAA=="},
    ],
)
def test_a_damaged_tensor_is_refused(stored: dict[str, Any]) -> None:
    case = {
        "name": "damaged",
        "input": {"tensors": {"x": stored}},
        "expected": {"kind": "outputs", "values": {}},
        "tolerance": {"metric": "max_abs", "default": 1},
    }
    with pytest.raises(BundleInvalid, match="damaged"):
        goldens.replay(_session(Doubler()), [case])


@pytest.mark.parametrize(
    ("tolerance", "limit"),
    [
        ({"default": 1}, 1),
        ({"default": 1, "aarch64": 2, "x86_64": 3}, 2),
        ({"default": 1, "aarch64": 2, "aarch64+i8mm": 4}, 4),
        ({"default": 1, "aarch64+i8mm": 4, "aarch64+dotprod": 5}, 5),
        ({"default": 1, "aarch64+sve2": 4}, 1),
    ],
)
def test_the_most_particular_tolerance_wins(tolerance: dict[str, float], limit: float) -> None:
    assert goldens._limit(tolerance, "aarch64", frozenset({"i8mm", "dotprod"})) == limit


def test_the_tolerances_are_those_of_the_cpu_that_answered() -> None:
    session = _session(Doubler())
    tolerance = {"metric": "max_abs", "default": 1, "armv9": 2}
    case = goldens.make_case(session, {"x": np.ones(2, np.float32)}, "a", tolerance)
    (here,) = goldens.replay(session, [case])
    (there,) = goldens.replay(session, [case], ("armv9", frozenset()))
    assert (here["tolerance"], there["tolerance"]) == (1, 2)
