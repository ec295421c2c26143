"""GGUF bundles in Node: the same ids, pieces, scores and answers as in Python, which runs the same llama.cpp."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from edgekit_runtime._sample import Sampler
from fixtures import bundles, gguf_bundles, tiny_models
from fixtures.wrappers import DRIVERS, TEXTS, Driver, Refused

pytestmark = pytest.mark.engines

VOCABULARIES = {
    "byte-level BPE": lambda folder: tiny_models.tiny_llama(folder, style="llama3"),
    "Qwen's BPE": tiny_models.tiny_qwen2,
    "SentencePiece": lambda folder: tiny_models.tiny_llama(folder, style="spm"),
    "Gemma's SentencePiece": tiny_models.tiny_gemma2,
}
PROMPTS = ("The sky is", "def f(x):\n\treturn", "日本語 🌍")


@pytest.fixture(scope="module")
def driver(js_app: Path) -> Iterator[Driver]:
    driver = Driver(["node", DRIVERS / "node.mjs", js_app])
    yield driver
    assert driver.end() == ""  # the engine is silent


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.chain_bundle(tmp_path_factory.mktemp("chain") / "b")


@pytest.fixture(scope="module", params=VOCABULARIES)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = VOCABULARIES[request.param](tmp_path_factory.mktemp("decoder") / "source")
    return gguf_bundles.decoder_bundle(source)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tiny_models.tiny_sentence_encoder(tmp_path_factory.mktemp("encoder") / "source")
    return gguf_bundles.encoder_bundle(source)


def _open(driver: Driver, bundle: Path, **options: Any) -> Any:
    return driver.ask("open", bundle=str(bundle), **({"threads": 1} | options))


def test_every_vocabulary_gives_the_same_ids_and_answers(driver: Driver, decoder: Path) -> None:
    _open(driver, decoder)
    with rt.open(decoder, threads=1) as session:
        for text in (*TEXTS, *PROMPTS, "<s>a</s>", "  two  spaces "):
            assert driver.ask("tokenize", text=text) == session.tokenize(text)
        for prompt in PROMPTS:
            answer = "".join(driver.ask("generate", prompt=prompt, max_tokens=24))
            assert answer == "".join(session.generate(prompt, 24))


def test_every_token_has_the_same_bytes(js_app: Path, decoder: Path) -> None:
    command = ["node", str(DRIVERS / "llama-pieces.mjs"), str(js_app), str(decoder / gguf_bundles.MODEL)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    with rt.open(decoder, threads=1) as session:
        expected = [session.engine._piece(token) for token in range(session.engine.vocabulary)]
    assert [base64.b64decode(piece) for piece in found] == expected
    assert len(set(expected)) > 500


def test_scores_are_python_s_and_a_change_is_noticed(driver: Driver, decoder: Path) -> None:
    with rt.open(decoder, threads=1) as session:
        cases = [goldens.make_case(session, prompt, prompt) for prompt in PROMPTS]
    cases[0]["expected"]["values"][3] += 1
    (decoder / goldens.GOLDEN).write_text(json.dumps(goldens.document(cases)), encoding="utf-8")
    _open(driver, bundles.reseal(decoder))
    results = {each["name"]: each for each in driver.ask("self_test")}
    assert [name for name, each in results.items() if not each["passed"]] == [PROMPTS[0]]
    held = {name: each["difference"] for name, each in results.items() if name in PROMPTS[1:]}
    assert max(held.values()) < 0.005, held


def test_a_prompt_longer_than_a_batch_scores_as_in_python(driver: Driver, tmp_path: Path) -> None:
    decoder = gguf_bundles.decoder_bundle(tiny_models.tiny_llama(tmp_path / "source", style="spm"))
    with rt.open(decoder, threads=1) as session:
        ids = (session.tokenize("The sky over the harbour is blue and grey. " * 40))[:250]
        case = goldens.make_case(session, ids, "long")
    (decoder / goldens.GOLDEN).write_text(json.dumps(goldens.document([case])), encoding="utf-8")
    _open(driver, bundles.reseal(decoder))
    (result,) = driver.ask("self_test")
    assert result["difference"] < 0.3 * result["tolerance"], result


@pytest.mark.parametrize("context_tokens", [255, 256])
def test_the_whole_context_can_be_used(driver: Driver, tmp_path: Path, context_tokens: int) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b", context_tokens=context_tokens)
    with rt.open(bundle, threads=1) as session:
        ids = session.tokenize("x" * (context_tokens - 2) + "A")
        case = goldens.make_case(session, ids, "full")
    (bundle / goldens.GOLDEN).write_text(json.dumps(goldens.document([case])), encoding="utf-8")
    _open(driver, bundles.reseal(bundle))
    assert driver.ask("self_test")[0]["passed"]
    assert driver.ask("generate", prompt="x" * (context_tokens - 10) + "A", max_tokens=8) == ["é", "🌍", "z", "!"]
    with pytest.raises(Refused, match="PromptTooLong"):
        driver.ask("generate", prompt="x" * (context_tokens - 10) + "A", max_tokens=9)


def test_a_seed_repeats_an_answer_and_a_nucleus_of_one_token_is_greedy(driver: Driver, decoder: Path) -> None:
    _open(driver, decoder)
    asked = {"prompt": PROMPTS[0], "max_tokens": 16}
    drawn = [driver.ask("generate", **asked, temperature=1.5, seed=seed) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert driver.ask("generate", **asked, temperature=1.5, top_p=1e-9, seed=3) == driver.ask("generate", **asked)


def test_the_sampler_draws_what_python_s_does(js_app: Path) -> None:
    random = np.random.default_rng(0)
    cases = []
    for _ in range(300):
        logits = -np.sort(-random.normal(scale=random.uniform(0.1, 8), size=random.integers(1, 60)))
        weights = np.exp(logits - logits[0])
        temperature, top_p = random.uniform(0.1, 3), random.choice([1.0, random.uniform(0.01, 1)])
        cases.append([(weights / weights.sum()).tolist(), temperature, top_p, random.uniform()])
    found = _sampled(js_app, cases, [1, 1, 2, None])
    for (probabilities, temperature, top_p, drawn), index in zip(cases, found["drawn"], strict=True):
        sampler = Sampler(temperature, top_p, 0)
        sampler._random = type("Fixed", (), {"random": lambda self, drawn=drawn: drawn})()
        assert index == sampler.pick(np.log(np.array(probabilities)))
    one, same, other, fresh = map(np.array, found["numbers"])
    assert (one == same).all()
    assert (one != other).any()
    for numbers in (one, other, fresh):
        assert 0 <= numbers.min() < 0.02
        assert 0.98 < numbers.max() < 1
        assert abs(numbers.mean() - 0.5) < 0.05


def _sampled(app: Path, cases: list[Any], seeds: list[int | None]) -> Any:
    given = json.dumps({"cases": cases, "seeds": seeds}).encode()
    command = ["node", str(DRIVERS / "sampling.mjs"), str(app)]
    return json.loads(subprocess.run(command, input=given, capture_output=True, check=True, timeout=60).stdout)


@pytest.mark.parametrize("kind", [3, 4])
def test_control_tokens_are_no_text_and_a_user_s_own_are(driver: Driver, tmp_path: Path, kind: int) -> None:
    bundle = gguf_bundles.retype(bundles.chain_bundle(tmp_path / "b"), 3 + ord("z"), kind)
    with rt.open(bundle, threads=1) as session:
        expected = "".join(session.generate("A"))
    assert expected == {3: "é🌍!", 4: "é🌍<0x7A>!"}[kind]
    _open(driver, bundle)
    assert "".join(driver.ask("generate", prompt="A")) == expected


def test_an_encoder_embeds_as_in_python_long_texts_too(driver: Driver, encoder: Path) -> None:
    opened = _open(driver, encoder)
    assert opened["task"] == "embedding"
    with rt.open(encoder, threads=1) as session:
        for text in ("hello there", "", "the sky is blue", "the sky is blue and so on and on " * 8):
            assert driver.ask("tokenize", text=text) == session.tokenize(text)
            away = np.abs(np.array(driver.ask("embed", text=text)) - session.embed(text)[0]).max()
            assert away < 1e-4, text
    with pytest.raises(Refused, match="WrongTask"):
        driver.ask("generate", prompt="a", max_tokens=1)


def test_a_width_that_is_not_the_model_s_is_refused(driver: Driver, tmp_path: Path) -> None:
    source = tiny_models.tiny_sentence_encoder(tmp_path / "source")
    embedding = {"pooling": "mean", "normalize": True, "width": 65}
    _open(driver, gguf_bundles.encoder_bundle(source, embedding=embedding))
    with pytest.raises(Refused, match=r"RunFailed.*64 values per text.*65"):
        driver.ask("embed", text="a")


@pytest.mark.parametrize("damage", [lambda raw: raw[:1000], lambda raw: b"GGUF" + b"\xff" * 100, lambda raw: b"junk"])
def test_a_file_the_engine_refuses(driver: Driver, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    path = bundle / "model-F32.gguf"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Refused, match=r"LoadFailed: llama\.cpp refuses model-F32\.gguf: \w"):
        _open(driver, bundles.reseal(bundle))


def test_the_library_outlives_a_session(js_app: Path, chain: Path) -> None:
    driver = Driver(["node", DRIVERS / "node.mjs", js_app])
    for threads, low_memory in ((1, True), (2, False)):
        assert _open(driver, chain, threads=threads, low_memory=low_memory)["threads"] == threads
        assert driver.ask("generate", prompt="A") == ["é", "🌍", "z", "!"]
        assert driver.ask("close") is None
    driver.end()  # nothing keeps the process


def test_a_missing_engine_is_named_with_the_command(chain: Path, js_app: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(js_app / "edgekit", app / "edgekit")
    (app / "node_modules").mkdir()
    for path in (js_app / "node_modules").iterdir():
        if path.name != "node-llama-cpp":
            (app / "node_modules" / path.name).symlink_to(path.resolve())
    driver = Driver(["node", DRIVERS / "node.mjs", app])
    with pytest.raises(Refused, match=r"LoadFailed.*npm install node-llama-cpp@3\.21\.1"):
        _open(driver, chain)
    driver.end()
