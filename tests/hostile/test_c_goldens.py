"""Goldens and labels that were damaged, or made to harm, under the sanitizers: refused by name, as Python refuses them,
or answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, c_runtime, drivers
from fixtures.wrappers import Driver, Refused, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.engines

CASE = {
    "name": "first",
    "input": {"tensors": {"x": goldens.encode(np.ones((1, 4), np.float32))}},
    "expected": {"kind": "outputs", "values": {"y": goldens.encode(np.full((1, 4), 2, np.float32))}},
    "tolerance": {"metric": "max_abs", "default": 0.01},
}
SPOKEN: dict[str, Any] = {
    "name": "first",
    "input": {"ids": [1, 68]},
    "expected": {"kind": "logits", "ids": [1, 2], "values": [0, 0]},
    "tolerance": {"metric": "max_abs", "default": 9},
}


@pytest.fixture(scope="module")
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    driver = drivers.start("c", request)
    yield driver
    driver.end()


def _replayed(driver: Driver, bundle: Path, raw: bytes) -> Any:
    (bundle / "golden.json").write_bytes(raw)
    bundles.reseal(bundle)
    engine = json.loads((bundle / "edgekit.json").read_bytes())["engine"]
    driver.ask("open", bundle=str(bundle), engine_library=str(c_runtime.engine_library(engine)), threads=1)
    return driver.ask("self_test")


def _document(*cases: Any) -> bytes:
    return json.dumps(goldens.document(list(cases))).encode()


RAW = {
    "empty": b"",
    "half": b"{",
    "a list": b"[]",
    "another schema": b'{"schema_version": 2, "cases": []}',
    "no schema": b'{"cases": []}',
    "cases that are none": b'{"schema_version": 1, "cases": {}}',
    "a case that is none": b'{"schema_version": 1, "cases": [3]}',
    "a case with a name alone": b'{"schema_version": 1, "cases": [{"name": "a"}]}',
    "deep": b'{"schema_version": 1, "cases": ' + b"[" * 100_000,
    "deep and whole": b'{"schema_version": 1, "cases": ' + b"[" * 500 + b"]" * 500 + b"}",
    "a key twice": b'{"schema_version": 1, "schema_version": 1, "cases": []}',
    "not UTF-8": b'{"schema_version": 1, "cases": [], "x": "\xff"}',
    "more values than are read": b'{"schema_version": 1, "cases": [' + b"0," * 1_000_001 + b"0]}",
    "larger than is read": b'{"schema_version": 1, "cases": []}' + b" " * (64 << 20),
}


@pytest.mark.parametrize("name", RAW)
def test_a_file_that_is_none(driver: Driver, tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"BundleInvalid: golden\.json"):
        _replayed(driver, bundles.tensor_bundle(tmp_path / "b"), RAW[name])
    with pytest.raises(rt.BundleInvalid), rt.open(tmp_path / "b", threads=1) as session:
        session.self_test()


def test_a_bundle_without_goldens(driver: Driver, tmp_path: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    library = str(c_runtime.engine_library("onnxruntime"))
    driver.ask("open", bundle=str(bundle), engine_library=library, threads=1)
    with pytest.raises(Refused, match=r"BundleInvalid: edgekit\.json uses 'golden\.json' and does not list it"):
        driver.ask("self_test")


def test_no_cases_are_no_results(driver: Driver, tmp_path: Path) -> None:
    assert _replayed(driver, bundles.tensor_bundle(tmp_path / "b"), _document()) == []


X = CASE["input"]["tensors"]["x"]  # type: ignore[index]
WRONG_TENSORS: dict[str, dict[str, Any]] = {
    "no input": {"input": {}},
    "an input that is none": {"input": "x"},
    "tensors that are none": {"input": {"tensors": [X]}},
    "a tensor that is none": {"input": {"tensors": {"x": 3}}},
    "a dtype that is none": {"input": {"tensors": {"x": X | {"dtype": "float8"}}}},
    "a shape that is too large": {"input": {"tensors": {"x": X | {"shape": [1, 2**61]}}}},
    "a shape of another size": {"input": {"tensors": {"x": X | {"shape": [2, 4]}}}},
    "a negative axis": {"input": {"tensors": {"x": X | {"shape": [-1, -4]}}}},
    "data of words": {"input": {"tensors": {"x": X | {"data": ["a"] * 4}}}},
    "base64 of other bytes": {"input": {"tensors": {"x": {"dtype": "float32", "shape": [1, 4], "base64": "AAAA"}}}},
    "base64 that is none": {"input": {"tensors": {"x": {"dtype": "float32", "shape": [1, 4], "base64": "é"}}}},
    "nothing expected": {"expected": {}},
    "a kind that is none": {"expected": CASE["expected"] | {"kind": "smell"}},  # type: ignore[operator]
    "another kind": {"expected": {"kind": "logits", "ids": [0], "values": [0]}},
    "values that are none": {"expected": {"kind": "outputs", "values": [1, 2]}},
    "a value that is none": {"expected": {"kind": "outputs", "values": {"y": "z"}}},
    "no metric": {"tolerance": {"default": 1}},
    "another metric": {"tolerance": {"metric": "miles", "default": 1}},
    "no tolerance by default": {"tolerance": {"metric": "max_abs"}},
    "a tolerance of words": {"tolerance": {"metric": "max_abs", "default": "much"}},
    "a list of tolerances": {"tolerance": []},
    "no name": {"name": None},
}


@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_a_case_of_tensors_that_is_malformed(driver: Driver, tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"BundleInvalid: golden\.json"):
        _replayed(driver, bundles.tensor_bundle(tmp_path / "b"), _document(CASE | WRONG_TENSORS[name]))


WRONG_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "ids of halves": ({"input": {"ids": [1.5]}}, "BundleInvalid"),
    "ids of words": ({"input": {"ids": "abc"}}, "BundleInvalid"),
    "ids beyond 32 bits": ({"input": {"ids": [2**40]}}, "BundleInvalid"),
    "ids outside the vocabulary": ({"input": {"ids": [5000]}}, "BadInput"),
    "negative ids": ({"input": {"ids": [-1]}}, "BadInput"),
    "no ids": ({"input": {"ids": []}}, "BadInput"),
    "more than the context": ({"input": {"ids": [1] * 500}}, "PromptTooLong"),
    "tensors of a decoder": ({"input": CASE["input"]}, "WrongTask"),
    "picked outside the vocabulary": ({"expected": SPOKEN["expected"] | {"ids": [1, 5000]}}, "BundleInvalid"),
    "picked below it": ({"expected": SPOKEN["expected"] | {"ids": [1, -5000]}}, "BundleInvalid"),
    "picked halves": ({"expected": SPOKEN["expected"] | {"ids": [1, 0.5]}}, "BundleInvalid"),
    "nothing picked": ({"expected": {"kind": "logits", "values": [0, 0]}}, "BundleInvalid"),
    "values of words": ({"expected": SPOKEN["expected"] | {"values": ["a", "b"]}}, "BundleInvalid"),
    "an embedding of a decoder": ({"expected": {"kind": "embedding", "values": [0]}}, "BundleInvalid"),
    "tokens that are none": (
        {"input": {"text": "A"}, "expected": SPOKEN["expected"] | {"token_ids": 3}},
        "BundleInvalid",
    ),
    "tokens of words": (
        {"input": {"text": "A"}, "expected": SPOKEN["expected"] | {"token_ids": ["A", "B"]}},
        "BundleInvalid",
    ),
    "messages that are none": ({"input": {"messages": "hello"}}, "BundleInvalid"),
    "a message that is none": ({"input": {"messages": [3]}}, "BundleInvalid"),
    "a message without words": ({"input": {"messages": [{"role": "user"}]}}, "BundleInvalid"),
    "messages without end": ({"input": {"messages": [{"role": "user", "content": "A"}] * 65}}, "BundleInvalid"),
    "messages and no tokens": ({"input": {"messages": [{"role": "user", "content": "A"}]}}, "BundleInvalid"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_case_of_a_language_model_that_is_malformed(driver: Driver, tmp_path: Path, name: str) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    change, error = WRONG_ANSWERS[name]
    assert [one["passed"] for one in _replayed(driver, bundle, _document(SPOKEN))] == [True]
    with pytest.raises(Refused, match=f"^{error}: "):
        _replayed(driver, bundle, _document(SPOKEN | change))


PLACES = st.tuples(
    st.integers(0, 10**6), st.sampled_from(["", "0", "-", '"', "9e9", "{", "]", ",", "é", "null", "\x1f"])
)


@settings(max_examples=120, deadline=None)
@given(edits=st.lists(PLACES, min_size=1, max_size=3))
def test_edited_goldens_are_replayed_or_refused(
    tmp_path_factory: pytest.TempPathFactory, driver: Driver, edits: list[tuple[int, str]]
) -> None:
    """A sound file with characters replaced anywhere: what both runtimes can read they judge alike."""
    bundle = bundles.tensor_bundle(tmp_path_factory.mktemp("golden") / "b")
    text = _document(CASE).decode()
    for place, replacement in edits:
        at = place % len(text)
        text = text[:at] + replacement + text[at + 1 :]
    found = _outcome(driver, bundle, text.encode())
    if isinstance(found, str):
        assert found in ("BundleInvalid", "BadInput")
        return
    with np.errstate(all="ignore"), rt.open(bundle, threads=1) as session:
        assert found == [one["passed"] for one in session.self_test()]


def _outcome(driver: Driver, bundle: Path, raw: bytes) -> str | list[bool]:
    """The name of the error, or which cases passed."""
    try:
        return [one["passed"] for one in _replayed(driver, bundle, raw)]
    except Refused as refused:
        return refused.name


LABELS = ["", 'a "quoted" \\ label', "line\nbreak\ttab", "\u202eegnahc", "x" * 100_000, "🌍" * 50, "\x7f"]


def test_labels_come_back_as_they_are(driver: Driver, tmp_path: Path) -> None:
    bundle = bundles.image_bundle(tmp_path / "b")
    pixels = np.full((4, 4, 3), (9, 200, 30), np.uint8)
    for start in range(len(LABELS) - 2):
        labels = LABELS[start : start + 3]
        bundles.reseal(bundle, labels=labels)
        library = str(c_runtime.engine_library("onnxruntime"))
        driver.ask("open", bundle=str(bundle), engine_library=library, threads=1)
        found = driver.ask("classify_pixels", picture=tensor(pixels))
        assert [one["label"] for one in found] == [labels[1], labels[2], labels[0]]
