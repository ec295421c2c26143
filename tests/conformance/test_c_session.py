"""Text, answers, labels and goldens through the C runtime's driver, sanitized, against the Python runtime."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, c_runtime, drivers, gguf_bundles, tiny_models
from fixtures.wrappers import Driver, Refused, tensor

pytestmark = pytest.mark.engines

FORMAT = {
    "start": "",
    "no_system": "",
    "turns": {role: {"before": f"[{role}]", "after": ""} for role in ("system", "user", "assistant")},
    "answer": "",
    "strip": False,
}
SCENARIOS = {
    "answers": [
        ("right", "OK"), ("callback", "BadInput"), ("refused", "Cancelled"), ("prompt", "BadInput"),
        ("utf8", "BadInput"), ("content", "BadInput"), ("messages", "BadInput"), ("long", "PromptTooLong"),
        ("negative", "BadInput"), ("empty", "BadInput"), ("broken", "BadInput"), ("nostop", "BadInput"),
        ("cold", "BadInput"), ("tokens", "BadInput"), ("embed", "WrongTask"), ("classify", "WrongTask"),
        ("goldens", "BadInput"), ("closed", "Closed"),
    ],
    "cancel-answer": [("other", "Busy"), ("self", "Busy"), ("ended", "Cancelled"), ("after", "OK")],
    "close-answer": [("other", "Busy"), ("self", "Busy"), ("ended", "Cancelled"), ("after", "Closed")],
    "older": [
        ("shorter", "OK"), ("none", "BadInput"), ("whole", "BadInput"), ("open", "OK"),
        ("shorter", "OK"), ("none", "BadInput"), ("whole", "BadInput"), ("open", "BadInput"), ("open", "BadInput"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    driver = drivers.start("c", request)
    yield driver
    driver.end()


def _open(driver: Driver, bundle: Path, **options: Any) -> Any:
    engine = json.loads((bundle / "edgekit.json").read_bytes())["engine"]
    library = str(c_runtime.engine_library(engine))
    return driver.ask("open", bundle=str(bundle), engine_library=library, **({"threads": 1} | options))


def _chain(folder: Path, **fields: Any) -> Path:
    """The chain, whose chat template comes to FORMAT; its name is its folder's."""
    bundle = bundles.chain_bundle(folder, template=bundles.CHAT_TEMPLATE.replace("{{ bos_token }}", ""))
    generation = json.loads((bundle / "edgekit.json").read_bytes())["generation"] | {"chat_format": FORMAT}
    return bundles.reseal(bundle, **({"generation": generation} | fields))


def _scores(found: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(one["label"], pytest.approx(one["score"], abs=1e-6)) for one in found]


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_an_app_does_with_an_answer(tmp_path: Path, c_programs: Path, name: str) -> None:
    library = c_runtime.engine_library("llama.cpp")
    ran = c_runtime.run_c([c_programs / "scenario", name, _chain(tmp_path / "b"), library])
    assert ran.returncode == 0, ran.stderr
    found = [tuple(line.split()) for line in ran.stdout.splitlines()]
    assert found == [("open", "OK"), *SCENARIOS[name]]


STOPS = ([], ["é"], ["🌍z"], ["z!"], ["é🌍z!x"], ["!", "z"], ["zz"], ["\U0001f30e"], ["z", "🌍z"], ["é🌍z!"])


def test_answers_come_as_in_python(driver: Driver, tmp_path: Path) -> None:
    bundle = _chain(tmp_path / "b")
    _open(driver, bundle)
    with rt.open(bundle, threads=1) as session:
        for prompt in ("A", "Aé", "x" * 200, "A\U0001f30d"):
            for most in (1, 2, 4, 20, None):
                for stop in STOPS if prompt == "A" else STOPS[:1]:
                    found = driver.ask("generate", prompt=prompt, max_tokens=most, stop=stop)
                    assert found == list(session.generate(prompt, max_tokens=most, stop=stop)), (prompt, most, stop)
        asked = [{"role": "system", "content": "A"}, {"role": "user", "content": "🌍 A"}]
        assert driver.ask("chat", messages=asked) == list(session.chat(asked)) == ["é", "🌍", "z", "!"]
        assert driver.ask("tokenize", text="<s>Aé") == session.tokenize("<s>Aé")
        assert driver.ask("tokenize", text="") == session.tokenize("") == [1]


