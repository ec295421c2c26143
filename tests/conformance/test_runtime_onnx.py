"""The runtime on ONNX bundles, against answers worked out by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from fixtures import bundles

pytestmark = pytest.mark.engines


TABLE = bundles.word_vectors()


def _short(max_tokens: object) -> dict[str, object]:
    return {"tokenizer": "tokenizer.json", "max_tokens": max_tokens}


def _vector(*words: str) -> Any:
    rows = TABLE[[bundles.WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]]
    return rows.mean(axis=0)


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def test_embeddings_are_the_same_in_any_company_and_order(tmp_path: Path) -> None:
    texts = ["the sky is blue", "grass", "", "The SKY", "red green blue the sky is"] * 3
    expected = np.stack([_unit(_vector(*text.lower().split())) for text in texts])
    with rt.open(bundles.embedding_bundle(tmp_path / "b"), threads=1) as session:
        for batch_size in (1, 2, 32):
            vectors = session.embed(texts, batch_size=batch_size)
            assert vectors.dtype == np.float32
            assert vectors == pytest.approx(expected, abs=1e-6)
        assert session.embed("grass") == pytest.approx(expected[1:2], abs=1e-6)
        assert session.embed(("grass", "grass")).shape == (2, bundles.WIDTH)
        assert session.embed([]).shape == (0, bundles.WIDTH)


def test_a_long_text_is_cut_to_max_tokens_and_its_tokens_are_not(tmp_path: Path) -> None:
    with rt.open(bundles.embedding_bundle(tmp_path / "b"), threads=1) as session:
        long = " ".join(["red"] * 40)
        assert session.embed(long)[0] == pytest.approx(_unit(_vector(*["red"] * (bundles.MAX_TOKENS - 2))), abs=1e-6)
        assert len(session.tokenize(long)) == 42
        assert session.encode(long)["input_ids"].shape == (1, bundles.MAX_TOKENS)


def test_run_and_encode_fit_one_another(tmp_path: Path) -> None:
    with rt.open(bundles.embedding_bundle(tmp_path / "b"), threads=1) as session:
        outputs = session.run(session.encode("grass"))
        assert outputs["sentence_embedding"] == pytest.approx(session.embed("grass"), abs=1e-6)


def test_text_labels_come_best_first(tmp_path: Path) -> None:
    logits = _vector("the", "sky")[:3]
    scores = np.exp(logits) / np.exp(logits).sum()
    with rt.open(bundles.classifier_bundle(tmp_path / "b"), threads=1) as session:
        first, second = session.classify(["the sky", "red green blue red"])
    assert {one["label"]: one["score"] for one in first} == pytest.approx(
        dict(zip(("cold", "warm", "odd"), scores.tolist(), strict=True)), abs=1e-6
    )
    assert [one["score"] for one in first] == sorted((one["score"] for one in first), reverse=True)
    assert second[0]["label"] != first[0]["label"]


def test_a_pair_of_texts_is_one_input(tmp_path: Path) -> None:
    with rt.open(bundles.classifier_bundle(tmp_path / "b"), threads=1) as session:
        (pair,) = session.classify([("red", "sky")])
        assert pair == session.classify(["red [SEP] sky"])[0]


def test_independent_labels_do_not_compete(tmp_path: Path) -> None:
    folder = bundles.classifier_bundle(tmp_path / "b", problem_type="multi_label_classification")
    with rt.open(folder, threads=1) as session:
        (labels,) = session.classify("the sky")
    expected = 1 / (1 + np.exp(-_vector("the", "sky")[:3]))
    assert sorted(one["score"] for one in labels) == pytest.approx(sorted(expected.tolist()), abs=1e-6)


def test_token_labels_have_offsets_in_the_text_as_it_was_given(tmp_path: Path) -> None:
    text = "The  SKY is Blue"
    with rt.open(bundles.tagger_bundle(tmp_path / "b"), threads=1) as session:
        (found,) = session.classify(text)
    assert [(one["word"], one["label"]) for one in found] == [
        ("The", "O"),
        ("SKY", "O"),
        ("is", "O"),
        ("Blue", "COLOUR"),
    ]
    assert all(text[one["start"] : one["end"]] == one["word"] for one in found)


def test_a_text_longer_than_the_model_is_labelled_to_its_end(tmp_path: Path) -> None:
    words = ["red", "sky", "grass"] * 9
    with rt.open(bundles.tagger_bundle(tmp_path / "b"), threads=1) as session:
        long, short = session.classify([" ".join(words), "blue"], batch_size=2)
    assert [one["word"] for one in long] == words
    assert [one["label"] == "COLOUR" for one in long] == [word == "red" for word in words]
    assert [one["label"] for one in short] == ["COLOUR"]


def test_pictures_are_labelled_from_arrays_and_files(tmp_path: Path) -> None:
    from PIL import Image

    green = np.full((9, 5, 3), (10, 200, 30), np.uint8)
    Image.fromarray(green).save(tmp_path / "green.png")
    preprocessed = np.zeros((1, 3, 4, 4), np.float32)
    preprocessed[0, 2] = 1
    with rt.open(bundles.image_bundle(tmp_path / "b"), threads=1) as session:
        assert [labels[0]["label"] for labels in session.classify([green, tmp_path / "green.png"])] == ["green"] * 2
        assert session.classify(preprocessed)[0][0]["label"] == "blue"
        assert session.classify(str(tmp_path / "green.png"))[0][0]["label"] == "green"


def test_tensors_are_checked_before_they_run(tmp_path: Path) -> None:
    with rt.open(bundles.tensor_bundle(tmp_path / "b"), threads=1) as session:
        assert session.run({"x": np.ones((3, 4))})["y"].dtype == np.float32
        for wrong, word in (
            ({}, r"takes \['x'\]"),
            ({"x": np.ones((1, 4)), "z": np.ones(1)}, r"takes \['x'\]"),
            ({"x": np.ones((1, 5))}, r"\[1, 5\], expected \['batch', 4\]"),
            ({"x": np.ones(4)}, r"\[4\], expected"),
            ({"x": np.array([["a", "b", "c", "d"]])}, "expected float32"),
            ({"x": np.ones((1, 4), np.complex64)}, "expected float32"),
            ({"x": [[1, 2], [3]]}, "is no array"),
            (None, "arrays by name"),
            ("x", "arrays by name"),
        ):
            with pytest.raises(rt.BadInput, match=word):
                session.run(cast(Any, wrong))


@pytest.mark.parametrize("width", [-1, 0, 10**12])
def test_a_width_that_is_not_the_models_is_refused_before_memory_is_asked_for(tmp_path: Path, width: int) -> None:
    folder = bundles.embedding_bundle(tmp_path / "b")
    bundles.reseal(folder, embedding={"pooling": "mean", "normalize": True, "width": width})
    with (
        rt.open(folder, threads=1) as session,
        pytest.raises(rt.RunFailed, match=rf"\[1, 8\], expected \[1, {width}\]"),
    ):
        session.embed("red")


def test_more_tokens_than_can_be_counted_are_all_there_are(tmp_path: Path) -> None:
    folder = bundles.embedding_bundle(tmp_path / "b")
    bundles.reseal(folder, text={"tokenizer": "tokenizer.json", "max_tokens": 10**30})
    with rt.open(folder, threads=1) as session:
        assert len(session.encode("red " * 40)["input_ids"][0]) == 42


@pytest.mark.parametrize("make", [bundles.embedding_bundle, bundles.tensor_bundle])
def test_low_memory_gives_the_same_answers(tmp_path: Path, make: Any) -> None:
    folder = make(tmp_path / "b")
    answers = []
    for low_memory in (False, True):
        with rt.open(folder, threads=1, low_memory=low_memory) as session:
            assert session.info["runtime"]["low_memory"] is low_memory
            given = session.encode("the sky") if make is bundles.embedding_bundle else {"x": np.ones((1, 4))}
            answers.append(next(iter(session.run(given).values())))
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)


def test_a_long_call_is_cancelled_from_another_thread(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    with rt.open(bundles.endless_bundle(tmp_path / "b"), threads=1) as session:

        def work() -> None:
            try:
                session.run({"x": np.ones((1, 4), np.float32)})
            except rt.RuntimeFailure as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        with pytest.raises(rt.Busy):
            session.run({"x": np.ones((1, 4), np.float32)})
        session.cancel()
        thread.join(10)
        assert not thread.is_alive()
    assert [type(error) for error in errors] == [rt.Cancelled]


def test_a_model_the_engine_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = bundles.plain_bundle(tmp_path / "b")
    with pytest.raises(rt.LoadFailed, match=r"refuses model\.onnx"):
        rt.open(folder)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_the_library_refuses(tmp_path: Path) -> None:
    folder = bundles.embedding_bundle(tmp_path / "b")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(rt.LoadFailed, match=r"tokenizer\.json"):
        rt.open(bundles.reseal(folder))


@pytest.mark.parametrize(
    "text",
    [None, {"max_tokens": 4}, {"tokenizer": "nowhere.json", "max_tokens": 4}, _short(2), _short(-1), _short("9")],
)
def test_a_manifest_without_a_usable_tokenizer(tmp_path: Path, text: Any) -> None:
    folder = bundles.embedding_bundle(tmp_path / "b", text=text)
    with (
        pytest.raises((rt.BundleInvalid, rt.LoadFailed), match=r"tokenizer|does not list|max_tokens"),
        rt.open(folder) as session,
    ):
        session.embed("a")


@pytest.mark.parametrize(
    ("missing", "wanted"), [("onnxruntime", "onnxruntime tokenizers"), ("tokenizers", "tokenizers")]
)
def test_a_missing_library_is_named_with_the_command(tmp_path: Path, missing: str, wanted: str) -> None:
    folder = bundles.embedding_bundle(tmp_path / "b")
    program = f"""
