from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import tiny_models

from edgekit.errors import BadEvalData, LabelMismatch, NoData
from edgekit.model import SourceModel, Training, open_model

pytestmark = pytest.mark.engines

TEXTS = ("the quick brown fox", "dog", "the lazy dog doesn't mind it, and the fox jumps over the quick brown dog")


def opened(folder: Path, name: str, **options: Any) -> SourceModel:
    return open_model(getattr(tiny_models, name)(folder / name, **options))


def told(model: SourceModel) -> list[np.ndarray]:
    """What edgekit's reference, which reads one unpadded text at a time, answers to TEXTS."""
    from edgekit.reference.torch_module import TorchReference

    return list(TorchReference(model, 1).answers(TEXTS))


def answered(model: SourceModel, *, hidden: bool = False) -> Any:
    """(the answers to TEXTS as one padded batch, the batch)."""
    import torch

    from edgekit.torch_model import load_torch
    from edgekit.training.batches import collated
    from edgekit.training.tasks import answers, encoded, pad_id

    examples, _ = encoded(model, Training("texts", texts=TEXTS))
    batch = collated(examples, np.arange(3), pad_id(model))
    with torch.no_grad():
        found = answers(
            load_torch(model),
            model.task,
            batch.inputs,
            pooling=model.pooling,
            normalize=model.normalize,
            hidden=hidden,
        )
    return found, batch


@pytest.mark.parametrize("encoder", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_embeddings_are_pooled_as_the_reference_pools_them(
    tmp_path: Path, encoder: str, pooling: str, normalize: bool
) -> None:
    model = opened(tmp_path, "tiny_sentence_encoder", encoder=encoder, pooling=pooling, normalize=normalize)
    found, _ = answered(model)
    np.testing.assert_allclose(found.embedding.numpy(), np.stack(told(model)), atol=2e-5)
    assert found.logits is None


def test_the_last_token_is_the_last_that_counts() -> None:
    import torch

    from edgekit.training.tasks import pooled_tokens

    tokens = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    assert pooled_tokens(tokens, mask, "last").tolist() == [[2, 3], [10, 11]]
    assert pooled_tokens(tokens, mask, None).tolist() == [[1, 2], [8, 9]]


@pytest.mark.parametrize("name", ["tiny_bert_classifier", "tiny_bert_tagger", "tiny_llama", "tiny_qwen2"])
def test_logits_are_those_of_the_reference_where_tokens_count(tmp_path: Path, name: str) -> None:
    model = opened(tmp_path, name)
    found, _ = answered(model, hidden=True)
    for row, expected in enumerate(told(model)):
        mine = found.logits[row].numpy()
        mine = mine[: len(expected)] if expected.ndim == 2 else mine
        np.testing.assert_allclose(mine, expected, atol=2e-4)
    assert len(found.hidden) == model.config["num_hidden_layers"] + 1
    assert found.hidden[0].shape[:2] == found.mask.shape


def test_pictures_are_answered_without_a_mask(tmp_path: Path) -> None:
    import torch

    from edgekit.evaluation import default_set
    from edgekit.torch_model import load_torch
    from edgekit.training.batches import collated
    from edgekit.training.tasks import answers, encoded

    model = opened(tmp_path, "tiny_vit")
    pictures = default_set(model).arrays[:4]
    examples, labels = encoded(model, Training("pictures", arrays=pictures, labels=("cat", "fox", "dog", "cat")))
    assert labels is not None
    batch = collated(examples, np.arange(4), labels=labels)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 2, 1, 0]
    with torch.no_grad():
        found = answers(load_torch(model), model.task, batch.inputs, hidden=True)
    assert found.logits is not None
    assert found.logits.shape == (4, 3)
    assert found.mask is None
    assert found.hidden[-1].shape == (4, 17, 64)


def test_a_users_own_module_answers_by_position() -> None:
    import torch

    from edgekit.training.tasks import answers

    module = torch.nn.Linear(4, 3)
    inputs = {"features": torch.ones(2, 4)}
    vectors, classes = answers(module, "tensors", inputs), answers(module, "text-classification", inputs)
    assert vectors.embedding is not None
    assert torch.equal(vectors.embedding, module(torch.ones(2, 4)))
    assert classes.logits is not None
    assert classes.embedding is None


def test_texts_are_cut_to_the_models_longest_input(tmp_path: Path) -> None:
    from edgekit.training.tasks import encoded

    model = opened(tmp_path, "tiny_bert_classifier")
    long = " ".join(["the quick brown fox"] * 300)
    assert model.text is not None
    (whole,), _ = encoded(model, Training("t", texts=(long,)))
    (cut,), _ = encoded(model, Training("t", texts=(long,)), most_tokens=16)
    assert len(whole["input_ids"]) == model.text.max_tokens
    assert len(cut["input_ids"]) == 16
    assert cut["input_ids"][-1] == whole["input_ids"][-1]  # the closing special token stays


def test_the_first_token_of_each_word_carries_its_label(tmp_path: Path) -> None:
    from edgekit.torch_model import load_tokenizer
    from edgekit.training.tasks import encoded

    model = opened(tmp_path, "tiny_bert_tagger")
    words, labels = ("The", "quick", "zwölf", "dog"), ("O", "B-PER", "I-PER", "O")
    examples, found = encoded(model, Training("t", words=(words,), labels=(labels,)))
    assert found is not None
    given = [(int(at), model.labels[found[0][at]]) for at in np.flatnonzero(found[0] != -100)]
    assert [label for _, label in given] == list(labels)
    tokenizer, text = load_tokenizer(model), " ".join(words)
    offsets = tokenizer.encode(text).offsets
    assert [text[offsets[at][0] :].split()[0] for at, _ in given] == list(words)
    assert len(found[0]) == len(examples[0]["input_ids"])


def test_labels_become_class_indices_and_unknown_ones_are_named(tmp_path: Path) -> None:
    from edgekit.training.tasks import encoded

    model = opened(tmp_path, "tiny_bert_classifier")
    given = Training("t", texts=TEXTS, labels=("positive", "negative", "positive"))
    _, labels = encoded(model, given)
    assert labels is not None
    assert [int(each) for each in labels] == [1, 0, 1]
    with pytest.raises(LabelMismatch, match="row 2 is labelled 'neutral', which the model does not have - it has neg"):
        encoded(model, replace(given, labels=("positive", "neutral", "positive")))
    tagger = opened(tmp_path, "tiny_bert_tagger")
    with pytest.raises(LabelMismatch, match="row 1 has 2 words and 1 labels"):
        encoded(tagger, Training("t", words=(("a", "b"),), labels=(("O",),)))


def test_nothing_and_texts_without_tokens_are_refused(tmp_path: Path) -> None:
    from edgekit.training.tasks import encoded

    model = opened(tmp_path, "tiny_llama", style="gpt2")
    with pytest.raises(NoData, match="rows: there is nothing to train on"):
        encoded(model, Training("rows"))
    with pytest.raises(BadEvalData, match="row 2 has no tokens: ''"):
        encoded(model, Training("t", texts=("a", "")))
