"""Goldens: recorded inputs with the outputs expected of them, replayed on the device. See docs/manifest.md.

edgekit records with `make_case`, a device replays with `Session.self_test`: the same code computes both sides.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
import numpy.typing as npt

from . import _machine
from ._bundle import MAX_GOLDEN_BYTES, inside, read_json
from .errors import BadInput, BundleInvalid

if TYPE_CHECKING:
    from ._session import Session

Array = npt.NDArray[Any]
Given = str | Sequence[int] | Mapping[str, Array] | Sequence[Mapping[str, str]]

GOLDEN = "golden.json"
SCHEMA_VERSION = 1
TOP_LOGITS = 32
MAX_INLINE = 1024  # more elements than this stand in base64, exact and compact
_DTYPES = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool")


class Result(TypedDict):
    """`difference` is None where the two cannot be compared: another shape, a label that is not there, NaN."""

    name: str
    passed: bool
    difference: float | None
    tolerance: float


def make_case(session: Session, given: Given, name: str, tolerance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One case for golden.json: what `session` answers to `given`.

    `given` is a text, token ids or messages (causal LM), or arrays by input name. `tolerance` is {"metric": "cosine" |
    "max_abs", "default": x, ISA key: y}; without it, one that covers the rounding of other CPUs.
    """
    stored: dict[str, Any]
    if isinstance(given, str):
        stored = {"text": given}
        expected = _observe(session, stored)
    elif isinstance(given, Mapping):
        stored = {"tensors": {key: encode(np.asarray(one)) for key, one in given.items()}}
        expected = _observe(session, {"tensors": given})
    elif given and isinstance(given[0], Mapping):
        stored = {"messages": [dict(cast("Mapping[str, str]", one)) for one in given]}
        expected = _observe(session, stored)
    else:
        stored = {"ids": [int(cast(int, one)) for one in given]}
        expected = _observe(session, stored)
    if expected["kind"] == "logits":
        top = np.argsort(-expected["values"], kind="stable")[:TOP_LOGITS]
        expected["ids"], expected["values"] = top.tolist(), expected["values"][top]
    for array in _arrays(expected).values():
        if not np.isfinite(array.astype(np.float64)).all():
            raise BadInput(f"the golden {name!r} has an infinite or undefined output: it cannot be compared")
    kept = dict(tolerance) if tolerance else _default_tolerance(expected)
    return {"name": name, "input": stored, "expected": _stored(expected), "tolerance": kept}


