"""Rows to train on are refused with what is missing; what is held out is never trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.shaped_models import bert
from fixtures.teaching import rows, write_rows
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadEvalData, LabelMismatch, NoData, TooLittleData
from edgekit.evaluation import read_eval
from edgekit.model import Training
from edgekit.strategies.distill.lesson import evenly, parted, told_apart
from edgekit.training_data import held_out, read_training

ENCODER = bert()
CLASSIFIER = bert(task="text-classification", kind="classifier", labels=("negative", "positive"))
TAGGER = bert(task="token-classification", kind="classifier", labels=("O", "B-PER"))


def test_rows_need_no_labels_and_keep_those_they_have(tmp_path: Path) -> None:
    bare = read_training(write_rows(tmp_path / "bare.jsonl"), CLASSIFIER)
    assert (len(bare), bare.labels) == (200, None)
    labelled = read_training(write_rows(tmp_path / "labelled.jsonl", kind="label"), CLASSIFIER, seed=3, budget_s=7)
    assert labelled.labels is not None
    assert set(labelled.labels) == {"negative", "positive"}
    assert (labelled.origin, labelled.seed, labelled.budget_s) == ("labelled.jsonl (200 rows)", 3, 7)
    tagged = read_training(write_rows(tmp_path / "tagged.jsonl", kind="tags"), TAGGER)
    assert all(len(words) == len(labels) for words, labels in zip(tagged.words, tagged.labels or (), strict=True))


@pytest.mark.parametrize(("name", "content"), [("rows.jsonl", ""), ("rows.jsonl", " \n\n"), ("rows.csv", "text\n")])
def test_an_empty_file_is_no_data(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(NoData, match="has no rows - "):
        read_training(tmp_path / name, ENCODER)


def test_a_missing_file_is_no_data_and_a_broken_one_is_bad(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="no such file"):
        read_training(tmp_path / "nowhere.jsonl", ENCODER)
    (tmp_path / "rows.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(BadEvalData, match="line 1 is not JSON"):
        read_training(tmp_path / "rows.jsonl", ENCODER)


def test_too_few_rows_are_refused_with_how_many_are_needed(tmp_path: Path) -> None:
    with pytest.raises(TooLittleData, match="159 different examples; at least 160 are needed"):
        read_training(write_rows(tmp_path / "few.jsonl", 159), ENCODER)
    assert len(read_training(write_rows(tmp_path / "enough.jsonl", 160), ENCODER)) == 160


def test_rows_that_repeat_one_another_count_once(tmp_path: Path) -> None:
    path = tmp_path / "same.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(80) * 3), encoding="utf-8")
    with pytest.raises(TooLittleData, match="80 different examples of 240"):
        read_training(path, ENCODER)


def test_texts_that_differ_in_case_and_blanks_alone_are_the_same_input() -> None:
    texts = [f"text {index // 2}" if index % 2 else f"  Text\t{index // 2} " for index in range(400)]
    parts = parted(Training("rows", texts=tuple(texts)))
    sides = [{texts[each].split()[1] for each in part} for part in (parts.train, parts.validation, parts.held_out)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


@pytest.mark.parametrize("kind", ["text", "label", "tags"])
def test_what_a_bundle_is_measured_on_is_never_trained_on(tmp_path: Path, kind: str) -> None:
    model = {"text": ENCODER, "label": CLASSIFIER, "tags": TAGGER}[kind]
    measured_on = read_eval(write_rows(tmp_path / "measured.jsonl", 30, kind=kind), model)
    path = write_rows(tmp_path / "rows.jsonl", 200, kind=kind)
    training = read_training(path, model, measured_on=measured_on)
    assert training.origin == "rows.jsonl (200 rows), without the 30 that --eval measures on"
    assert len(training) == 170
    measured = Training("", texts=measured_on.texts, words=measured_on.words)
    assert len(set(told_apart(measured))) == 30
    assert not set(told_apart(training)) & set(told_apart(measured))
    whole = read_training(path, model)
    answers = dict(zip(told_apart(whole), whole.labels or (), strict=False))
    assert training.labels is None or [answers[each] for each in told_apart(training)] == list(training.labels)
    with pytest.raises(TooLittleData, match="159 different examples"):
        read_training(write_rows(tmp_path / "few.jsonl", 189, kind=kind), model, measured_on=measured_on)


@pytest.mark.parametrize(
    ("model", "row", "said"),
    [
        (CLASSIFIER, {"text": "a", "label": "odd"}, "label 'odd' is not one of the model's"),
        (CLASSIFIER, {"text": "a"}, "has no label, though others have"),
        (TAGGER, {"tokens": ["a", "b"], "labels": ["O"]}, "2 tokens and 1 labels"),
        (TAGGER, {"tokens": ["a"], "labels": ["ODD"]}, "label 'ODD' is not one of the model's"),
    ],
)
def test_labels_that_do_not_match_are_told_by_row(tmp_path: Path, model: object, row: object, said: str) -> None:
    path = write_rows(tmp_path / "rows.jsonl", kind="tags" if model is TAGGER else "label")
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row))
    with pytest.raises(LabelMismatch, match=said):
        read_training(path, model)  # type: ignore[arg-type]


@given(seed=st.integers(0, 2**20), count=st.integers(160, 400), repeats=st.integers(1, 3))
def test_what_is_held_out_is_never_trained_on(seed: int, count: int, repeats: int) -> None:
    texts = tuple(map(str, range(count))) * repeats
    labels = tuple("negative" if len(text) % 2 else "positive" for text in texts)
    training = Training("rows", texts=texts, labels=labels, seed=seed)
    parts, measured = parted(training), held_out(training)
    seen = {texts[index] for index in (*parts.train, *parts.validation)}
    assert not seen & set(measured.texts)
    assert len(parts.train) + len(parts.validation) + len(parts.held_out) == len(texts)
    assert measured.labels == tuple("negative" if len(text) % 2 else "positive" for text in measured.texts)
    assert f"{len(measured)} rows held out from training" in measured.origin


def test_of_many_held_out_rows_some_are_measured_from_all_over() -> None:
    training = Training("rows", texts=tuple(map(str, range(20_000))))
    measured = held_out(training)
    assert len(measured) == 1000
    assert "1000 of 2000 rows held out" in measured.origin
    chosen = evenly(parted(training).held_out, 10)
    assert (chosen[0], chosen[-1]) == (parted(training).held_out[0], parted(training).held_out[-1])
