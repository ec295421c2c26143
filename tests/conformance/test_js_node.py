"""The JavaScript runtime in Node, on hand-made bundles and against the Python runtime; the suite of all languages is in
test_wrappers."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import _machine, goldens
from fixtures import bundles, js_runtime, tiny_tokenizers
from fixtures.wrappers import Driver, Refused, array, tensor
from PIL import Image
from tokenizers import Tokenizer

pytestmark = pytest.mark.engines

PROGRAMS = Path(__file__).parent / "js"
TIMEOUT_S = 120
AWKWARD = (
    "",
    " ",
    "[SEP] red[PAD] the",
    "Ångström e\u0301 ÀÉ ﬁ ǅ ŉ İ ß ẞ ΣΑΣ",
    "日本語と한국어 𠀀𪛖 हिन्दी العربية",
    "a\u200bb\u200d\u00adc\u3000d\u00a0e\u2028f\tg\nh\x00i\x7f\x85",
    "👩‍🚀🌍🇩🇪 don't I'll we've",
    "<s> </s> <unk> <|im_start|>user <mask> <pad>",
    "3,14 € (50 %) 1234567 x!=y&&z ____ ....",
    "word " * 40,
    "x" * 150,
)


def _run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options)


def _answer(program: str, app: Path, question: Any) -> Any:
    done = _run(["node", PROGRAMS / program, app], input=json.dumps(question))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _node(code: str, app: Path) -> subprocess.CompletedProcess[str]:
    return _run(["node", "--input-type=module", "-e", code], cwd=app)


def _with_goldens(folder: Path, cases: Any) -> Path:
    (folder / "golden.json").write_text(json.dumps(goldens.document(cases)), encoding="utf-8")
    return bundles.reseal(folder)


def _golden_bundles(folder: Path) -> None:
    chat = bundles.chain_bundle(folder / "chat-goldens")
    given = {"text": bundles.CHAIN[:2], "ids": [1, 68], "messages": [{"role": "user", "content": "A"}]}
    with rt.open(chat, threads=1) as session:
        cases = [goldens.make_case(session, one, name) for name, one in given.items()]
    _with_goldens(chat, cases)
    plain = bundles.embedding_bundle(folder / "wrong-goldens")
    with rt.open(plain, threads=1) as session:
        right, wrong, other = (goldens.make_case(session, "red sky", name) for name in "bac")
    wrong["expected"]["values"] = [-one for one in wrong["expected"]["values"]]
    wrong["expected"]["token_ids"][1] += 1
    other["expected"]["values"] = other["expected"]["values"][:-1]
    del other["expected"]["token_ids"]
    _with_goldens(plain, [wrong, right, other])
    x = {"dtype": "float32", "shape": [1, 4], "data": [1, 2, 3]}
    malformed: list[dict[str, Any]] = [
        right | {"expected": right["expected"] | {"kind": "logits"}},
        right | {"expected": right["expected"] | {"values": "none"}},
        right | {"input": {"ids": [1]}},
        right | {"tolerance": {"metric": "guess", "default": 1}},
        right | {"input": {"tensors": {"input_ids": x, "attention_mask": x}}},
    ]
    for index, case in enumerate(malformed):
        _with_goldens(bundles.embedding_bundle(folder / f"malformed-{index}"), [case])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hand-made bundles, by name."""
    folder = tmp_path_factory.mktemp("bundles")
    memory = {"file_bytes": 1, "anonymous_bytes": None, "kv_bytes": 0, "peak_rss_bytes": None, "measured_on": None}
    machine = {"x86_64": ["warp9"], "aarch64": ["warp9"]}
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    bundles.embedding_bundle(folder / "embedding")
    bundles.embedding_bundle(folder / "unmeasured", memory=memory)
    bundles.embedding_bundle(folder / "demanding", min_isa=machine)
    bundles.embedding_bundle(folder / "one-core", device={"name": "d", "threads": 1})
    bundles.embedding_bundle(folder / "many-cores", device={"name": "d", "threads": 4096})
    bundles.classifier_bundle(folder / "classifier")
    bundles.classifier_bundle(folder / "several", problem_type="multi_label_classification")
    bundles.tagger_bundle(folder / "tagger")
    bundles.image_bundle(folder / "image")
    bundles.tensor_bundle(folder / "tensor")
    bundles.chain_bundle(folder / "chain")
    bundles.chain_bundle(folder / "base", template=None)
    bundles.chain_bundle(folder / "strict", template=refusing + bundles.CHAT_TEMPLATE)
    bundles.plain_bundle(folder / "plain")
    _golden_bundles(folder)
    return folder


