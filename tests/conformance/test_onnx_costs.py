"""What is estimated from shapes against what is made: bytes of the file, and the peak of a fresh process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.devices import device, setting

from edgekit import bundle, strategies
from edgekit.limits import Limits
from edgekit.measure import Job, measure
from edgekit.model import open_model
from edgekit.progress import Silent
from edgekit.strategies import Artifact, Candidate
from edgekit.targets.local import Local

pytestmark = pytest.mark.engines

HERE = device("avx2", "avx512_vnni")


def wide_bert(folder: Path) -> Path:
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "max_position_embeddings": 512}
    return tiny_models.tiny_bert(folder, **sizes)


def wide_vit(folder: Path) -> Path:
    return tiny_models.tiny_vit(folder, hidden_size=192, intermediate_size=768, num_hidden_layers=2)


def wide_resnet(folder: Path) -> Path:
    return tiny_models.tiny_resnet(folder, embedding_size=64, hidden_sizes=[64, 256], depths=[1, 2])


def made(source: Path, strategy: str, workdir: Path) -> tuple[Candidate, Artifact]:
    model = open_model(source)
    (candidate,) = strategies.load(strategy).propose(model, setting(HERE))
    assert isinstance(candidate, Candidate)
    return candidate, strategies.load(strategy).make(candidate, model, HERE, workdir, Silent())


@pytest.mark.parametrize("strategy", ["onnx-fp32", "onnx-int8"])
@pytest.mark.parametrize("model", [wide_bert, wide_vit, wide_resnet, tiny_models.tiny_distilbert])
def test_the_file_is_as_large_as_estimated(model: Callable[[Path], Path], strategy: str, tmp_path: Path) -> None:
    candidate, artifact = made(model(tmp_path / "model"), strategy, tmp_path)
    size = sum(path.stat().st_size for path in artifact.folder.rglob("*") if path.is_file())
    assert candidate.disk_bytes.low <= size <= candidate.disk_bytes.high


@pytest.mark.parametrize("strategy", ["onnx-fp32", "onnx-int8"])
def test_an_encoder_is_estimated_to_the_percent_and_takes_the_memory_that_its_terms_say(
    strategy: str, tmp_path: Path
) -> None:
    """The terms as they are, without fitted factors: what they leave out would show here."""
    candidate, artifact = made(wide_bert(tmp_path / "model"), strategy, tmp_path)
    size = sum(path.stat().st_size for path in artifact.folder.rglob("*") if path.is_file())
    assert candidate.disk_bytes.mid == pytest.approx(size, rel=0.01)
    model = open_model(tmp_path / "model")
    staged = bundle.stage(tmp_path / "bundle", artifact, model, HERE, Limits(), "2026-01-01T00:00:00Z")
    job = Job("embedding", "onnxruntime", 1, "the quick fox", longest="the fox " * 600, warmup=1, repeats=1)
    measurement = measure(staged.folder, job, tmp_path / "scratch", Local())
    peak, mapped = measurement.figure("peak_rss_bytes"), measurement.figure("file_rss_bytes")
    assert candidate.work is not None
    assert peak is not None
    assert mapped is not None
    # Of the libraries' pages more are resident where they were just installed: those are left out.
    told = sum(term.bytes for term in candidate.work.memory if term.part != "file")
    assert peak - mapped == pytest.approx(told, rel=0.2)