import sys
sys.modules[{missing!r}] = None
import edgekit_runtime as rt
try:
    rt.open({str(folder)!r})
except rt.LoadFailed as error:
    print(error)
"""
    environment = {"PYTHONPATH": str(bundles.RUNTIME)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert f"pip install {wanted}" in ran.stdout


def test_self_test_replays_and_notices(tmp_path: Path) -> None:
    for make, given in (
        (bundles.embedding_bundle, "the sky is blue"),
        (bundles.classifier_bundle, "the sky is blue"),
        (bundles.tagger_bundle, "the sky is blue"),
        (bundles.image_bundle, {"pixel_values": np.full((1, 3, 4, 4), 0.5, np.float32)}),
        (bundles.tensor_bundle, {"x": np.ones((2, 4), np.float32)}),
    ):
        folder = make(tmp_path / make.__name__)
        with rt.open(folder, threads=1) as session:
            document = goldens.document([goldens.make_case(session, given, "first")])
        path = folder / "golden.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        with rt.open(bundles.reseal(folder), threads=1) as session:
            assert [one["passed"] for one in session.self_test()] == [True] * (2 if isinstance(given, str) else 1)
        values = document["cases"][0]["expected"]["values"]
        _spoil(values)
        path.write_text(json.dumps(document), encoding="utf-8")
        with rt.open(bundles.reseal(folder), threads=1) as session:
            assert not session.self_test()[0]["passed"]


def _spoil(values: Any) -> None:
    """Change the first number found."""
    key = 0 if isinstance(values, list) else next(iter(values))
    if isinstance(values[key], int | float):
        values[key] += 9.0
    else:
        _spoil(values[key]["data"])


def test_nothing_is_written_into_a_fresh_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    places = ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR")
    environment = {name: str(home) for name in places} | {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    folder = bundles.add_runtime(bundles.embedding_bundle(tmp_path / "b"))
    command = [sys.executable, str(folder / "runtime" / "python" / "run.py"), "--json", "the sky"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=home)
    assert len(json.loads(ran.stdout)["embeddings"][0]) == bundles.WIDTH
    assert [path.name for path in home.rglob("*")] == []


@pytest.mark.parametrize("text", ["\ud83c", b"blue", "a\udc80"])
@pytest.mark.parametrize("kind", ["embedding", "classifier", "tagger"])
def test_what_is_no_unicode_text_is_refused_everywhere(tmp_path: Path, kind: str, text: Any) -> None:
    with rt.open(getattr(bundles, f"{kind}_bundle")(tmp_path / "b"), threads=1) as session:
        answer = session.embed if kind == "embedding" else session.classify
        calls: list[Any] = [session.tokenize, session.encode, answer, lambda given: answer(["blue", given])]
        if kind == "classifier":
            calls += [lambda given: answer([("blue", given)]), lambda given: answer([(given, "blue")])]
        for call in calls:
            with pytest.raises(rt.BadInput):
                call(text)
        assert len(answer(["blue"])) == 1