def test_a_prompt_may_spell_its_special_tokens_out(driver: Driver, tmp_path: Path) -> None:
    _open(driver, _chain(tmp_path / "b"))
    assert driver.ask("generate", prompt="<s>A", no_special_tokens=True) == ["é", "🌍", "z", "!"]
    with pytest.raises(Refused, match="BadInput: there are no tokens"):
        driver.ask("generate", prompt="", no_special_tokens=True)


def test_a_seed_repeats_an_answer_and_the_nucleus_of_one_is_greedy(driver: Driver, tmp_path: Path) -> None:
    _open(driver, _chain(tmp_path / "b"))
    drawn = [
        "".join(driver.ask("generate", prompt="A", max_tokens=40, temperature=5, seed=seed)) for seed in (1, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
    assert driver.ask("generate", prompt="A", temperature=0.7, top_p=0.01, seed=1) == ["é", "🌍", "z", "!"]


def test_what_does_not_fit_the_context_is_refused_with_figures(driver: Driver, tmp_path: Path) -> None:
    _open(driver, _chain(tmp_path / "b"))
    with pytest.raises(Refused, match=r"PromptTooLong: a prompt of 2 tokens and up to 255 of answer .* 256"):
        driver.ask("generate", prompt="A", max_tokens=255)
    with pytest.raises(Refused, match=r"PromptTooLong: a prompt of 301 tokens"):
        driver.ask("generate", prompt="x" * 300)
    assert driver.ask("generate", prompt="A", max_tokens=254) == ["é", "🌍", "z", "!"]


def test_text_is_brought_to_the_form_the_bundle_says(driver: Driver, tmp_path: Path) -> None:
    text, composed = "e\u0301\u2126\u1100\u1161", "\u00e9\u03a9\uac00"
    for form, length in ((None, len(text.encode())), ("NFC", len(composed.encode()))):
        bundle = _chain(tmp_path / str(form), text={"tokenizer": None, "max_tokens": 99, "unicode_form": form})
        _open(driver, bundle)
        found = driver.ask("tokenize", text=text)
        with rt.open(bundle, threads=1) as session:
            assert found == session.tokenize(text)
        assert len(found) == 1 + length


def test_a_decoder_may_have_a_tokenizer_of_its_own(driver: Driver, tmp_path: Path) -> None:
    text = {"tokenizer": "tokenizer.json", "max_tokens": 99, "unicode_form": None}
    bundle = c_runtime.word_pieces(_chain(tmp_path / "b"), text=text)
    _open(driver, bundle)
    with rt.open(bundle, threads=1) as session:
        assert driver.ask("tokenize", text="the sky") == session.tokenize("the sky") == [2, 9, 7, 3]


def test_a_base_model_does_not_chat(driver: Driver, tmp_path: Path) -> None:
    _open(driver, bundles.chain_bundle(tmp_path / "b", template=None))
    with pytest.raises(Refused, match=r"WrongTask: b is a base model without a chat template: use generate\(\)"):
        driver.ask("chat", messages=[{"role": "user", "content": "A"}])
    _open(driver, bundles.chain_bundle(tmp_path / "c"))
    with pytest.raises(Refused, match="WrongTask: the chat template of c is more than a string of turns"):
        driver.ask("chat", messages=[{"role": "user", "content": "A"}])


def test_a_call_of_another_task_names_those_there_are(driver: Driver, tmp_path: Path) -> None:
    _open(driver, _chain(tmp_path / "b"))
    with pytest.raises(
        Refused, match=r"a bundle for causal-lm with llama.cpp has no embed\(\), but chat\(\), generate"
    ):
        driver.ask("embed", text="x")
    _open(driver, bundles.tensor_bundle(tmp_path / "c"))
    for op, fields in (("tokenize", {"text": "x"}), ("generate", {"prompt": "x"}), ("classify", {"text": "x"})):
        with pytest.raises(Refused, match=r"but run\(\), self_test\(\)"):
            driver.ask(op, **fields)


def test_texts_are_embedded(driver: Driver, tmp_path: Path) -> None:
    bundle = c_runtime.word_pieces(bundles.embedding_bundle(tmp_path / "b"))
    _open(driver, bundle)
    with rt.open(bundle, threads=1) as session:
        for text in ("the sky is blue", "", "red " * 40, "Grass, grün!"):
            found = np.asarray(driver.ask("embed", text=text), np.float32)
            assert np.array_equal(found, session.embed(text)[0])


def test_an_encoder_of_llama_embeds(driver: Driver, tmp_path: Path) -> None:
    bundle = gguf_bundles.encoder_bundle(tiny_models.tiny_sentence_encoder(tmp_path / "source"))
    _open(driver, bundle)
    with rt.open(bundle, threads=1) as session:
        for text in ("hello there", "", "the sky is blue and so on and on and on and on and on " * 4):
            found = np.asarray(driver.ask("embed", text=text), np.float32)
            assert found == pytest.approx(session.embed(text)[0], abs=1e-6)


LABELS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "independent": {"problem_type": "multi_label_classification"},
    "unnamed": {"labels": []},
    "null": {"problem_type": None},
}


@pytest.mark.parametrize("name", LABELS)
def test_texts_are_classified(driver: Driver, tmp_path: Path, name: str) -> None:
    bundle = c_runtime.word_pieces(bundles.classifier_bundle(tmp_path / "b"), **LABELS[name])
    _open(driver, bundle)
    with rt.open(bundle, threads=1) as session:
        for text in ("the sky is blue", "red grass", "", "green " * 30):
            assert [(one["label"], one["score"]) for one in driver.ask("classify", text=text)] == _scores(
                session.classify(text)[0]
            )
        pair = driver.ask("classify", text="red", pair="the grass")
        assert [(one["label"], one["score"]) for one in pair] == _scores(session.classify([("red", "the grass")])[0])


def test_one_label_is_a_yes_or_no(driver: Driver, tmp_path: Path) -> None:
    bundle = c_runtime.word_pieces(bundles.classifier_bundle(tmp_path / "b", labels=["warm"]))
    _open(driver, bundle)
    (found,) = driver.ask("classify", text="red")
    with rt.open(bundle, threads=1) as session:
        assert found["score"] == pytest.approx(session.classify("red")[0][0]["score"])
    assert 0 < found["score"] < 1


def test_labels_that_are_not_as_many_as_the_scores(driver: Driver, tmp_path: Path) -> None:
    for name, make in (("c", bundles.classifier_bundle), ("t", bundles.tagger_bundle)):
        _open(driver, c_runtime.word_pieces(make(tmp_path / name), labels=["one"]))
        with pytest.raises(Refused, match=r"RunFailed: the model scores \d labels, the manifest names 1"):
            driver.ask("classify", text="red")


def test_tokens_are_labelled_over_the_whole_text(driver: Driver, tmp_path: Path) -> None:
    bundle = c_runtime.word_pieces(bundles.tagger_bundle(tmp_path / "b"))
    _open(driver, bundle)
    texts = ("the sky is blue", "", "größer: the 🌍 is Blue, the grass 日本 green!", "the red sky is blue . " * 7)
    with rt.open(bundle, threads=1) as session:
        for text in texts:
            expected = session.classify(text)[0]
            found = driver.ask("classify", text=text)
            assert [(one["label"], one["score"]) for one in found] == _scores(expected)
            assert [one["word"] for one in found] == [one["word"] for one in expected]
        assert len(found) == 42  # more than one window of ten words
    with pytest.raises(Refused, match="BadInput"):
        driver.ask("classify", text="red", pair="blue")


def test_a_window_that_holds_no_word_is_refused(driver: Driver, tmp_path: Path) -> None:
    text = {"tokenizer": "tokenizer.json", "max_tokens": 2}
    for name, make in (("t", bundles.tagger_bundle), ("c", bundles.classifier_bundle)):
        bundle = c_runtime.word_pieces(make(tmp_path / name), text=text)
        with pytest.raises(rt.LoadFailed, match="2 special tokens stand in every text"):
            rt.open(bundle)
        _open(driver, bundle)  # which may be used for tensors alone
        with pytest.raises(Refused, match=r"LoadFailed: .*special tokens"):
            driver.ask("classify", text="red")


def test_text_without_a_tokenizer(driver: Driver, tmp_path: Path) -> None:
    _open(driver, bundles.embedding_bundle(tmp_path / "b", text=None))
    for op in ("embed", "tokenize"):
        with pytest.raises(Refused, match="LoadFailed: the bundle has no tokenizer: its manifest's text is null"):
            driver.ask(op, text="red")


@pytest.mark.parametrize(
    "picture", [np.full((4, 4, 3), (9, 200, 30)), np.full((9, 31, 3), (250, 0, 0)), np.zeros((1, 1, 3))], ids=str
)
def test_pictures_are_classified(driver: Driver, tmp_path: Path, picture: Any) -> None:
    bundle = bundles.image_bundle(tmp_path / "b")
    _open(driver, bundle)
    pixels = picture.astype(np.uint8)
    with rt.open(bundle, threads=1) as session:
        found = driver.ask("classify_pixels", picture=tensor(pixels))
        assert [(one["label"], one["score"]) for one in found] == _scores(session.classify(pixels)[0])


def test_a_picture_of_nothing_is_refused(driver: Driver, tmp_path: Path) -> None:
    _open(driver, bundles.image_bundle(tmp_path / "b"))
    with pytest.raises(Refused, match="BadInput"):
        driver.ask("classify_pixels", picture=tensor(np.zeros((0, 4, 3), np.uint8)))


def test_threads_are_those_of_the_device_as_far_as_they_are_here(driver: Driver, tmp_path: Path) -> None:
    with rt.open(bundles.tensor_bundle(tmp_path / "b")) as session:
        here = session.info["runtime"]["threads"]
    for packed, threads in ((1, 1), (here + 7, here), (None, here), (0, here), ("4", here), (True, here)):
        bundle = bundles.reseal(tmp_path / "b", device={"threads": packed})
        assert _open(driver, bundle, threads=None)["threads"] == threads
        with rt.open(bundle) as session:
            assert session.info["runtime"]["threads"] == threads


def test_more_threads_than_engines_bear_are_refused(driver: Driver, tmp_path: Path) -> None:
    """llama.cpp ends the process of whoever asks it for more."""
    for bundle in (bundles.tensor_bundle(tmp_path / "t"), bundles.chain_bundle(tmp_path / "c")):
        assert _open(driver, bundle, threads=16)["threads"] == 16
        for threads in (513, 2**31 - 1, -1):
            with pytest.raises(Refused, match=f"BadInput: threads is {threads}, expected 1 to 512"):
                _open(driver, bundle, threads=threads)


@pytest.mark.parametrize("ends", [3, "3", ["3"], [0.5]])
def test_ends_of_text_that_are_no_ids_are_refused_as_in_python(driver: Driver, tmp_path: Path, ends: Any) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    generation = json.loads((bundle / "edgekit.json").read_bytes())["generation"] | {"eos_token_ids": ends}
    bundles.reseal(bundle, generation=generation)
    with pytest.raises(rt.BundleInvalid, match=r"generation\.eos_token_ids is"):
        rt.open(bundle)
    with pytest.raises(Refused, match=r"BundleInvalid: .*generation\.eos_token_ids is no list of token ids"):
        _open(driver, bundle)


def _record(bundle: Path, given: Any, tolerance: dict[str, Any] | None = None) -> dict[str, Any]:
    with rt.open(bundle, threads=1) as session:
        return goldens.make_case(session, given, "first", tolerance)


def _with_goldens(bundle: Path, *cases: dict[str, Any]) -> Path:
    (bundle / "golden.json").write_text(json.dumps(goldens.document(list(cases))), encoding="utf-8")
    return bundles.reseal(bundle)


KINDS: dict[str, tuple[Any, Any]] = {
    "embedding": (lambda to: c_runtime.word_pieces(bundles.embedding_bundle(to)), "the sky is blue"),
    "scores": (lambda to: c_runtime.word_pieces(bundles.classifier_bundle(to)), "the sky is blue"),
    "outputs of a text": (lambda to: c_runtime.word_pieces(bundles.tagger_bundle(to)), "the sky is blue " * 9),
    "outputs": (bundles.tensor_bundle, {"x": np.arange(4, dtype=np.float32).reshape(1, 4)}),
    "many outputs": (bundles.tensor_bundle, {"x": np.linspace(-9, 9, 2000, dtype=np.float32).reshape(500, 4)}),
    "logits": (_chain, "Aé🌍"),
    "logits of ids": (_chain, [1, *(3 + byte for byte in b"x" * 70 + b"A")]),
    "logits of messages": (_chain, [{"role": "user", "content": " A"}]),
}


@pytest.mark.parametrize("name", KINDS)
def test_goldens_of_every_kind_are_replayed(driver: Driver, tmp_path: Path, name: str) -> None:
    make, given = KINDS[name]
    bundle = make(tmp_path / "b")
    case = _record(bundle, given)
    _open(driver, _with_goldens(bundle, case))
    with rt.open(bundle, threads=1) as session:
        expected = session.self_test()
    found = driver.ask("self_test")
    assert [(one["name"], one["passed"]) for one in found] == [(one["name"], True) for one in expected]
    assert [one["tolerance"] for one in found] == pytest.approx([one["tolerance"] for one in expected])
    assert max(abs(one["difference"]) for one in found) < 1e-6


@pytest.mark.parametrize("metric", ["cosine", "max_abs"])
@pytest.mark.parametrize("name", KINDS)
def test_a_golden_that_does_not_hold_is_told_as_in_python(
    driver: Driver, tmp_path: Path, name: str, metric: str
) -> None:
    make, given = KINDS[name]
    bundle = make(tmp_path / "b")
    whole = _record(bundle, given, {"metric": metric, "default": 1e-4})
    cases = []
    for damage in (_other_values, _fewer_values, _other_names, _other_tokens):
        case = json.loads(json.dumps(whole)) | {"name": damage.__name__}
        damage(case["expected"])
        cases.append(case)
    _open(driver, _with_goldens(bundle, *cases))
    with rt.open(bundle, threads=1) as session:
        expected = session.self_test()
    found = driver.ask("self_test")
    assert [(one["name"], one["passed"]) for one in found] == [(one["name"], one["passed"]) for one in expected]
    for one, other in zip(found, expected, strict=True):
        away = other["difference"]
        assert one["difference"] == (None if away is None else pytest.approx(away, rel=1e-5, abs=1e-6))
    assert metric == "cosine" or not found[0]["passed"]  # a longer vector has the same direction


def _other_values(expected: dict[str, Any]) -> None:
    values = expected["values"]
    if isinstance(values, list):
        expected["values"] = [values[0] + 1, *values[1:]]
    elif expected["kind"] == "scores":
        expected["values"] = dict(zip(values, [*list(values.values())[1:], 0.7], strict=True))
    else:
        for name, one in values.items():
            values[name] = goldens.encode(goldens.decode(one)[..., ::-1] + 1)


def _fewer_values(expected: dict[str, Any]) -> None:
    values = expected["values"]
    if expected["kind"] == "logits":
        expected["values"] = values[:-1]
    elif isinstance(values, list):
        values.pop()
    elif expected["kind"] == "scores":
        values.popitem()
    else:
        for name, one in values.items():
            values[name] = goldens.encode(goldens.decode(one)[..., :1])


def _other_names(expected: dict[str, Any]) -> None:
    if isinstance(expected["values"], dict):
        expected["values"] = {f"{name}!": one for name, one in expected["values"].items()}


def _other_tokens(expected: dict[str, Any]) -> None:
    if "token_ids" in expected:
        expected["token_ids"] = [*expected["token_ids"][1:], 5, 6]


def test_messages_that_cannot_be_rendered_are_replayed_by_their_ids(driver: Driver, tmp_path: Path) -> None:
    bundle = _chain(tmp_path / "b")
    case = _record(bundle, [{"role": "user", "content": "A"}])
    generation = json.loads((bundle / "edgekit.json").read_bytes())["generation"] | {"chat_format": None}
    bundles.reseal(bundle, generation=generation)
    _open(driver, _with_goldens(bundle, case))
    found = driver.ask("self_test")
    assert [(one["name"], one["passed"]) for one in found] == [("first", True)]


@pytest.mark.parametrize(
    "tolerance",
    [
        {"default": 3}, {"default": 3, "x86_64": 2, "aarch64": 2}, {"default": 3, "x86_64+nothing": 1},
        {"default": 3, "x86_64": 2, "x86_64+sse4_2": 0.5, "aarch64+neon": 0.5},
        {"default": 3, "x86_64+sse4_2": 0.5, "x86_64+avx": 0.75, "x86_64+sse4_2+x": 0.25}, {"default": 3, "riscv": 1},
        {"default": 1e-3, "x86_64": 0},
    ],
    ids=str,
)  # fmt: skip
def test_the_tolerance_is_this_cpus(driver: Driver, tmp_path: Path, tolerance: dict[str, float]) -> None:
    make, given = KINDS["outputs"]
    bundle = make(tmp_path / "b")
    _open(driver, _with_goldens(bundle, _record(bundle, given, {"metric": "max_abs"} | tolerance)))
    with rt.open(bundle, threads=1) as session:
        assert driver.ask("self_test")[0]["tolerance"] == pytest.approx(session.self_test()[0]["tolerance"])


def test_an_answer_that_is_no_number_fails(driver: Driver, tmp_path: Path) -> None:
    make, given = KINDS["outputs"]
    bundle = make(tmp_path / "b")
    case = _record(bundle, given)
    case["input"]["tensors"]["x"]["data"][0] = 1e30
    case["input"]["tensors"]["x"]["data"][1] = 3e38  # twice that is infinite
    _open(driver, _with_goldens(bundle, case))
    with np.errstate(invalid="ignore"), rt.open(bundle, threads=1) as session:
        (expected,) = session.self_test()
    (found,) = driver.ask("self_test")
    assert (found["passed"], found["difference"]) == (False, None)
    assert (expected["passed"], expected["difference"]) == (False, None)


def test_a_closed_session_says_so_to_every_call(driver: Driver, tmp_path: Path) -> None:
    _open(driver, _chain(tmp_path / "b"))
    assert driver.ask("close") is None
    assert driver.ask("close") is None
    asked: dict[str, dict[str, Any]] = {
        "tokenize": {"text": "x"}, "embed": {"text": "x"}, "classify": {"text": "x"}, "generate": {"prompt": "x"},
        "chat": {"messages": [{"role": "user", "content": "x"}]}, "self_test": {}, "run": {"inputs": {}},
        "not_utf8": {}, "classify_pixels": {"picture": tensor(np.zeros((1, 1, 3), np.uint8))},
    }  # fmt: skip
    for op, fields in asked.items():
        with pytest.raises(Refused, match="Closed: the session is closed"):
            driver.ask(op, **fields)


def test_scores_are_whole_whatever_they_are(driver: Driver, tmp_path: Path) -> None:
    """Softmax of large logits does not overflow: the sum stays one."""
    bundle = c_runtime.word_pieces(bundles.classifier_bundle(tmp_path / "b"))
    _open(driver, bundle)
    assert math.fsum(one["score"] for one in driver.ask("classify", text="[PAD] [PAD]")) == pytest.approx(1)