def document(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """What golden.json holds."""
    return {"schema_version": SCHEMA_VERSION, "cases": cases}


def read(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The bundle's cases, their shape checked."""
    found = read_json(inside(folder, manifest, GOLDEN), MAX_GOLDEN_BYTES)
    if not isinstance(found, dict) or found.get("schema_version") != SCHEMA_VERSION:
        raise BundleInvalid(f"{GOLDEN} has not the schema_version {SCHEMA_VERSION}")
    cases = found.get("cases")
    shape = {"name": str, "input": dict, "expected": dict, "tolerance": dict}
    if not isinstance(cases, list) or not all(
        isinstance(case, dict) and all(isinstance(case.get(key), kind) for key, kind in shape.items()) for case in cases
    ):
        raise BundleInvalid(f"{GOLDEN}: cases is not a list of objects with {', '.join(shape)}")
    return cases


def replay(
    session: Session, cases: list[dict[str, Any]], cpu: tuple[str, frozenset[str]] | None = None
) -> list[Result]:
    """Per case one result, and for text and messages one more, "NAME tokens": how many token ids differ.

    `cpu` is (architecture, ISA features) of what answered, whose tolerances hold: None for this machine.
    """
    cpu = cpu or (_machine.arch(), _machine.isa_features() or frozenset())
    results: list[Result] = []
    for case in cases:
        try:
            results += _replay_one(session, case, cpu)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BundleInvalid(f"{GOLDEN}: the case {case['name']!r} is malformed: {error!r}") from error
    return results


def _replay_one(session: Session, case: dict[str, Any], cpu: tuple[str, frozenset[str]]) -> list[Result]:
    given, expected, name = case["input"], case["expected"], case["name"]
    if tensors := given.get("tensors"):
        given = {"tensors": {key: decode(one) for key, one in tensors.items()}}
    found = _observe(session, given)
    if found["kind"] == "logits":
        found["values"] = found["values"][np.asarray(expected["ids"], np.int64)]
    limit = _limit(case["tolerance"], *cpu)
    if found["kind"] != expected["kind"]:
        raise ValueError(f"expected is of kind {expected['kind']!r}, this bundle gives {found['kind']!r}")
    away = difference(values(expected), _arrays(found), case["tolerance"]["metric"])
    result = Result(name=name, passed=away is not None and away <= limit, difference=away, tolerance=limit)
    if "token_ids" not in expected:
        return [result]
    want, have = list(expected["token_ids"]), list(found["token_ids"])
    wrong = abs(len(want) - len(have)) + sum(a != b for a, b in zip(want, have, strict=False))
    return [
        result,
        Result(name=f"{name} tokens", passed=not wrong, difference=float(wrong), tolerance=0.0),
    ]


def _observe(session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the session answers: {"kind", the values as arrays, for text "token_ids"}."""
    task = session.info["task"]
    if "tensors" in given:
        return {"kind": "outputs", "values": session.run(dict(given["tensors"]))}
    if task == "causal-lm":
        if "messages" in given:
            ids = session.chat_ids(given["messages"])
        else:
            ids = session.tokenize(given["text"]) if "text" in given else list(given["ids"])
        tokens = {} if "ids" in given else {"token_ids": ids}
        return {"kind": "logits", "values": session.logits(ids)[-1], **tokens}
    text = given["text"]
    tokens = {"token_ids": session.tokenize(text)}
    if task == "embedding":
        return {"kind": "embedding", "values": session.embed([text])[0], **tokens}
    if task == "text-classification":
        scores = {one["label"]: np.float32(one["score"]) for one in session.classify([text])[0]}
        return {"kind": "scores", "values": scores, **tokens}
    return {"kind": "outputs", "values": session.run(session.encode(text)), **tokens}


def _arrays(expected: Mapping[str, Any]) -> dict[str, Array]:
    values = expected["values"]
    return {key: np.asarray(one) for key, one in values.items()} if isinstance(values, dict) else {"": values}


def _stored(expected: dict[str, Any]) -> dict[str, Any]:
    """For JSON: vectors as plain lists, scores as numbers, outputs as encoded tensors."""
    values = expected["values"]
    if expected["kind"] == "outputs":
        return {**expected, "values": {key: encode(one) for key, one in values.items()}}
    if expected["kind"] == "scores":
        return {**expected, "values": {key: _numbers(np.asarray(one))[0] for key, one in values.items()}}
    return {**expected, "values": _numbers(values)}


def values(expected: Mapping[str, Any]) -> dict[str, Array]:
    """What a case expects, as arrays by name; under "" where there is only one."""
    stored = expected["values"]
    if expected["kind"] == "outputs":
        return {key: decode(one) for key, one in stored.items()}
    if expected["kind"] == "scores":
        return {key: np.asarray(one, np.float32) for key, one in stored.items()}
    return {"": np.asarray(stored, np.float32)}


def encode(array: Array) -> dict[str, Any]:
    """{dtype, shape, data: flat numbers} or, of a large one, {dtype, shape, base64: little-endian bytes}."""
    if array.dtype.name not in _DTYPES:
        raise BadInput(f"a golden tensor is {array.dtype}, expected one of {', '.join(_DTYPES)}")
    head = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size <= MAX_INLINE:
        return {**head, "data": _numbers(array)}
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {**head, "base64": base64.b64encode(raw).decode("ascii")}


def decode(stored: Mapping[str, Any]) -> Array:
    """The inverse of `encode`; ValueError where the pieces do not fit one another."""
    if stored["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {stored['dtype']!r} is unknown")
    dtype, shape = np.dtype(stored["dtype"]), tuple(stored["shape"])
    if not all(type(axis) is int and axis >= 0 for axis in shape):
        raise ValueError(f"shape {shape} is not made of whole numbers")
    if "base64" in stored:
        try:
            raw = base64.b64decode(stored["base64"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"base64 is damaged: {error}") from error
        return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    return np.asarray(stored["data"], dtype).reshape(shape)


def _numbers(array: Array) -> list[Any]:
    """Flat plain numbers; a float is written with the fewest digits that give the same value back."""
    flat = array.reshape(-1)
    return [float(str(one)) for one in flat] if array.dtype.kind == "f" else flat.tolist()


def difference(want: dict[str, Array], have: dict[str, Array], metric: str) -> float | None:
    """1 - cosine, or the largest absolute difference, the worst over all arrays; None where they do not compare."""
    if metric not in ("cosine", "max_abs"):
        raise ValueError(f"metric {metric!r} is neither cosine nor max_abs")
    if set(want) != set(have):
        return None
    worst = 0.0
    for key in want:
        one, other = np.asarray(want[key], np.float64), np.asarray(have[key], np.float64)
        if one.shape != other.shape:
            return None
        if metric == "cosine":
            norms = float(np.linalg.norm(one) * np.linalg.norm(other))
            away = 1 - float((one * other).sum()) / norms if norms else float(np.abs(one - other).max(initial=0.0))
        else:
            away = float(np.abs(one - other).max(initial=0.0))
        if not math.isfinite(away):
            return None
        worst = max(worst, away)
    return worst


def _limit(tolerance: Mapping[str, Any], arch: str, features: frozenset[str]) -> float:
    """A CPU's tolerance. Keys are "default", an architecture ("aarch64"), or one with a feature ("aarch64+i8mm");
    the most particular one that applies wins, among equals the widest.
    """
    particular = [
        float(value) for key, value in tolerance.items() if key.startswith(f"{arch}+") and key.split("+")[1] in features
    ]
    return max(particular) if particular else float(tolerance.get(arch, tolerance["default"]))


def _default_tolerance(expected: Mapping[str, Any]) -> dict[str, Any]:
    """Between x86, ARM and WebAssembly, int8 and 4-bit kernels round differently; these bounds leave room for that."""
    if expected["kind"] == "embedding":
        return {"metric": "cosine", "default": 0.01}
    if expected["kind"] == "scores":
        return {"metric": "max_abs", "default": 0.05}
    largest = max(float(np.abs(one.astype(np.float64)).max(initial=0.0)) for one in _arrays(expected).values())
    return {"metric": "max_abs", "default": round(0.02 * max(1.0, largest), 6)}