@pytest.fixture(scope="module")
def driver(js_app: Path) -> Iterator[Driver]:
    driver = Driver(["node", js_runtime.DRIVER, js_app])
    yield driver
    driver.end()


def test_the_surface(js_app: Path, made: Path) -> None:
    environment = {**os.environ, "APP": str(js_app), "BUNDLES": str(made)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # the runtime sets it
    done = _run(["node", "--test", PROGRAMS / "surface.test.mjs"], env=environment)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.parametrize("text", ["the sky is blue", "", "RED foo [SEP] sky", "red sky " * 20])
def test_texts_become_what_they_become_in_python(driver: Driver, made: Path, text: str) -> None:
    for name in ("embedding", "classifier", "several", "tagger"):
        driver.ask("open", bundle=str(made / name), threads=1)
        with rt.open(made / name, threads=1) as session:
            assert driver.ask("tokenize", text=text) == session.tokenize(text)
            if name == "embedding":
                assert driver.ask("embed", text=text) == pytest.approx(session.embed(text)[0], abs=1e-6)
                continue
            found, want = driver.ask("classify", text=text, pair=None), session.classify(text)[0]
            for key in ("label", "word", "start", "end"):
                assert [one.get(key) for one in found] == [one.get(key) for one in want]
            assert [one["score"] for one in found] == pytest.approx([one["score"] for one in want], abs=1e-6)


@pytest.mark.parametrize("pair", [("red", ""), ("red sky " * 6, "the grass " * 2), ("red", "sky " * 30), ("", "")])
def test_pairs_are_cut_as_in_python(driver: Driver, made: Path, pair: tuple[str, str]) -> None:
    driver.ask("open", bundle=str(made / "classifier"), threads=1)
    with rt.open(made / "classifier", threads=1) as session:
        found, want = driver.ask("classify", text=pair[0], pair=pair[1]), session.classify([pair])[0]
    assert [one["label"] for one in found] == [one["label"] for one in want]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in want], abs=1e-6)


@pytest.mark.parametrize("shape", [(4, 4, 3), (7, 9, 3), (1, 1, 3), (3, 200, 3)])
@pytest.mark.parametrize("shortest_edge", [None, 3, 6])
def test_pictures_become_what_they_become_in_python(
    driver: Driver, tmp_path: Path, shape: tuple[int, ...], shortest_edge: int | None
) -> None:
    bundle = bundles.image_bundle(tmp_path / "image")
    image = json.loads((bundle / "edgekit.json").read_bytes())["image"]
    bundles.reseal(bundle, image=image | {"shortest_edge": shortest_edge, "resample": 3})
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    driver.ask("open", bundle=str(bundle), threads=1)
    found = driver.ask("classify_pixels", picture=tensor(picture))
    with rt.open(bundle, threads=1) as session:
        want = session.classify(picture)[0]
    assert [one["label"] for one in found] == [one["label"] for one in want]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in want], abs=1e-6)


def test_tensors_of_any_shape_and_byte_go_there_and_back(driver: Driver, made: Path) -> None:
    driver.ask("open", bundle=str(made / "tensor"), threads=1)
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    assert array(driver.ask("run", inputs={"x": tensor(x)})["y"]) == pytest.approx(2 * x)
    assert array(driver.ask("run", inputs={"x": tensor(x[:0])})["y"]).shape == (0, 4)
    with pytest.raises(Refused) as caught:
        driver.ask("run", inputs={"x": tensor(x.reshape(4, 5))})
    assert caught.value.name == "BadInput"


