"""A student of each task: a model folder like any other, which answers its teacher better than it did untrained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.teaching import write_rows

from edgekit.errors import UnsupportedModel, VocabularyMismatch
from edgekit.model import SourceModel, StudentSpec, Training, open_model
from edgekit.progress import Silent
from edgekit.report import TrainingRecord
from edgekit.strategies.distill.aims import AIMS
from edgekit.strategies.distill.teaching import Place, reopened, trained_student
from edgekit.training_data import read_training

pytestmark = pytest.mark.engines

SHAPES = {"deep": StudentSpec(layers=2), "narrow": StudentSpec(layers=2, hidden=32)}
Builder = Callable[[Path], Path]
TASKS: dict[str, tuple[Builder, str]] = {
    "embedding": (lambda folder: tiny_models.tiny_sentence_encoder(folder, num_hidden_layers=4), "text"),
    "text-classification": (lambda folder: tiny_models.tiny_bert_classifier(folder, num_hidden_layers=4), "label"),
    "token-classification": (lambda folder: tiny_models.tiny_bert_tagger(folder, num_hidden_layers=4), "tags"),
    "causal-lm": (lambda folder: tiny_models.tiny_llama(folder, num_hidden_layers=4), "text"),
}


def trained(teacher: SourceModel, training: Training, folder: Path, epochs: int = 3) -> tuple[TrainingRecord, Path]:
    source = replace(teacher, training=training)
    aims = replace(AIMS[teacher.task], epochs=epochs, learning_rate=1e-3)
    place = Place(folder / "checkpoint", folder / "work")
    return trained_student(source, folder / "student", place, Silent(), aims), folder / "student"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("task", TASKS)
def test_a_student_learns_and_opens_like_any_model(tmp_path: Path, task: str, shape: str) -> None:
    build, kind = TASKS[task]
    teacher = open_model(build(tmp_path / "teacher"))
    rows = read_training(write_rows(tmp_path / "rows.jsonl", kind=kind), teacher, student=SHAPES[shape], budget_s=None)
    record, folder = trained(teacher, rows, tmp_path, epochs=8)  # three sometimes gain nothing on random weights
    losses = [point.validation_loss or 0.0 for point in record.curve]
    assert record.best_loss == min(losses) < losses[0]
    assert (record.rows, record.train_rows + record.validation_rows + record.held_out_rows) == (200, 200)
    assert record.labelled == (kind in ("label", "tags"))

    student = reopened(teacher, folder)
    assert (student.task, student.labels, student.name) == (teacher.task, teacher.labels, teacher.name)
    assert (student.pooling, student.normalize) == (teacher.pooling, teacher.normalize)
    assert student.parameters == record.parameters < record.teacher_parameters <= teacher.parameters
    assert student.text is not None
    assert teacher.text is not None
    assert student.text.max_tokens == teacher.text.max_tokens
    assert student.config["num_hidden_layers"] == 2
    assert TrainingRecord.model_validate_json((folder / "training.json").read_bytes()) == record
    assert "tags: [edgekit, distilled]" in (folder / "README.md").read_text(encoding="utf-8")


def test_pictures_are_learnt_from_too(tmp_path: Path) -> None:
    teacher = open_model(tiny_models.tiny_vit(tmp_path / "teacher", num_hidden_layers=4))
    draw = np.random.default_rng(0)
    pictures = tuple({"pixel_values": draw.normal(size=(3, 32, 32)).astype(np.float32)} for _ in range(170))
    rows = Training("noise", arrays=pictures, student=StudentSpec(layers=2))
    record, folder = trained(teacher, rows, tmp_path)
    assert record.best_loss < 0.9 * (record.curve[0].validation_loss or 0.0)
    student = reopened(teacher, folder)
    assert student.image == teacher.image
    assert student.labels == teacher.labels


def test_the_saved_student_is_the_trained_one_and_transformers_reads_it_alone(tmp_path: Path) -> None:
    """Another tool loads the folder and finds the teacher's direction; sentence-transformers' own files stand there."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    teacher = open_model(TASKS["embedding"][0](tmp_path / "teacher"))
    rows = read_training(write_rows(tmp_path / "rows.jsonl"), teacher, student=SHAPES["deep"], budget_s=None)
    _, folder = trained(teacher, rows, tmp_path, epochs=8)
    kinds = [each["type"].rpartition(".")[2] for each in json.loads((folder / "modules.json").read_bytes())]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    texts = list(rows.texts[:20])
    found = []
    for where in (tmp_path / "teacher", folder):
        tokenizer, module = AutoTokenizer.from_pretrained(where), AutoModel.from_pretrained(where).eval()
        inputs = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            states = module(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        found.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1))
    assert float((found[0] * found[1]).sum(1).mean()) > 0.9


