"""One suite for every language's runtime: the same goldens, the same answers, the same refusals by the same names.

What each language has beyond that (its own types, its ways to fail to load) is in its own tests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from fixtures import bundles, drivers
from fixtures.hostile_bundles import HOSTILE
from fixtures.wrappers import TEXTS, Driver, Refused, array, pack_all, tensor

pytestmark = pytest.mark.engines

TEXT_BUNDLES = ("encoder", "classifier", "tagger", "q8_0", "q4_k_m")
ONNX_BUNDLES = ("encoder", "classifier", "tagger", "image")
DECODERS = ("q8_0", "q4_k_m")
MESSAGES = [
    [{"role": "user", "content": "  Hello there 🌍 "}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
    [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two\n"},
        {"role": "user", "content": "Drei ß"},
    ],
]


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return pack_all(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module", params=drivers.LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def driver(language: str, request: pytest.FixtureRequest) -> Iterator[Driver]:
    driver = drivers.start(language, request)
    yield driver
    driver.end()


def _open(driver: Driver, language: str, bundle: Path, **options: Any) -> Any:
    engine = json.loads((bundle / "edgekit.json").read_bytes()).get("engine", "onnxruntime")
    library = drivers.engine_library(language, engine)
    asked = {"threads": 1, "memory_budget": None, "low_memory": False} | options
    return driver.ask("open", bundle=str(bundle), engine_library=library, **asked)


def _away(one: Any, other: Any) -> float:
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(1 - (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("name", [*ONNX_BUNDLES, *DECODERS])
def test_the_goldens_pass(driver: Driver, language: str, packed: dict[str, Path], name: str) -> None:
    opened = _open(driver, language, packed[name])
    manifest = json.loads((packed[name] / "edgekit.json").read_bytes())
    assert {key: opened[key] for key in ("name", "task", "engine")} == {
        key: manifest[key] for key in ("name", "task", "engine")
    }
    with rt.open(packed[name], threads=1) as session:
        expected = [each["name"] for each in session.self_test()]
    results = driver.ask("self_test")
    assert [each["name"] for each in results] == expected
    assert [each for each in results if not each["passed"]] == []
    if drivers.SAME_ENGINE[language]:
        assert max(each["difference"] for each in results) < 1e-4


def test_a_golden_that_does_not_hold_is_told(
    driver: Driver, language: str, packed: dict[str, Path], tmp_path: Path
) -> None:
    bundle = shutil.copytree(packed["encoder"], tmp_path / "b")
    golden = json.loads((bundle / "golden.json").read_bytes())
    values = golden["cases"][0]["expected"]["values"]
    golden["cases"][0]["expected"]["values"] = values[1:] + values[:1]
    golden["cases"][1]["expected"]["token_ids"][1] += 1
    golden["cases"][2]["expected"]["values"] = values[:-1]
    (bundle / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    _open(driver, language, bundles.reseal(bundle))
    found = {each["name"]: each for each in driver.ask("self_test")}
    failed = [name for name, each in found.items() if not each["passed"]]
    assert failed == ["input 0", "input 1 tokens", "input 2"]
    assert found["input 1 tokens"]["difference"] == 1
    assert found["input 2"]["difference"] is None


@pytest.mark.parametrize("name", TEXT_BUNDLES)
def test_text_becomes_the_same_tokens(driver: Driver, language: str, packed: dict[str, Path], name: str) -> None:
    _open(driver, language, packed[name])
    with rt.open(packed[name], threads=1) as session:
        for text in TEXTS:
            assert driver.ask("tokenize", text=text) == session.tokenize(text)


def test_texts_are_embedded(driver: Driver, language: str, packed: dict[str, Path]) -> None:
    _open(driver, language, packed["encoder"])
    with rt.open(packed["encoder"], threads=1) as session:
        for text in (*TEXTS, "long " * 400):
            found, expected = driver.ask("embed", text=text), session.embed(text)[0]
            assert len(found) == 384
            assert abs(np.linalg.norm(found) - 1) < 1e-5
            assert _away(found, expected) < (1e-6 if drivers.SAME_ENGINE[language] else 0.01)


def test_texts_and_pairs_are_classified(driver: Driver, language: str, packed: dict[str, Path]) -> None:
    _open(driver, language, packed["classifier"])
    with rt.open(packed["classifier"], threads=1) as session:
        for text, pair in ((TEXTS[0], None), (TEXTS[1], TEXTS[2]), ("word " * 200, "other " * 100)):
            found = driver.ask("classify", text=text, pair=pair)
            (expected,) = session.classify([text if pair is None else (text, pair)])
            assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
            scores = {each["label"]: each["score"] for each in expected}
            assert found[0].keys() >= {"label", "score"}
            assert {each["label"]: each["score"] for each in found} == pytest.approx(scores, abs=0.02)


def test_tokens_are_labelled(driver: Driver, language: str, packed: dict[str, Path]) -> None:
    _open(driver, language, packed["tagger"])
    with rt.open(packed["tagger"], threads=1) as session:
        for text in (TEXTS[0], TEXTS[1], "Ångström met 日本 in Paris. " * 20):  # the last one in several windows
            found = driver.ask("classify", text=text, pair=None)
            (expected,) = session.classify([text])
            assert [each["word"] for each in found] == [each["word"] for each in expected]
            if drivers.SAME_ENGINE[language]:
                assert [each["label"] for each in found] == [each["label"] for each in expected]
            # random weights: near ties go either way in another engine, the scores do not
            assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=0.05)


@pytest.mark.parametrize("shape", [(32, 32), (48, 36), (37, 90), (400, 300), (5, 7)])
def test_pictures_are_classified(
    driver: Driver, language: str, packed: dict[str, Path], shape: tuple[int, int]
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    _open(driver, language, packed["image"])
    with rt.open(packed["image"], threads=1) as session:
        (expected,) = session.classify([picture])
    found = driver.ask("classify_pixels", picture=tensor(picture))
    scores = {each["label"]: each["score"] for each in expected}
    assert {each["label"]: each["score"] for each in found} == pytest.approx(scores, abs=0.01)


def test_tensors_run(driver: Driver, language: str, packed: dict[str, Path]) -> None:
    _open(driver, language, packed["encoder"])
    with rt.open(packed["encoder"], threads=1) as session:
        inputs = session.encode(TEXTS[0])
        expected = session.run(inputs)
    found = driver.ask("run", inputs={name: tensor(each) for name, each in inputs.items()})
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        have = array(found[name])
        assert (have.shape, have.dtype) == (each.shape, each.dtype)
        assert _away(have, each) < (1e-6 if drivers.SAME_ENGINE[language] else 0.01)
    with pytest.raises(Refused) as refused:
        driver.ask("run", inputs={"pixels": tensor(np.ones((1, 3), np.float32))})
    assert refused.value.name == "BadInput"


@pytest.mark.parametrize("name", DECODERS)
def test_answers_stream(driver: Driver, language: str, packed: dict[str, Path], name: str) -> None:
    """Greedy, or with a seed: whole characters, the same text again, and with the same engine Python's."""
    _open(driver, language, packed[name])
    plain = {"temperature": 0, "seed": None, "stop": []}
    with rt.open(packed[name], threads=1) as session:
        for prompt in (TEXTS[0], TEXTS[3]):
            found = driver.ask("generate", prompt=prompt, max_tokens=24, **plain)
            assert all(isinstance(each, str) and each for each in found)
            assert len(found) > 1
            expected = "".join(session.generate(prompt, max_tokens=24))
            if drivers.SAME_ENGINE[language]:
                assert "".join(found) == expected
            first = driver.ask("generate", prompt=prompt, max_tokens=24, temperature=0.9, seed=7, stop=[])
            assert driver.ask("generate", prompt=prompt, max_tokens=24, temperature=0.9, seed=7, stop=[]) == first
            text = "".join(found)
            stop = text[len(text) // 2 : len(text) // 2 + 3]
            cut = driver.ask("generate", prompt=prompt, max_tokens=24, temperature=0, seed=None, stop=[stop])
            assert "".join(cut) == text[: text.index(stop)]


@pytest.mark.parametrize("name", DECODERS)
def test_chats_are_answered(driver: Driver, language: str, packed: dict[str, Path], name: str) -> None:
    assert json.loads((packed[name] / "edgekit.json").read_bytes())["generation"]["chat_format"] is not None
    _open(driver, language, packed[name])
    options = {"max_tokens": 16, "temperature": 0, "seed": None, "stop": []}
    with rt.open(packed[name], threads=1) as session:
        for messages in MESSAGES:
            found = "".join(driver.ask("chat", messages=messages, **options))
            expected = "".join(session.chat(messages, max_tokens=16))
            assert found
            if drivers.SAME_ENGINE[language]:
                assert found == expected
    for wrong in ([], [{"role": "user"}], [{"role": "user", "content": 5}]):
        with pytest.raises(Refused) as refused:
            driver.ask("chat", messages=wrong, **options)
        assert refused.value.name == "BadInput"


def _refused(driver: Driver, op: str, **fields: Any) -> str:
    with pytest.raises(Refused) as refused:
        driver.ask(op, **fields)
    assert refused.value.message.strip()
    assert "\n" not in refused.value.message
    return refused.value.name


def test_calls_that_are_refused(driver: Driver, language: str, packed: dict[str, Path]) -> None:
    plain = {"temperature": 0, "seed": None, "stop": []}
    _open(driver, language, packed["q8_0"])
    assert _refused(driver, "generate", prompt="word " * 400, max_tokens=4, **plain) == "PromptTooLong"
    assert _refused(driver, "generate", prompt="word", max_tokens=4000, **plain) == "PromptTooLong"
    assert _refused(driver, "generate", prompt="word", max_tokens=-1, **plain) == "BadInput"
    assert _refused(driver, "generate", prompt="word", max_tokens=4, temperature=-1, seed=None, stop=[]) == "BadInput"
    assert _refused(driver, "embed", text="x") == "WrongTask"
    assert _refused(driver, "cancel", prompt="a") == "Cancelled"
    assert _refused(driver, "busy", prompt="a") == "Busy"
    assert driver.ask("generate", prompt="a", max_tokens=2, **plain)  # neither left the session unusable
    _open(driver, language, packed["encoder"])
    assert _refused(driver, "generate", prompt="a", max_tokens=2, **plain) == "WrongTask"
    assert driver.ask("embed", text="a")


@pytest.mark.parametrize("name", ["encoder", "q4_k_m"])
def test_text_that_is_not_unicode(driver: Driver, language: str, packed: dict[str, Path], name: str) -> None:
    _open(driver, language, packed[name])
    if language == "swift":
        assert driver.ask("not_utf8") == "unrepresentable"
    else:
        assert _refused(driver, "not_utf8") == "BadInput"


@pytest.mark.parametrize("name", ["encoder", "q4_k_m"])
def test_a_closed_session(driver: Driver, language: str, packed: dict[str, Path], name: str) -> None:
    _open(driver, language, packed[name])
    assert driver.ask("close") is None
    assert driver.ask("close") is None
    plain = {"temperature": 0, "seed": None, "stop": []}
    assert _refused(driver, "generate", prompt="a", max_tokens=2, **plain) == "Closed"
    assert _refused(driver, "embed", text="a") == "Closed"
    assert _refused(driver, "self_test") == "Closed"


def test_what_is_refused_before_anything_is_loaded(driver: Driver, language: str, tmp_path: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")  # took 100 MiB at its peak, it says
    with pytest.raises(Refused) as refused:
        _open(driver, language, bundle, memory_budget=99 * 2**20)
    assert refused.value.name == "MemoryBudget"
    assert "100 MiB" in refused.value.message
    assert "99 MiB" in refused.value.message
    assert _open(driver, language, bundle, memory_budget=101 * 2**20)["task"] == "tensors"
    bundles.reseal(bundle, min_isa={arch: ["quantum"] for arch in ("x86_64", "aarch64", "wasm32")})
    with pytest.raises(Refused) as refused:
        _open(driver, language, bundle)
    assert refused.value.name == "UnsupportedDevice"
    assert "quantum" in refused.value.message
    nowhere = str(tmp_path / "nothing here")
    assert _refused(driver, "open", bundle=nowhere, engine_library=None, threads=1) == "BundleInvalid"


def test_threads_are_the_manifests_where_nobody_names_them(driver: Driver, language: str, tmp_path: Path) -> None:
    device = {"name": "d", "title": "d", "ram_budget_bytes": None}
    for asked, expected in ((1, {1}), (4096, set(range(1, 4096)))):
        bundle = bundles.tensor_bundle(tmp_path / str(asked), device={**device, "threads": asked})
        assert _open(driver, language, bundle, threads=None)["threads"] in expected


def test_less_memory_gives_the_same_answers(driver: Driver, language: str, tmp_path: Path) -> None:
    graph, decoder = bundles.tensor_bundle(tmp_path / "graph"), bundles.chain_bundle(tmp_path / "decoder")
    given = np.arange(8, dtype=np.float32).reshape(2, 4)
    for low_memory in (False, True):
        _open(driver, language, graph, low_memory=low_memory)
        assert np.array_equal(array(driver.ask("run", inputs={"x": tensor(given)})["y"]), 2 * given)
        _open(driver, language, decoder, low_memory=low_memory)
        texts = driver.ask("generate", prompt="A", max_tokens=16, temperature=0, seed=None, stop=[])
        assert "".join(texts) == bundles.CHAIN[1:]


def test_more_threads_than_an_engine_takes_are_refused(driver: Driver, language: str, tmp_path: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    for threads in (513, 2**31 - 1):
        with pytest.raises(Refused, match=rf"threads is {threads}, expected 1 to 512") as refused:
            _open(driver, language, bundle, threads=threads)
        assert refused.value.name == "BadInput"


def test_settings_that_are_of_no_use_are_refused(driver: Driver, language: str, tmp_path: Path) -> None:
    """The manifest is what no hash proves."""
    decoder = bundles.chain_bundle(tmp_path / "decoder")
    generation = json.loads((decoder / "edgekit.json").read_bytes())["generation"]
    for ends in ("x", [[1]], ["a"], {"a": 1}):
        bundles.reseal(decoder, generation=generation | {"eos_token_ids": ends})
        with pytest.raises(Refused, match="eos_token_ids") as refused:
            _open(driver, language, decoder)
        assert refused.value.name == "BundleInvalid"
    images = bundles.image_bundle(tmp_path / "images")
    image = json.loads((images / "edgekit.json").read_bytes())["image"]
    picture = tensor(np.zeros((9, 7, 3), np.uint8))
    for change in ({"mean": [1, 2]}, {"std": None}, {"rescale": None}, {"resample": 9}, {"height": 10**9}):
        _open(driver, language, bundles.reseal(images, image=image | change))
        assert _refused(driver, "classify_pixels", picture=picture) == "BundleInvalid"
    _open(driver, language, bundles.reseal(images, image=image | {"shortest_edge": 16384}))
    sliver = tensor(np.zeros((60000, 1, 3), np.uint8))
    assert _refused(driver, "classify_pixels", picture=sliver) == "BadInput"


# What only a walk over the folder finds: a page cannot list what a server has.
UNSEEN_FROM_A_PAGE = ("an unlisted file", "a linked file", "a linked manifest")


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_bundles_are_refused_by_one_name(driver: Driver, language: str, tmp_path: Path, how: str) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    assert driver.ask("verify", bundle=str(bundle))
    HOSTILE[how](bundle)
    if language in drivers.IN_A_PAGE and how in UNSEEN_FROM_A_PAGE:
        assert driver.ask("verify", bundle=str(bundle)) == {"name": "b"}  # of the manifest's own files, no word untrue
        return
    assert _refused(driver, "open", bundle=str(bundle), engine_library=None, threads=1) == "BundleInvalid"


def _broken(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        golden = json.loads((bundle / "golden.json").read_bytes())
        change(golden)
        (bundle / "golden.json").write_text(json.dumps(golden), encoding="utf-8")

    return apply


MALFORMED = {
    "none": lambda bundle: (bundle / "golden.json").unlink(),
    "no json": lambda bundle: (bundle / "golden.json").write_bytes(b"{"),
    "a newer schema": _broken(lambda golden: golden.update(schema_version=2)),
    "no cases": _broken(lambda golden: golden.pop("cases")),
    "a case of no object": _broken(lambda golden: golden["cases"].append(3)),
    "no input": _broken(lambda golden: golden["cases"][0].update(input={})),
    "no tolerance": _broken(lambda golden: golden["cases"][0].update(tolerance={"metric": "cosine"})),
    "an unknown metric": _broken(lambda golden: golden["cases"][0]["tolerance"].update(metric="mood")),
}


@pytest.mark.parametrize("how", MALFORMED)
def test_malformed_goldens_are_refused(
    driver: Driver, language: str, packed: dict[str, Path], tmp_path: Path, how: str
) -> None:
    bundle = shutil.copytree(packed["encoder"], tmp_path / "b")
    MALFORMED[how](bundle)
    _open(driver, language, bundles.reseal(bundle))
    assert _refused(driver, "self_test") == "BundleInvalid"
