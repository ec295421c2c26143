"""The JavaScript runtime in headless Chromium: in a page and in a worker, with and without threads, on WebGPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, gguf_bundles, tiny_models
from fixtures.browser_driver import started
from fixtures.wrappers import Driver, Refused, array, tensor

pytestmark = pytest.mark.engines

CHAIN = ["é", "🌍", "z", "!"]
# What is asked of the worker is asked without a policy, so that nothing but the driver's own record could notice a
# request that leaves the origin; the suite of all languages (test_wrappers.py) asks a worker with one.
PLACES: dict[str, tuple[str, ...]] = {"page": (), "worker": ("--worker", "--no-policy")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Hand-made bundles, one a task; "classifier int8" has its matrix product quantized."""
    folder = tmp_path_factory.mktemp("made")
    return {
        "embedding": bundles.embedding_bundle(folder / "embedding"),
        "classifier": bundles.classifier_bundle(folder / "classifier"),
        "tagger": bundles.tagger_bundle(folder / "tagger"),
        "image": bundles.image_bundle(folder / "image"),
        "tensors": bundles.tensor_bundle(folder / "tensors"),
        "chain": bundles.chain_bundle(folder / "chain"),
        "classifier int8": _quantized(bundles.classifier_bundle(folder / "int8")),
    }


def _quantized(bundle: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = bundle / "onnx" / "model.onnx"
    whole = model.rename(bundle.parent / "whole.onnx")
    quantize_dynamic(whole, model, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    return bundles.reseal(bundle, strategy="onnx-int8")


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def driver(place: str, js_app: Path) -> Iterator[Driver]:
    driver = started(js_app, *PLACES[place])
    yield driver
    assert driver.end() == ""  # nothing is said on the page's console


@pytest.fixture(scope="module")
def page(js_app: Path) -> Iterator[Driver]:
    """For what is the same in a worker."""
    driver = started(js_app)
    yield driver
    driver.end()


def _open(driver: Driver, bundle: Path, **options: Any) -> Any:
    return driver.ask("open", bundle=str(bundle), **({"threads": 1} | options))


def test_it_runs_where_it_is_said_to_run(driver: Driver, place: str) -> None:
    told = driver.ask("place_told")
    assert told == {"worker": place == "worker", "isolated": True, "stored": 0}


def test_texts_are_embedded(driver: Driver, made: dict[str, Path]) -> None:
    assert _open(driver, made["embedding"]) == {
        "name": "embedding",
        "task": "embedding",
        "engine": "onnxruntime",
        "threads": 1,
    }
    with rt.open(made["embedding"], threads=1) as session:
        for text in ("red sky", "the grass is green", "", "blue " * 40):
            assert driver.ask("tokenize", text=text) == session.tokenize(text)
            assert driver.ask("embed", text=text) == pytest.approx(session.embed(text)[0], abs=1e-6)


@pytest.mark.parametrize(("name", "away"), [("classifier", 1e-6), ("classifier int8", 1e-3)])
def test_texts_are_classified(driver: Driver, made: dict[str, Path], name: str, away: float) -> None:
    _open(driver, made[name])
    with rt.open(made[name], threads=1) as session:
        for text, pair in (("the sky is blue", None), ("grass", "green")):
            (expected,) = session.classify([text if pair is None else (text, pair)])
            found = driver.ask("classify", text=text, pair=pair)
            assert [each["label"] for each in found] == [each["label"] for each in expected]
            assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=away)


def test_tokens_are_classified(driver: Driver, made: dict[str, Path]) -> None:
    _open(driver, made["tagger"])
    found = driver.ask("classify", text="The sky is blue and red", pair=None)
    with rt.open(made["tagger"], threads=1) as session:
        (expected,) = session.classify(["The sky is blue and red"])
    assert [(each["word"], each["label"]) for each in found] == [(each["word"], each["label"]) for each in expected]


def test_pictures_are_classified(driver: Driver, made: dict[str, Path]) -> None:
    _open(driver, made["image"])
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    with rt.open(made["image"], threads=1) as session:
        (expected,) = session.classify([picture])
    found = driver.ask("classify_pixels", picture=tensor(picture))
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=1e-5)


def test_tensors_are_run(driver: Driver, made: dict[str, Path]) -> None:
    _open(driver, made["tensors"])
    given = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert np.array_equal(array(driver.ask("run", inputs={"x": tensor(given)})["y"]), given * 2)


def test_threads_are_used_where_they_can_be_had(driver: Driver, made: dict[str, Path]) -> None:
    assert _open(driver, made["chain"], threads=2)["threads"] == 2
    assert driver.ask("info")["notes"] == []
    assert driver.ask("generate", prompt="A") == CHAIN