def test_the_same_seed_gives_the_same_student(tmp_path: Path) -> None:
    teacher = open_model(TASKS["embedding"][0](tmp_path / "teacher"))
    weights = []
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        rows = write_rows(tmp_path / "rows.jsonl")
        training = read_training(rows, teacher, student=SHAPES["narrow"], budget_s=None, seed=seed)
        _, folder = trained(teacher, training, tmp_path / name, epochs=1)
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_a_given_student_starts_from_its_own_weights_and_must_read_text_alike(tmp_path: Path) -> None:
    teacher = open_model(TASKS["embedding"][0](tmp_path / "teacher"))
    rows = read_training(write_rows(tmp_path / "rows.jsonl"), teacher, budget_s=None)
    small = tiny_models.tiny_sentence_encoder(tmp_path / "small", num_hidden_layers=1)
    shutil.copyfile(tmp_path / "teacher" / "tokenizer.json", small / "tokenizer.json")
    given = replace(rows, student=StudentSpec(given=str(small)))
    record, folder = trained(teacher, given, tmp_path / "from-small")
    assert reopened(teacher, folder).config["num_hidden_layers"] == 1
    assert record.best_loss < (record.curve[0].validation_loss or 0.0)
    other = tiny_models.tiny_sentence_encoder(tmp_path / "other", num_hidden_layers=1, encoder="roberta")
    with pytest.raises(VocabularyMismatch):
        trained(teacher, replace(rows, student=StudentSpec(given=str(other))), tmp_path / "from-other")


def test_a_given_student_that_reads_less_than_the_longest_row_is_refused(tmp_path: Path) -> None:
    teacher = open_model(TASKS["embedding"][0](tmp_path / "teacher"))
    rows = read_training(write_rows(tmp_path / "rows.jsonl"), teacher, budget_s=None)
    short = tiny_models.tiny_sentence_encoder(tmp_path / "short", num_hidden_layers=1, max_position_embeddings=8)
    shutil.copyfile(tmp_path / "teacher" / "tokenizer.json", short / "tokenizer.json")
    with pytest.raises(UnsupportedModel, match=r"short reads 8 tokens at most, the longest row has \d+"):
        trained(teacher, replace(rows, student=StudentSpec(given=str(short))), tmp_path / "from-short")


def of_patches(**shape: Any) -> Builder:
    return lambda folder: tiny_models.tiny_vit(folder, hidden_size=32, intermediate_size=64, **shape)


def of_convolutions(folder: Path) -> Path:
    return tiny_models.tiny_resnet(folder, embedding_size=8, hidden_sizes=[8, 16])


@pytest.mark.parametrize(
    ("build", "small", "states"),
    [
        (tiny_models.tiny_vit, of_patches(), True),
        (tiny_models.tiny_vit, of_patches(patch_size=16), False),
        (tiny_models.tiny_vit, of_convolutions, False),
        (tiny_models.tiny_resnet, of_convolutions, False),
    ],
    ids=["patches", "larger patches", "convolutions for patches", "convolutions"],
)
def test_a_given_model_of_pictures_is_held_to_last_states_where_both_see_the_same_patches(
    tmp_path: Path, build: Builder, small: Builder, states: bool
) -> None:
    teacher = open_model(build(tmp_path / "teacher"))
    given = small(tmp_path / "small")
    draw = np.random.default_rng(0)
    pictures = tuple({"pixel_values": draw.normal(size=(3, 32, 32)).astype(np.float32)} for _ in range(170))
    rows = Training("noise", arrays=pictures, student=StudentSpec(given=str(given)))
    record, folder = trained(teacher, rows, tmp_path)
    assert record.best_loss < (record.curve[0].validation_loss or 0.0)
    assert any("last states" in each for each in record.losses) is states
    student = reopened(teacher, folder)
    assert (student.image, student.labels) == (teacher.image, teacher.labels)
    assert student.model_type == open_model(given).model_type


def test_a_family_whose_heads_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    teacher = open_model(tiny_models.tiny_resnet(tmp_path / "teacher"))
    pictures = tuple({"pixel_values": np.full((3, 32, 32), each, np.float32)} for each in range(160))
    with pytest.raises(UnsupportedModel, match="resnet"):
        trained(teacher, Training("flat", arrays=pictures, student=StudentSpec(layers=1)), tmp_path)
