"""ONNX files as sources: carried byte for byte, with what lies beside them; the user's own file never changes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import onnx_files, tiny_models
from fixtures.devices import device, setting
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import SourceModel, open_model
from edgekit.progress import Silent
from edgekit.strategies import Artifact, Candidate
from edgekit.strategies.onnx import fp32, int8
from edgekit.strategies.onnx.engine import session
from edgekit.strategies.onnx.external import external_files
from edgekit.strategies.onnx.graph import load

pytestmark = pytest.mark.engines

VNNI = device("avx2", "avx512_vnni")


def bare(file: Path) -> SourceModel:
    """A source that nobody checked before: what the strategy itself must notice."""
    return SourceModel(
        name="net",
        source=str(file),
        format="onnx",
        task="tensors",
        kind="module",
        architecture="onnx",
        folder=file.parent,
        files=(Path(file.name),),
        file=file,
    )


def packed(strategy: Any, model: SourceModel, workdir: Path) -> Artifact:
    (candidate,) = strategy.propose(model, setting(VNNI))
    assert isinstance(candidate, Candidate)
    artifact: Artifact = strategy.make(candidate, model, VNNI, workdir, Silent())
    return artifact


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("location", [None, "weights.bin", "parts/weights.bin"])
def test_a_float_file_is_carried_byte_for_byte_and_quantized(tmp_path: Path, location: str | None) -> None:
    file = onnx_files.products(tmp_path / "source" / "net.onnx", location=location)
    before = digests(tmp_path / "source")
    model = open_model(file)
    large, small = packed(fp32, model, tmp_path), packed(int8, model, tmp_path)
    carried = digests(large.folder / "onnx")
    expected = {name.replace("net.onnx", "model.onnx"): digest for name, digest in before.items()}
    assert carried == expected
    assert digests(tmp_path / "source") == before
    feeds = {"x": np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)}
    wanted = session(file).run(None, feeds)[0]
    np.testing.assert_array_equal(session(large.folder / large.model_file).run(None, feeds)[0], wanted)
    found = session(small.folder / small.model_file).run(None, feeds)[0]
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    assert small.inputs == large.inputs
    assert small.outputs == large.outputs


def test_the_disk_estimate_of_a_carried_file_is_exact(tmp_path: Path) -> None:
    model = open_model(onnx_files.products(tmp_path / "source" / "net.onnx", location="weights.bin"))
    (candidate,) = fp32.propose(model, setting(VNNI))
    assert isinstance(candidate, Candidate)
    assert candidate.disk_bytes.mid == sum(path.stat().st_size for path in (tmp_path / "source").iterdir())


def test_a_quantized_file_is_bundled_as_it_is(tmp_path: Path) -> None:
    small = packed(int8, open_model(onnx_files.products(tmp_path / "net.onnx")), tmp_path)
    model = open_model(small.folder / small.model_file)
    again = packed(fp32, model, tmp_path)
    assert again.candidate.label == "onnx-fp32 as-is"
    assert (again.folder / again.model_file).read_bytes() == (small.folder / small.model_file).read_bytes()


def relocated(tmp_path: Path, location: str) -> Path:
    """A file whose weights claim to lie at `location`."""
    import onnx

    file = onnx_files.products(tmp_path / "source" / "net.onnx", location="weights.bin")
    proto = onnx.load(str(file), load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    file.write_bytes(proto.SerializeToString())
    return file


@pytest.mark.parametrize(
    "location", ["../outside.bin", "/etc/hostname", "parts/../../outside.bin", "..\\outside.bin", "C:outside.bin", ""]
)
def test_external_data_that_climbs_out_is_refused(tmp_path: Path, location: str) -> None:
    file = relocated(tmp_path, location)
    (tmp_path / "outside.bin").write_bytes(bytes(100_000))
    with pytest.raises(BadModel, match="outside the model's folder"):
        packed(fp32, bare(file), tmp_path)


@given(st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "weights.bin", "C:"]), min_size=1, max_size=5))
def test_no_spelling_of_a_location_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    tmp_path = tmp_path_factory.mktemp("spelling")
    file = relocated(tmp_path, "/".join(parts))
    try:
        found = external_files(load(file, weights=False), file)
    except BadModel:
        return
    for path in found:
        assert (file.parent / path).resolve().is_relative_to(file.parent.resolve())


def test_external_data_behind_a_link_that_leaves_is_refused(tmp_path: Path) -> None:
    file = onnx_files.products(tmp_path / "source" / "net.onnx", location="weights.bin")
    (tmp_path / "source" / "weights.bin").rename(tmp_path / "moved.bin")
    (tmp_path / "source" / "weights.bin").symlink_to(tmp_path / "moved.bin")
    with pytest.raises(BadModel, match="link that leaves"):
        packed(fp32, bare(file), tmp_path)


def test_missing_and_short_external_data_are_refused(tmp_path: Path) -> None:
    file = onnx_files.products(tmp_path / "source" / "net.onnx", location="weights.bin")
    data = tmp_path / "source" / "weights.bin"
    data.write_bytes(data.read_bytes()[:-10])
    with pytest.raises(BadModel, match=r"need .* bytes of weights\.bin"):
        packed(fp32, bare(file), tmp_path)
    data.unlink()
    with pytest.raises(BadModel, match=r"weights\.bin is missing"):
        packed(fp32, bare(file), tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an onnx file", b"\x08\x09" + bytes(100)])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(content)
    with pytest.raises(BadModel):
        packed(fp32, bare(file), tmp_path)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    file = onnx_files.products(tmp_path / "net.onnx")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BadModel):
        packed(fp32, bare(file), tmp_path)


def test_an_operator_that_onnx_runtime_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"com\.example::Fancy"):
        packed(fp32, bare(onnx_files.custom_operator(tmp_path / "net.onnx")), tmp_path)


def test_a_graph_that_onnx_runtime_refuses_is_a_bad_model(tmp_path: Path) -> None:
    import onnx

    file = onnx_files.products(tmp_path / "net.onnx")
    proto = onnx.load(str(file))
    proto.graph.node[2].input[1] = "no_such_weight"
    onnx.save(proto, str(file))
    with pytest.raises(BadModel, match="ONNX Runtime refuses it"):
        packed(fp32, bare(file), tmp_path)


def embedding_file(folder: Path, *, opset: int = 18) -> SourceModel:
    tiny_models.tiny_sentence_encoder(folder, hidden_size=16)
    file = onnx_files.token_encoder(folder / "onnx" / "model.onnx", opset=opset)
    return open_model(file, task="embedding")


def test_an_embedding_file_without_pooling_gets_it_in_the_copy(tmp_path: Path) -> None:
    model = embedding_file(tmp_path / "source")
    assert (model.pooling, model.normalize) == ("mean", True)
    before = digests(tmp_path / "source")
    artifact = packed(fp32, model, tmp_path)
    assert digests(tmp_path / "source") == before
    assert [each.name for each in artifact.outputs] == ["last_hidden_state", "sentence_embedding"]
    assert any("pooling was added" in note for note in artifact.notes)
    ids = np.arange(12).reshape(2, 6)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    tokens, found = session(artifact.folder / artifact.model_file).run(None, feeds)
    expected = tokens.mean(1) / np.linalg.norm(tokens.mean(1), axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pooling_works_before_and_after_opset_18_and_is_refused_below_13(tmp_path: Path) -> None:
    answers = []
    ids = np.arange(12).reshape(2, 6)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    for opset in (13, 18):
        model = replace(embedding_file(tmp_path / str(opset), opset=opset), pooling="max")
        artifact = packed(fp32, model, tmp_path)
        answers.append(session(artifact.folder / artifact.model_file).run(["sentence_embedding"], feeds)[0])
    np.testing.assert_array_equal(*answers)
    with pytest.raises(UnsupportedModel, match="opset 13"):
        packed(fp32, embedding_file(tmp_path / "old", opset=12), tmp_path)


def test_an_embedding_file_with_a_sentence_output_is_not_touched(tmp_path: Path) -> None:
    first = packed(fp32, embedding_file(tmp_path / "source"), tmp_path)
    model = replace(embedding_file(tmp_path / "other"), file=first.folder / first.model_file)
    again = packed(fp32, model, tmp_path)
    assert (again.folder / again.model_file).read_bytes() == (first.folder / first.model_file).read_bytes()
    assert not again.notes
    assert json.loads((tmp_path / "other" / "config.json").read_text(encoding="utf-8"))["hidden_size"] == 16