def test_text_is_generated_and_streamed(driver: Driver, made: dict[str, Path]) -> None:
    _open(driver, made["chain"])
    assert driver.ask("generate", prompt="A") == CHAIN
    assert driver.ask("generate", prompt="A", stop=["z"]) == CHAIN[:2]
    assert driver.ask("generate", prompt="A", max_tokens=3) == ["é", "\ufffd"]  # within a character
    assert driver.ask("chat", messages=[{"role": "user", "content": "A"}], max_tokens=8) == CHAIN
    drawn = [driver.ask("generate", prompt="x", max_tokens=12, temperature=2, seed=seed) for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("flags", [(), ("--worker",)])
def test_without_isolation_there_is_one_thread_and_a_note(
    js_app: Path, made: dict[str, Path], flags: tuple[str, ...]
) -> None:
    driver = started(js_app, "--not-isolated", *flags)
    for name in ("chain", "embedding"):
        assert _open(driver, made[name], threads=2)["threads"] == 1
        (note,) = driver.ask("info")["notes"]
        assert "not cross-origin isolated" in note
    assert len(driver.ask("embed", text="red")) == bundles.WIDTH
    _open(driver, made["chain"], threads=2)
    assert driver.ask("generate", prompt="A") == CHAIN
    driver.end()


def test_an_answer_ends_when_it_is_cancelled_or_closed(driver: Driver, made: dict[str, Path]) -> None:
    _open(driver, made["chain"])
    for op in ("cancel", "abort"):
        with pytest.raises(Refused, match=r"Cancelled"):
            driver.ask(op, prompt="A")
        assert driver.ask("generate", prompt="A") == CHAIN
    with pytest.raises(Refused, match=r"Busy"):
        driver.ask("busy", prompt="A")
    with pytest.raises(Refused, match=r"BadInput"):
        driver.ask("not_utf8")
    with pytest.raises(Refused, match=r"PromptTooLong"):
        driver.ask("generate", prompt="x" * 300)
    with pytest.raises(Refused, match=r"Closed"):
        driver.ask("close_within", prompt="A")
    for _ in range(2):
        driver.ask("close")
    with pytest.raises(Refused, match=r"Closed"):
        driver.ask("tokenize", text="A")


def test_goldens_are_replayed(page: Driver, made: dict[str, Path], tmp_path: Path) -> None:
    for name in ("embedding", "classifier", "chain"):
        bundle = shutil.copytree(made[name], tmp_path / name)
        with rt.open(bundle, threads=1) as session:
            cases = [goldens.make_case(session, text, text) for text in ("A", "sky")]
        for change, passed in ((0, True), (9, False)):
            values = cases[0]["expected"]["values"]
            key = next(iter(values)) if isinstance(values, dict) else 0
            values[key] += change
            (bundle / goldens.GOLDEN).write_text(json.dumps(goldens.document(cases)), encoding="utf-8")
            _open(page, bundles.reseal(bundle))
            results = page.ask("self_test")
            assert results[0]["passed"] is passed
            assert all(each["passed"] for each in results[1:])


def test_nothing_is_stored(driver: Driver, made: dict[str, Path]) -> None:
    _open(driver, made["chain"])
    assert driver.ask("place_told")["stored"] == 0


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a changed byte": lambda bundle: (bundle / "onnx" / "model.onnx").write_bytes(b"weighTs"),
    "a missing file": lambda bundle: (bundle / "config.json").unlink(),
    "an oversized manifest": lambda bundle: (bundle / "edgekit.json").write_bytes(b" " * (8 * 2**20 + 1)),
    "a newer schema": lambda bundle: bundles.reseal(bundle, schema_version=2),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("op", ["verify", "open"])
def test_a_damaged_bundle_is_refused(driver: Driver, tmp_path: Path, damage: str, op: str) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    assert driver.ask("verify", bundle=str(bundle)) == {"name": "b"}
    DAMAGE[damage](bundle)
    with pytest.raises(Refused, match=r"BundleInvalid"):
        driver.ask(op, bundle=str(bundle))


def test_a_path_that_climbs_is_refused(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    bundle = bundles.plain_bundle(tmp_path / "b")
    manifest = json.loads((bundle / "edgekit.json").read_bytes())
    manifest["files"][0]["path"] = "../secret"
    (bundle / "edgekit.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(Refused, match=r"BundleInvalid.*\.\./secret"):
        driver.ask("verify", bundle=str(bundle))


def test_a_budget_that_is_exceeded_is_told_before_loading(driver: Driver, made: dict[str, Path]) -> None:
    with pytest.raises(Refused, match=r"MemoryBudget.*100 MiB, 1 MiB"):
        _open(driver, made["chain"], memory_budget=2**20)


def test_encoders_embed_in_the_page_as_in_python(page: Driver, tmp_path: Path) -> None:
    encoder = gguf_bundles.encoder_bundle(tiny_models.tiny_sentence_encoder(tmp_path / "source"))
    _open(page, encoder)
    with rt.open(encoder, threads=1) as session:
        for text in ("hello there", "", "the sky is blue", "the sky is blue and so on and on " * 8):
            assert page.ask("tokenize", text=text) == session.tokenize(text)
            assert page.ask("embed", text=text) == pytest.approx(session.embed(text)[0], abs=2e-3)
    embedding = {"pooling": "mean", "normalize": False, "width": 64}
    with pytest.raises(Refused, match=r"LoadFailed.*scales embeddings"):
        _open(page, bundles.reseal(encoder, embedding=embedding))


@pytest.mark.parametrize("style", ["llama3", "spm"])
def test_decoders_have_python_s_ids_and_near_scores(page: Driver, tmp_path: Path, style: str) -> None:
    decoder = gguf_bundles.decoder_bundle(tiny_models.tiny_llama(tmp_path / "source", style=style))
    texts = ["The sky is", "日本語 🌍\n\tx", "  <s>two</s>  spaces "]
    with rt.open(decoder, threads=1) as session:
        cases = [goldens.make_case(session, text, text) for text in texts]
    (decoder / goldens.GOLDEN).write_text(json.dumps(goldens.document(cases)), encoding="utf-8")
    _open(page, bundles.reseal(decoder))
    results = page.ask("self_test")
    assert [each["name"] for each in results] == [name for text in texts for name in (text, f"{text} tokens")]
    assert [each for each in results if not each["passed"]] == []


@pytest.mark.parametrize("kind", [3, 4])
def test_control_tokens_are_no_text_and_a_user_s_own_are(page: Driver, tmp_path: Path, kind: int) -> None:
    bundle = gguf_bundles.retype(bundles.chain_bundle(tmp_path / "b"), 3 + ord("z"), kind)
    _open(page, bundle)
    with rt.open(bundle, threads=1) as session:
        assert "".join(page.ask("generate", prompt="A")) == "".join(session.generate("A"))


@pytest.mark.parametrize("damage", [lambda raw: raw[:1000], lambda raw: b"GGUF" + b"\xff" * 100, lambda raw: b"junk"])
def test_a_file_the_engine_refuses(page: Driver, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    path = bundle / "model-F32.gguf"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(Refused, match=r"LoadFailed: llama\.cpp refuses model-F32\.gguf: \w"):
        _open(page, bundles.reseal(bundle))
    path.write_bytes(whole)
    _open(page, bundles.reseal(bundle))  # the page goes on
    assert page.ask("generate", prompt="A") == CHAIN


def test_an_engine_that_is_not_served_is_told_with_its_place(page: Driver, made: dict[str, Path]) -> None:
    with pytest.raises(Refused, match=r"LoadFailed.*nowhere/single-thread/wllama\.wasm.*404.*wasmPaths"):
        _open(page, made["chain"], wasm_paths="/nowhere")


def test_a_file_too_large_is_refused_before_it_is_fetched(page: Driver, made: dict[str, Path], tmp_path: Path) -> None:
    bundle = shutil.copytree(made["chain"], tmp_path / "b")
    manifest = json.loads((bundle / "edgekit.json").read_bytes())
    for file in manifest["files"]:
        file["size_bytes"] = 2**31
    (bundle / "edgekit.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(Refused, match=r"LoadFailed.*2048 MiB"):
        _open(page, bundle)


def test_webgpu_is_refused_where_there_is_none(page: Driver, made: dict[str, Path]) -> None:
    with pytest.raises(Refused, match=r"LoadFailed.*no WebGPU adapter.*backend auto"):
        _open(page, made["embedding"], backend="webgpu")
    with pytest.raises(Refused, match=r"LoadFailed.*not on WebGPU.*backend auto"):
        _open(page, made["chain"], backend="webgpu")


def test_webgpu_answers_as_the_cpu_does(js_app: Path, made: dict[str, Path]) -> None:
    driver = started(js_app, "--webgpu")
    for name in ("embedding", "classifier"):
        _open(driver, made[name], backend="webgpu")
        assert driver.ask("info")["backend"] == "webgpu"
        with rt.open(made[name], threads=1) as session:
            if name == "embedding":
                found, expected = driver.ask("embed", text="the red sky"), session.embed("the red sky")[0]
            else:
                scores = {each["label"]: each["score"] for each in driver.ask("classify", text="the sky", pair=None)}
                (listed,) = session.classify(["the sky"])
                expected = [each["score"] for each in listed]
                found = [scores[each["label"]] for each in listed]
            assert found == pytest.approx(expected, abs=1e-4)
    driver.end()


@pytest.mark.parametrize("flags", [(), ("--no-policy",), ("--worker",), ("--worker", "--no-policy")])
def test_a_request_that_leaves_the_origin_ends_the_driver(js_app: Path, flags: tuple[str, ...]) -> None:
    driver = started(js_app, *flags)
    with pytest.raises(Refused, match=r"LeftOrigin.*127.0.0.1:9"):
        driver.ask("leave", url="http://127.0.0.1:9/elsewhere")
    with pytest.raises(AssertionError, match=r"left its origin"):
        driver.end()
