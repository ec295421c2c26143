"""The float32 graph answers as torch does, for every kind of source, at any batch and length."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.devices import device, setting
from numpy.typing import NDArray

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import ImageSetup, Pooling, SourceModel, from_torch, open_model
from edgekit.progress import Silent
from edgekit.strategies import Artifact, Candidate
from edgekit.strategies.onnx import fp32
from edgekit.strategies.onnx.engine import session
from edgekit.torch_model import load_torch

pytestmark = pytest.mark.engines

Feeds = dict[str, NDArray[Any]]


def packed(model: SourceModel, workdir: Path) -> Artifact:
    target = device("avx2", "avx512_vnni")
    (candidate,) = fp32.propose(model, setting(target))
    assert isinstance(candidate, Candidate)
    return fp32.make(candidate, model, target, workdir, Silent())


def answers(artifact: Artifact, feeds: Feeds) -> Feeds:
    running = session(artifact.folder / artifact.model_file, threads=1)
    names = [output.name for output in running.get_outputs()]
    return dict(zip(names, running.run(names, feeds), strict=True))


def text_feeds(batch: int, tokens: int, *, left: bool = False) -> Feeds:
    ids = np.random.default_rng(batch * tokens).integers(5, 200, (batch, tokens))
    mask = np.ones_like(ids)
    if batch > 1 and tokens > 2:
        mask[1, slice(0, 2) if left else slice(-2, None)] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def from_module(model: SourceModel, feeds: Feeds) -> Any:
    import torch

    with torch.inference_mode():
        return load_torch(model)(**{name: torch.from_numpy(array) for name, array in feeds.items()})


def pooled_in_torch(tokens: Any, mask: NDArray[Any], pooling: Pooling, normalize: bool) -> NDArray[Any]:
    """sentence-transformers' own arithmetic, in torch."""
    import torch

    kept = torch.from_numpy(mask).unsqueeze(-1).float()
    if pooling == "mean":
        result = (tokens * kept).sum(1) / kept.sum(1).clamp(min=1e-9)
    elif pooling == "max":
        result = tokens.masked_fill(kept == 0, -1e9).max(1).values
    elif pooling == "cls":
        result = tokens[:, 0]
    else:
        last = [int(np.flatnonzero(row)[-1]) for row in mask]
        result = tokens[torch.arange(len(last)), torch.tensor(last)]
    if normalize:
        result = torch.nn.functional.normalize(result, dim=1)
    array: NDArray[Any] = result.numpy()
    return array


