"""Students as they are made: saved and opened again they answer the same, and their shape is the one that was told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures import tiny_models
from fixtures.students import TEACHERS, Teacher, teacher_of, written

from edgekit.errors import UnsupportedModel, UsageError, VocabularyMismatch
from edgekit.model import StudentSpec, open_model
from edgekit.students.make import given_student, student_of
from edgekit.students.shape import shaped
from edgekit.torch_model import load_torch

pytestmark = pytest.mark.engines

_OF_NO_CONSEQUENCE = ("transformers_version", "torch_dtype", "_name_or_path", "architectures")


@pytest.fixture(scope="module", params=list(TEACHERS))
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return teacher_of(request.param, tmp_path_factory.mktemp("teacher") / "model")


def smaller(teacher: Teacher, folder: Path, **overrides: object) -> Path:
    """A BERT of another size, or another head, with its tokenizer (training one anew breaks ties anew)."""
    make = tiny_models.tiny_bert_classifier if teacher.model.labels else tiny_models.tiny_bert
    made = make(folder, **overrides)
    assert teacher.model.folder is not None
    shutil.copyfile(teacher.model.folder / "tokenizer.json", made / "tokenizer.json")
    return made


@pytest.mark.parametrize(
    "asked", ["layers=1", "hidden=32", "heads=2", "intermediate=48", "layers=1,hidden=32,heads=4,intermediate=32"]
)
def test_a_student_is_a_normal_folder_of_the_shape_that_was_told(teacher: Teacher, asked: str, tmp_path: Path) -> None:
    spec = StudentSpec.parse(asked)
    if asked == "heads=2" and teacher.model.model_type == "mpnet":
        with pytest.raises(UsageError, match="share a table"):
            student_of(teacher.model, teacher.module, spec, teacher.batches)
        return
    student = student_of(teacher.model, teacher.module, spec, teacher.batches)
    told = shaped(teacher.model, spec)
    opened = open_model(written(student, teacher.model, tmp_path / "student"), task=teacher.model.task)
    assert torch.equal(teacher.outputs(load_torch(opened)), teacher.outputs(student))
    assert {each.name: each.shape for each in told.tensors} == {each.name: each.shape for each in opened.tensors}
    assert told.parameters == sum(each.numel() for each in student.parameters())
    assert told.parameters < teacher.model.parameters
    keys = (told.config.keys() | opened.config.keys()) - set(_OF_NO_CONSEQUENCE)
    assert {key: told.config.get(key) for key in keys} == {key: opened.config.get(key) for key in keys}


def test_the_same_seed_makes_the_same_student(tmp_path: Path) -> None:
    teacher = teacher_of("bert classifier", tmp_path / "model")
    spec = StudentSpec(hidden=32)
    made = [student_of(teacher.model, teacher.module, spec, teacher.batches, seed=seed) for seed in (1, 1)]
    assert torch.equal(*(teacher.outputs(each) for each in made))


def test_depth_alone_asks_for_no_data(tmp_path: Path) -> None:
    teacher = teacher_of("bert", tmp_path / "model")
    student = student_of(teacher.model, teacher.module, StudentSpec(layers=1), [])
    assert student.config.num_hidden_layers == 1  # type: ignore[union-attr]


def test_a_given_model_with_the_same_tokenizer_is_taken_as_it_is(tmp_path: Path) -> None:
    teacher = teacher_of("bert classifier", tmp_path / "teacher")
    folder = smaller(teacher, tmp_path / "small", num_hidden_layers=1)
    spec = StudentSpec(given=str(folder))
    student = student_of(teacher.model, teacher.module, spec, [])
    assert torch.equal(teacher.outputs(student), teacher.outputs(load_torch(open_model(folder))))
    assert shaped(teacher.model, spec).parameters == sum(each.numel() for each in student.parameters())


@pytest.mark.parametrize("family", ["bert classifier", "bert tagger"])
def test_a_given_encoder_gets_the_labels_of_its_teacher(family: str, tmp_path: Path) -> None:
    teacher = teacher_of(family, tmp_path / "teacher")
    folder = tiny_models.tiny_bert(tmp_path / "small", num_hidden_layers=1)
    assert teacher.model.folder is not None
    shutil.copyfile(teacher.model.folder / "tokenizer.json", folder / "tokenizer.json")
    spec = StudentSpec(given=str(folder))
    made = [student_of(teacher.model, teacher.module, spec, [], seed=seed) for seed in (1, 1, 2)]
    answers = [teacher.outputs(each) for each in made]
    assert answers[0].shape == teacher.outputs().shape
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])
    stored = load_torch(open_model(folder)).state_dict()
    kept = made[0].base_model.state_dict()  # type: ignore[union-attr, operator]
    assert all(torch.equal(kept[name], each) for name, each in stored.items())
    opened = open_model(written(made[0], teacher.model, tmp_path / "student"))
    assert (opened.task, opened.labels) == (teacher.model.task, teacher.model.labels)
    assert torch.equal(teacher.outputs(load_torch(opened)), answers[0])
    told = shaped(teacher.model, spec)
    assert (told.task, told.labels) == (teacher.model.task, teacher.model.labels)


def test_a_given_model_that_reads_otherwise_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    teacher = teacher_of("bert", tmp_path / "teacher")
    folder = smaller(teacher, tmp_path / "small", num_hidden_layers=1)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words["the"], words["and"] = words["and"], words["the"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(VocabularyMismatch, match=r"token \d+ is '.+' \(\d+\) to the teacher and '.+' \(\d+\)"):
        student_of(teacher.model, teacher.module, StudentSpec(given=str(folder)), [])


def test_a_given_model_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    teacher = teacher_of("bert", tmp_path / "teacher")
    folder = tiny_models.tiny_roberta(tmp_path / "small", num_hidden_layers=1)
    with pytest.raises(VocabularyMismatch, match="tokens, the student's"):
        student_of(teacher.model, teacher.module, StudentSpec(given=str(folder)), [])


def test_a_given_model_that_scores_other_tokens_is_refused(tmp_path: Path) -> None:
    """Tables of one family are padded to other sizes: the tokenizers alone do not tell."""
    teacher = teacher_of("llama", tmp_path / "teacher")
    assert teacher.model.folder is not None
    folder = shutil.copytree(teacher.model.folder, tmp_path / "padded")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vocab_size"] += 64
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(VocabularyMismatch, match=r"the teacher scores \d+ tokens, \S+ \d+, though both read"):
        student_of(teacher.model, teacher.module, StudentSpec(given=str(folder)), [])


def test_a_student_is_not_its_teacher(teacher: Teacher) -> None:
    layers = teacher.model.config.get("num_hidden_layers") or teacher.model.config["n_layers"]
    with pytest.raises(UsageError, match=r"the student asked for is .* itself: .* - give fewer layers or less"):
        student_of(teacher.model, teacher.module, StudentSpec(layers=layers), [])


def test_a_given_model_that_tells_other_labels_apart_is_refused(tmp_path: Path) -> None:
    teacher = teacher_of("bert classifier", tmp_path / "teacher")
    folder = smaller(teacher, tmp_path / "small", labels=("a", "b", "c"), num_hidden_layers=1)
    with pytest.raises(UnsupportedModel, match="tells 3 labels apart"):
        student_of(teacher.model, teacher.module, StudentSpec(given=str(folder)), [])


def test_a_given_model_for_pictures_of_another_size_is_refused(tmp_path: Path) -> None:
    teacher = open_model(tiny_models.tiny_vit(tmp_path / "teacher"))
    folder = tiny_models.tiny_vit(tmp_path / "small", num_hidden_layers=1, image_size=16)
    said = r"small reads pictures of 16 x 16, its teacher's are 32 x 32 - give a model for pictures of 32 x 32"
    with pytest.raises(UnsupportedModel, match=said):
        given_student(teacher, str(folder))


def test_a_given_convolution_reads_pictures_of_any_size(tmp_path: Path) -> None:
    """Whatever its configuration says that it was trained on."""
    teacher = teacher_of("vit", tmp_path / "teacher")
    folder = tiny_models.tiny_resnet(tmp_path / "small", image_size=224)
    assert open_model(folder).config["image_size"] == 224
    student = given_student(teacher.model, str(folder))
    assert teacher.outputs(student).shape == teacher.outputs().shape


def test_a_given_model_is_no_larger_than_its_teacher(tmp_path: Path) -> None:
    teacher = teacher_of("bert", tmp_path / "teacher")
    folder = smaller(teacher, tmp_path / "large", num_hidden_layers=3)
    with pytest.raises(UnsupportedModel, match="parameters, its teacher"):
        student_of(teacher.model, teacher.module, StudentSpec(given=str(folder)), [])


def test_a_family_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    teacher = teacher_of("bert", tmp_path / "model")
    phi = open_model(tiny_models.tiny_phi3(tmp_path / "phi"))
    with pytest.raises(UnsupportedModel, match="a phi3 model keeps its heads"):
        student_of(phi, load_torch(phi), StudentSpec(layers=1), teacher.batches)
    with pytest.raises(UnsupportedModel, match="a phi3 model"):
        shaped(replace(phi, training=None), StudentSpec(layers=1))