def test_resizing_is_pillows_to_the_bit(js_app: Path) -> None:
    generator = np.random.default_rng(2)
    questions, wanted = [], []
    for resample in [one for one in Image.Resampling if one <= 5]:  # what image processors name
        for _ in range(25):
            height, width, *to = (int(one) for one in generator.integers(1, 60, 4))
            picture = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
            picture[:, : width // 2] = generator.choice([0, 255])  # edges make the filters overshoot
            data = base64.b64encode(picture.tobytes()).decode()
            question = {"data": data, "width": width, "height": height, "to": to, "filter": int(resample)}
            questions.append(question)
            wanted.append(Image.fromarray(picture).resize(to, resample).tobytes())
    for question, want, found in zip(questions, wanted, _answer("resize.mjs", js_app, questions), strict=True):
        assert base64.b64decode(found) == want, question


def _texts(count: int) -> list[str]:
    """Random texts of characters that every Unicode since 3.2 has: libraries differ in how new theirs is."""
    generator = random.Random(7)
    old = [
        chr(code)
        for code in range(sys.maxunicode)
        if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs", "Co")
    ]
    ranges = [old[:95], old[95:1000], old]
    pick = [generator.choices(ranges, weights=(5, 3, 2), k=generator.randint(1, 14)) for _ in range(count)]
    return ["".join(generator.choice(letters) for letters in one) for one in pick]


STYLES = ("wordpiece", "cased", "llama3", "qwen2", "gpt2", "smollm", "roberta", "llama", "gemma")


@pytest.mark.parametrize("style", STYLES)
def test_the_ids_are_those_of_the_tokenizers_library(js_app: Path, tmp_path: Path, style: str) -> None:
    if style in ("wordpiece", "cased"):
        tiny_tokenizers.wordpiece(tmp_path, lowercase=style == "wordpiece")
    elif style in ("llama", "gemma"):
        tiny_tokenizers.sentencepiece_bpe(tmp_path, style)
    else:
        tiny_tokenizers.byte_level(tmp_path, style)
    path, most = tmp_path / "tokenizer.json", 16
    library = Tokenizer.from_file(str(path))
    library.no_padding()
    texts: list[Any] = [*AWKWARD, *_texts(400)]
    pairs = [list(pair) for pair in zip(texts[:60], texts[5:65], strict=True)]
    in_words = style not in ("llama", "gemma")  # no model that labels tokens has such a tokenizer
    asked = {"tokenizer": str(path), "max_tokens": most, "texts": [*(texts if in_words else []), *pairs]}
    told = _answer("tokenize.mjs", js_app, asked)
    library.no_truncation()
    plain = [library.encode(text, add_special_tokens=False) for text in texts]
    whole = [library.encode(text) for text in texts]
    library.enable_truncation(most)
    for one, text, bare, full in zip(told, texts if in_words else [], plain, whole, strict=False):
        cut = library.encode(text)
        assert one["ids"] == full.ids, ascii(text)
        assert one["cut"] == {"ids": cut.ids, "types": cut.type_ids}, ascii(text)
        assert one["windows"] == [cut.ids, *(piece.ids for piece in cut.overflowing)], ascii(text)
        assert one["places"] == _places(text, bare.offsets), ascii(text)
    for one, pair in zip(told[-len(pairs) :], pairs, strict=True):
        cut = library.encode(*pair)
        assert one["cut"] == {"ids": cut.ids, "types": cut.type_ids}, ascii(pair)


def _places(text: str, offsets: Any) -> list[list[int]]:
    """Characters' offsets, counted in UTF-16 units."""
    units = [0]
    for letter in text:
        units.append(units[-1] + (2 if ord(letter) > 0xFFFF else 1))
    return [[units[start], units[end]] for start, end in offsets]


def test_every_file_type_checks_and_so_does_a_program_in_typescript(js_app: Path, tmp_path: Path) -> None:
    compiler = js_app / "node_modules" / "typescript" / "bin" / "tsc"
    checked = tmp_path / "checked"
    shutil.copytree(js_app / "edgekit", checked)
    (checked / "node_modules").symlink_to(js_app / "node_modules")
    shutil.copyfile(js_runtime.SOURCES / "tsconfig.json", checked / "tsconfig.json")
    done = _run(["node", compiler, "-p", checked])
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "edgekit-runtime").symlink_to(checked)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copyfile(PROGRAMS / "consumer.ts", tmp_path / "consumer.ts")
    options = ["--strict", "--noEmit", "--lib", "es2022,esnext.disposable,dom"]
    done = _run(["node", compiler, *options, "--module", "nodenext", "--target", "es2022", "consumer.ts"], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_package_by_its_name_is_nodes_half_and_in_bundlers_the_browsers(js_app: Path, tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "edgekit-runtime").symlink_to(js_app / "edgekit", target_is_directory=True)
    code = "console.log(import.meta.resolve('edgekit-runtime'))"
    for condition, half in (("default", "node.js"), ("browser", "node.js")):
        done = _run(["node", "-C", condition, "--input-type=module", "-e", code], cwd=tmp_path)
        assert done.stdout.strip().endswith(half)
    exports = json.loads((js_app / "edgekit" / "package.json").read_bytes())["exports"]["."]
    assert list(exports) == ["types", "node", "default"]
    for target in exports.values():
        assert (js_app / "edgekit" / target).is_file()
    done = _node("import * as rt from './edgekit/node.js'; console.log(Object.keys(rt).sort().join())", js_app)
    assert done.stdout.split(",")[-3:] == ["WrongTask", "open", "verify\n"]


def test_a_missing_package_is_named_with_how_to_get_it(made: Path, tmp_path: Path) -> None:
    app = js_runtime.app(tmp_path / "bare")
    everything = (app / "node_modules").resolve()
    (app / "node_modules").unlink()
    code = f"""
        import {{ open, verify }} from './edgekit/index.js';
        console.log((await verify({str(made / "embedding")!r})).name);
        await open({str(made / "embedding")!r}).catch((error) => console.log(`${{error.name}}: ${{error.message}}`));
        await open({str(made / "plain")!r}, {{ memoryBudget: 1 }}).catch((error) => console.log(error.name));
    """
    done = _node(code, app)
    told = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert told[0] == "embedding"
    assert told[1].startswith("LoadFailed:")
    assert "npm install @huggingface/tokenizers @huggingface/jinja" in told[1]
    assert told[2] == "MemoryBudget"
    (app / "node_modules").mkdir()
    (app / "node_modules" / "@huggingface").symlink_to(everything / "@huggingface")
    told = _node(code, app).stdout.splitlines()
    assert told[1].startswith("LoadFailed: the engine cannot be imported")
    assert told[1].endswith("npm install onnxruntime-node@1.30.0")


def test_an_engine_of_another_version_is_refused(made: Path, tmp_path: Path) -> None:
    app = js_runtime.app(tmp_path / "old")
    everything = (app / "node_modules").resolve()
    (app / "node_modules").unlink()
    (app / "node_modules" / "onnxruntime-node").mkdir(parents=True)
    (app / "node_modules" / "@huggingface").symlink_to(everything / "@huggingface")
    engine = app / "node_modules" / "onnxruntime-node"
    code = (
        f"import {{ open }} from './edgekit/index.js';"
        f"await open({str(made / 'embedding')!r}).catch((error) => console.log(`${{error.name}}: ${{error.message}}`));"
    )
    for version in ("1.21.3", "2.0.0", "nightly"):
        (engine / "package.json").write_text('{"main": "index.js"}')
        stub = (
            f"exports.env = {{ versions: {{ node: {version!r} }} }}; exports.Tensor = exports.InferenceSession = null;"
        )
        (engine / "index.js").write_text(stub)
        told = _node(code, app).stdout
        assert told.startswith(f"LoadFailed: onnxruntime-node is version {version}, this runtime needs 1.22.0 or newer")
        assert told.strip().endswith("npm install onnxruntime-node@1.30.0")


def test_the_lock_names_no_host_and_the_versions_are_exact() -> None:
    lock = json.loads((js_runtime.SOURCES / "package-lock.json").read_bytes())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    package = json.loads((js_runtime.SOURCES / "package.json").read_bytes())
    assert all(version[0].isdigit() for version in package["devDependencies"].values())
    for name in package["peerDependencies"]:
        assert package["peerDependenciesMeta"][name] == {"optional": True}
        assert name in package["devDependencies"]


def test_the_cpus_features_and_cores_are_read_as_python_reads_them(js_app: Path) -> None:
    code = """
        import { arch, isaFeatures, usableCores } from './edgekit/machine-node.js';
        console.log(JSON.stringify([arch, [...isaFeatures()], usableCores()]));
    """
    arch, features, cores = json.loads(_node(code, js_app).stdout)
    assert arch == _machine.arch()
    assert frozenset(features) == _machine.isa_features()
    assert cores == _machine.physical_cores()
    board = "\n\n".join(
        f"processor : {core}\nFeatures : fp asimd {'asimddp ' if core else ''}fphp asimdhp\nCPU part : 0xd0b"
        for core in range(4)
    )
    threads = "\n\n".join(
        f"processor\t: {core}\nphysical id\t: 0\ncore id\t\t: {core // 2}\nflags\t\t: fpu avx2 fma" for core in range(4)
    )
    code = f"""
        import {{ countCores, isaFeatures }} from './edgekit/machine-node.js';
        const told = (text) => [[...isaFeatures(text)].sort(), countCores(text, new Set([0, 1, 2]))];
        console.log(JSON.stringify([{json.dumps(board)}, {json.dumps(threads)}].map(told)), isaFeatures(""));
    """
    told = _node(code, js_app).stdout
    assert json.loads(told.removesuffix(" null\n")) == [[["fp", "fp16", "neon"], 3], [["avx2", "fma", "fpu"], 2]]
    assert {"fp16", "neon"} <= (_machine.isa_features(board) or set())
    assert "dotprod" not in told