@pytest.fixture(scope="module")
def sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> SourceModel:
    return open_model(tiny_models.tiny_sentence_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_pooling_and_normalisation_are_in_the_graph(
    sentence_encoder: SourceModel, tmp_path: Path, pooling: Pooling, normalize: bool
) -> None:
    model = replace(sentence_encoder, pooling=pooling, normalize=normalize)
    artifact = packed(model, tmp_path)
    assert artifact.model_file == "onnx/model.onnx"
    assert [output.name for output in artifact.outputs] == ["last_hidden_state", "sentence_embedding"]
    assert artifact.outputs[1].shape == ("batch_size", 64)
    assert {(each.dtype, each.shape) for each in artifact.inputs} == {("int64", ("batch_size", "sequence_length"))}
    for feeds in (text_feeds(1, 1), text_feeds(3, 40), text_feeds(2, 9, left=True)):
        tokens = from_module(model, feeds).last_hidden_state
        found = answers(artifact, feeds)
        np.testing.assert_allclose(found["last_hidden_state"], tokens.numpy(), atol=1e-4)
        expected = pooled_in_torch(tokens, feeds["attention_mask"], pooling, normalize)
        np.testing.assert_allclose(found["sentence_embedding"], expected, atol=1e-4)


def test_an_encoder_that_names_no_pooling_gets_the_mean_and_a_note(
    sentence_encoder: SourceModel, tmp_path: Path
) -> None:
    artifact = packed(replace(sentence_encoder, pooling=None), tmp_path)
    assert any("mean" in note for note in artifact.notes)


@pytest.mark.parametrize(
    "make",
    [tiny_models.tiny_bert_classifier, tiny_models.tiny_bert_tagger],
    ids=["classifier", "tagger"],
)
def test_text_classifiers_answer_as_torch_does(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model = open_model(make(tmp_path / "source"))
    artifact = packed(model, tmp_path)
    for feeds in (text_feeds(1, 3), text_feeds(4, 33)):
        expected = from_module(model, feeds).logits.numpy()
        np.testing.assert_allclose(answers(artifact, feeds)["logits"], expected, atol=1e-4)


@pytest.mark.parametrize("make", [tiny_models.tiny_vit, tiny_models.tiny_resnet], ids=["vit", "resnet"])
def test_image_classifiers_have_a_fixed_picture_and_a_free_batch(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model = open_model(make(tmp_path / "source"))
    assert model.image is not None
    artifact = packed(model, tmp_path)
    size = (model.image.height, model.image.width)
    assert artifact.inputs[0].shape == ("batch_size", 3, *size)
    for batch in (1, 5):
        feeds = {"pixel_values": np.random.default_rng(batch).normal(size=(batch, 3, *size)).astype(np.float32)}
        expected = from_module(model, feeds).logits.numpy()
        np.testing.assert_allclose(answers(artifact, feeds)["logits"], expected, atol=1e-3)


def test_a_roberta_has_no_token_types(tmp_path: Path) -> None:
    model = open_model(tiny_models.tiny_roberta(tmp_path / "source"))
    artifact = packed(model, tmp_path)
    assert [each.name for each in artifact.inputs] == ["input_ids", "attention_mask"]


def test_an_architecture_without_an_optimum_configuration_is_traced_plainly(
    sentence_encoder: SourceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.strategies.onnx import export

    expected = packed(sentence_encoder, tmp_path)
    monkeypatch.setattr(export, "_optimum_config", lambda module, task: None)
    artifact = packed(sentence_encoder, tmp_path)
    assert artifact.inputs == expected.inputs
    feeds = text_feeds(3, 17)
    np.testing.assert_allclose(
        answers(artifact, feeds)["sentence_embedding"], answers(expected, feeds)["sentence_embedding"], atol=1e-5
    )


def test_a_module_keeps_its_input_names_and_a_free_batch(tmp_path: Path) -> None:
    import torch

    class TwoInputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = torch.nn.Linear(6, 20), torch.nn.Linear(4, 20)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            total = self.left(a) + self.right(b)
            return total.relu(), total.sum(1)

    module = TwoInputs()
    model = from_torch(module, {"a": torch.randn(2, 6), "b": torch.randn(2, 4)}, name="two")
    artifact = packed(model, tmp_path)
    assert [(each.name, each.shape) for each in artifact.inputs] == [("a", ("batch", 6)), ("b", ("batch", 4))]
    assert [(each.name, each.shape) for each in artifact.outputs] == [
        ("output", ("batch", 20)),
        ("output_1", ("batch",)),
    ]
    feeds = {"a": np.ones((7, 6), np.float32), "b": np.full((7, 4), 0.5, np.float32)}
    with torch.inference_mode():
        expected = module(*(torch.from_numpy(array) for array in feeds.values()))
    for found, wanted in zip(answers(artifact, feeds).values(), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_a_module_for_pictures_answers_logits(tmp_path: Path) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
    picture = ImageSetup(8, 8, (0.5,) * 3, (0.5,) * 3)
    model = from_torch(
        module, torch.randn(1, 3, 8, 8), name="net", task="image-classification", labels=tuple("abcd"), image=picture
    )
    artifact = packed(model, tmp_path)
    assert [output.name for output in artifact.outputs] == ["logits"]


def test_a_value_frozen_by_the_tracer_is_found(tmp_path: Path) -> None:
    import torch

    class Frozen(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.shape[0])

    with pytest.raises(UnsupportedModel, match="froze a value"):
        packed(from_torch(Frozen(), torch.ones(2, 3), name="frozen"), tmp_path)


def test_a_module_bound_to_one_batch_is_refused(tmp_path: Path) -> None:
    import torch

    class OneBatch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.ones(2, 3)

    with pytest.raises(UnsupportedModel, match="fails at batch 5"):
        packed(from_torch(OneBatch(), torch.ones(2, 3), name="one"), tmp_path)


def test_what_the_exporter_does_not_know_is_told_in_one_line(tmp_path: Path) -> None:
    import torch

    class Unknown(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x @ x.transpose(1, 2))

    with pytest.raises(UnsupportedModel, match=r"Unknown cannot be exported to ONNX for tensors: .*eigvalsh") as told:
        packed(from_torch(Unknown(), torch.ones(2, 3, 3), name="unknown"), tmp_path)
    assert "\n" not in str(told.value)


def test_a_module_that_answers_no_tensor_is_refused(tmp_path: Path) -> None:
    import torch

    class Answer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return {"y": x, "count": 3}

    with pytest.raises(UnsupportedModel, match="count is a int"):
        packed(from_torch(Answer(), torch.ones(2, 3), name="answer"), tmp_path)


def test_a_model_that_answers_with_nan_is_refused(tmp_path: Path) -> None:
    import torch

    class Logarithm(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(x)

    with pytest.raises(BadModel, match="NaN"):
        packed(from_torch(Logarithm(), -torch.ones(2, 3), name="log"), tmp_path)


def test_optimum_opens_the_folder_as_it_is(sentence_encoder: SourceModel, tmp_path: Path) -> None:
    import torch
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    artifact = packed(sentence_encoder, tmp_path)
    assert sentence_encoder.folder is not None
    config = (sentence_encoder.folder / "config.json").read_text(encoding="utf-8")
    assert json.loads(config)["model_type"] == "bert"
    (artifact.folder / "config.json").write_text(config, encoding="utf-8")
    opened = ORTModelForFeatureExtraction.from_pretrained(artifact.folder, subfolder="onnx", file_name="model.onnx")
    feeds = text_feeds(2, 11)
    found = opened(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    expected = answers(artifact, feeds)["last_hidden_state"]
    np.testing.assert_allclose(found.last_hidden_state.numpy(), expected, atol=1e-5)
