"""Results from outside, without a machine that sends them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.manifests import minimal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.errors import BadReport
from edgekit.manifest import Manifest
from edgekit.targets import received

CLASSIFIER = Manifest.model_validate(minimal() | {"task": "text-classification", "kind": "classifier"})
DECODER = Manifest.model_validate(minimal() | {"task": "causal-lm", "kind": "base"})
EMBEDDING = Manifest.model_validate(minimal())
RESULT: dict[str, Any] = {
    "verify_ms": 1.0, "load_ms": 2.5, "token_ids": [], "model_sha256": "0" * 64, "cpu": "Some CPU", "arch": "aarch64",
    "isa": ["neon"], "system": "Linux", "threads": 4, "engine": "onnxruntime 1.31", "python": "3.11.2", "libraries": {},
}  # fmt: skip


def check(folder: Path, manifest: Manifest, job: dict[str, Any], result: object = RESULT) -> dict[str, Any]:
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    received.check(folder, manifest, job, "ssh:board")
    told: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return told


def test_what_a_probe_writes_passes_unchanged(tmp_path: Path) -> None:
    assert check(tmp_path, EMBEDDING, {}) == RESULT


def test_fewer_threads_than_asked_are_noted(tmp_path: Path) -> None:
    told = check(tmp_path, EMBEDDING, {"threads": 8})
    assert told["notes"] == ["ssh:board has cores for 4 threads, 8 were asked"]
    assert "notes" not in check(tmp_path, EMBEDDING, {"threads": 4})


def test_the_names_that_are_expected_follow_from_the_job() -> None:
    assert received.expected(EMBEDDING, {"fidelity": {"texts": ["a", "b"]}}) == ("embeddings.npy",)
    assert received.expected(EMBEDDING, {"fidelity": {}}) == ()
    assert received.expected(DECODER, {"fidelity": {"ids": [[1], [2]]}}) == ("logits-0.npy", "logits-1.npy")
    assert received.expected(CLASSIFIER, {"fidelity": {"npz": ["x"]}}) == ("outputs-0.npz",)


def test_logits_have_a_row_for_each_token(tmp_path: Path) -> None:
    job = {"fidelity": {"ids": [[1, 2, 3]]}}
    np.save(tmp_path / "logits-0.npy", np.zeros((3, 7), np.float32))
    check(tmp_path, DECODER, job)
    np.save(tmp_path / "logits-0.npy", np.zeros((2, 7), np.float32))
    with pytest.raises(BadReport, match=r"logits-0.npy, which is no array: its shape is \(2, 7\)"):
        check(tmp_path, DECODER, job)


def test_a_compressed_archive_is_refused_unread(tmp_path: Path) -> None:
    """A few bytes of it may mean a gigabyte."""
    job = {"fidelity": {"texts": ["a"]}}
    np.savez(tmp_path / "outputs-0.npz", logits=np.zeros((1, 2), np.float32))
    check(tmp_path, CLASSIFIER, job)
    np.savez_compressed(tmp_path / "outputs-0.npz", logits=np.zeros((1, 2), np.float32))
    with pytest.raises(BadReport, match=r"logits.npy is not stored as the probe stores arrays"):
        check(tmp_path, CLASSIFIER, job)


def test_an_archive_of_anything_else_is_refused(tmp_path: Path) -> None:
    job = {"fidelity": {"texts": ["a"]}}
    for name, content in {"run.py": b"print()", "logits.npy": b"no array"}.items():
        with zipfile.ZipFile(tmp_path / "outputs-0.npz", "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(BadReport, match="which is no array"):
            check(tmp_path, CLASSIFIER, job)
    with zipfile.ZipFile(tmp_path / "outputs-0.npz", "w"):
        pass
    with pytest.raises(BadReport, match="it holds 0 arrays"):
        check(tmp_path, CLASSIFIER, job)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(RESULT)), value=JSON)
def test_any_value_of_any_key_is_taken_or_refused_in_a_line(tmp_path: Path, name: str, value: Any) -> None:
    told: dict[str, Any] = {}
    said = ""
    try:
        told = check(tmp_path, EMBEDDING, {}, RESULT | {name: value})
    except BadReport as refused:
        said = str(refused)
    assert said.isprintable()
    assert bool(said) != bool(told)
    json.dumps(told, allow_nan=False)
    assert told.keys() <= RESULT.keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_in_place_of_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    for manifest, name in ((DECODER, "logits-0.npy"), (CLASSIFIER, "outputs-0.npz")):
        (tmp_path / name).write_bytes(content)
        job = {"fidelity": {"texts": ["a"]}}
        with pytest.raises(BadReport, match="which is no array"):
            check(tmp_path, manifest, job)


@given(st.text())
def test_plain_text_is_one_printable_line(text: str) -> None:
    assert received.plain(text).isprintable()
    assert received.plain(text) == received.plain(received.plain(text))
