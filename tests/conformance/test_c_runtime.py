"""The C runtime against the Python one: the same answers, and the same refusals by the same names; under the address
and undefined-behaviour sanitizers, once under valgrind, once as a program for another architecture.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from fixtures import bundles, c_runtime
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.targets.adb.engine import kit
from edgekit.targets.adb.storage import of_files
from edgekit.targets.preparing import store

pytestmark = pytest.mark.engines

SCENARIO = Path(__file__).with_name("c") / "scenario.c"
IDS = [1, *(3 + byte for byte in b"Axyz")]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `probe` and `scenario`, sanitized, and `probe-plain`."""
    folder = tmp_path_factory.mktemp("c")
    c_runtime.compile_c(folder / "probe", c_runtime.SOURCES / "probe.c", flags=c_runtime.SANITIZED)
    c_runtime.compile_c(folder / "scenario", SCENARIO, flags=c_runtime.SANITIZED)
    c_runtime.compile_c(folder / "probe-plain", c_runtime.SOURCES / "probe.c")
    return folder


def int8_encoder(folder: Path) -> Path:
    """A projection of the mean word vector, its weights and products in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    bundle = bundles.classifier_bundle(folder, labels=[str(index) for index in range(8)])
    model = bundle / "onnx" / "model.onnx"
    quantize_dynamic(model, model.with_name("int8.onnx"), weight_type=QuantType.QInt8, per_channel=True)
    model.with_name("int8.onnx").replace(model)
    embedding = {"pooling": "mean", "normalize": False, "width": 8}
    return bundles.reseal(bundle, task="embedding", kind="embedding", labels=[], embedding=embedding)


def pixels() -> dict[str, Any]:
    return {"pixel_values": np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)}


@pytest.mark.parametrize("make", [int8_encoder, bundles.classifier_bundle, bundles.embedding_bundle])
def test_a_text_model_answers_as_in_python(tmp_path: Path, programs: Path, make: Callable[[Path], Path]) -> None:
    bundle = make(tmp_path / "b")
    with rt.open(bundle, threads=1) as session:
        asked = [session.encode(text) for text in ("the sky is blue", "red")]
        expected = [session.run(each) for each in asked]
    ran = c_runtime.ask([programs / "probe"], tmp_path / "w", bundle, "onnxruntime", asked)
    assert (ran.returncode, ran.stderr) == (0, "")
    for number, one in enumerate(expected):
        found = c_runtime.outputs(tmp_path / "w", number)
        assert found.keys() == one.keys()
        for name in one:
            assert np.array_equal(found[name], one[name])


def test_an_image_model_answers_as_in_python(tmp_path: Path, programs: Path) -> None:
    bundle = bundles.image_bundle(tmp_path / "b")
    with rt.open(bundle, threads=1) as session:
        expected = session.run(pixels())
    ran = c_runtime.ask([programs / "probe"], tmp_path / "w", bundle, "onnxruntime", [pixels()])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert np.array_equal(c_runtime.outputs(tmp_path / "w", 0)["logits"], expected["logits"])


def test_a_language_model_answers_as_in_python(tmp_path: Path, programs: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    long = [1 + (index * 7) % 250 for index in range(200)]  # more than one batch, and many rounds of output rows
    ran = c_runtime.ask([programs / "probe"], tmp_path / "w", bundle, "llama.cpp", [IDS, long])
    assert (ran.returncode, ran.stderr) == (0, "")
    with rt.open(bundle, threads=1) as session:
        for number, ids in enumerate([IDS, long]):
            assert np.array_equal(np.load(tmp_path / "w" / f"answer-{number}.npy"), session.logits(ids))


def test_what_is_timed(tmp_path: Path, programs: Path) -> None:
    bundle = bundles.image_bundle(tmp_path / "b")
    np.save(tmp_path / "x.npy", pixels()["pixel_values"])
    latency = {"tensors": {"pixel_values": "../x.npy"}}
    ran = c_runtime.ask(
        [programs / "probe"], tmp_path / "w", bundle, "onnxruntime", [], latency=latency, longest=latency,
        baseline={"model_file": str(bundle / "onnx" / "model.onnx")},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    result = json.loads((tmp_path / "w" / "result.json").read_bytes())
    assert len(result["latency_ms"]) == len(result["paired_latency_ms"]) == len(result["baseline_latency_ms"]) == 5
    for rank in (50, 90, 99):
        assert result[f"p{rank}_ms"] == pytest.approx(np.percentile(result["latency_ms"], rank))
    assert 2**20 < result["anonymous_bytes"] < result["peak_rss_bytes"]
    manifest = json.loads((bundle / "edgekit.json").read_bytes())
    assert result["model_sha256"] == next(
        file["sha256"] for file in manifest["files"] if file["path"] == manifest["model_file"]
    )


def test_the_machine_is_told_as_in_python(tmp_path: Path, programs: Path) -> None:
    from edgekit_runtime import _machine

    bundle = bundles.chain_bundle(tmp_path / "b")
    ran = c_runtime.ask(
        [programs / "probe"], tmp_path / "w", bundle, "llama.cpp", [], latency={"ids": IDS, "decode_tokens": 9}
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    result = json.loads((tmp_path / "w" / "result.json").read_bytes())
    assert len(result["ttft_samples_ms"]) == 3
    assert len(result["decode_ms"]) == 3 * 8
    assert result["decode_tokens_per_s"] == pytest.approx(1000 / np.median(result["decode_ms"]))
    assert result["arch"] == _machine.arch()
    assert set(result["isa"]) == set(_machine.isa_features() or ()) & _machine.INSTRUCTION_SETS
    assert result["cores"] == _machine.physical_cores()
    assert result["cpu_parts"] == _machine.cpu_parts()
    assert result["cpu"] == _machine.cpu_model()
    assert result["ram_total_bytes"] == _machine.ram_total_bytes()


@pytest.mark.parametrize("engine", ["onnxruntime", "llama.cpp"])
def test_valgrind_has_nothing_to_say(tmp_path: Path, programs: Path, engine: str) -> None:
    suppressions = Path(c_runtime.__file__).with_name("valgrind.supp")
    command = ["valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99", f"--suppressions={suppressions}"]
    if engine == "onnxruntime":
        bundle, asked = bundles.tensor_bundle(tmp_path / "b"), [{"x": np.ones((3, 4), np.float32)}]
    else:
        bundle, asked = bundles.chain_bundle(tmp_path / "b"), [IDS]
    ran = c_runtime.ask([*command, programs / "probe-plain"], tmp_path / "w", bundle, engine, asked)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(list((tmp_path / "w").glob("answer-0*.npy"))) == 1


def _scenario(programs: Path, name: str, bundle: Path, engine: str = "onnxruntime") -> list[tuple[str, str]]:
    ran = c_runtime.run_c([programs / "scenario", name, bundle, c_runtime.engine_library(engine)])
    assert ran.returncode == 0, ran.stderr
    found = [tuple(line.split(maxsplit=1)) for line in ran.stdout.splitlines()]
    return [(step, told) for step, told in found]


def test_inputs_that_do_not_fit_and_a_closed_session(tmp_path: Path, programs: Path) -> None:
    wrong = [(step, "BadInput") for step in ("name", "dtype", "axis", "bytes", "negative", "twice", "none")]
    assert _scenario(programs, "inputs", bundles.tensor_bundle(tmp_path / "b")) == [
        ("open", "OK"), ("right", "OK"), *wrong, ("logits", "WrongTask"), ("again", "OK"), ("y", "2 8 1"),
        ("closed", "Closed"),
    ]  # fmt: skip


def test_a_language_models_refusals(tmp_path: Path, programs: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    assert _scenario(programs, "language", bundle, "llama.cpp") == [
        ("open", "OK"), ("logits", "OK"), ("room", "BadInput"), ("long", "PromptTooLong"), ("nothing", "BadInput"),
        ("id", "BadInput"), ("negative", "BadInput"), ("greedy", "OK"), ("zero", "BadInput"),
        ("answer", "PromptTooLong"), ("cancel", "Cancelled"), ("stop", "Cancelled"), ("run", "WrongTask"),
        ("embed", "WrongTask"),
    ]  # fmt: skip


def test_a_call_is_cancelled_from_another_thread(tmp_path: Path, programs: Path) -> None:
    steps = _scenario(programs, "cancel", bundles.endless_bundle(tmp_path / "b"))
    assert steps == [("open", "OK"), ("other", "Busy"), ("ended", "Cancelled"), ("after", "BadInput")]


def test_a_session_is_closed_while_it_runs(tmp_path: Path, programs: Path) -> None:
    steps = _scenario(programs, "close", bundles.endless_bundle(tmp_path / "b"))
    assert steps == [("open", "OK"), ("other", "Busy"), ("ended", "Cancelled"), ("after", "Closed")]


def test_what_is_refused_before_an_engine_is_opened(tmp_path: Path, programs: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    assert _scenario(programs, "budget", bundle) == [("open", "MemoryBudget")]
    assert _scenario(programs, "threads", bundle) == [("open", "BadInput")]
    for feature, told in (("quantum", "UnsupportedDevice"), ("sse4_2", "OK")):
        bundles.reseal(bundle, min_isa={"x86_64": [feature], "aarch64": [feature.replace("sse4_2", "neon")]})
        assert _scenario(programs, "open", bundle) == [("open", told)]


def test_the_engine_is_missing_or_another(tmp_path: Path, programs: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    for library, words in (
        (tmp_path / "no.so", "cannot be opened"),
        (c_runtime.engine_library("llama.cpp"), "not ONNX"),
    ):
        ran = c_runtime.run_c([programs / "scenario", "open", bundle, library])
        assert ran.stdout == "open LoadFailed\n"
        assert words in ran.stderr


def test_info_is_the_manifest_with_what_was_found(tmp_path: Path, programs: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b", name='a "name" of\nmine é')
    ran = c_runtime.run_c([programs / "scenario", "info", bundle, c_runtime.engine_library("onnxruntime")])
    info = json.loads(ran.stdout.partition("\n")[2])
    with rt.open(bundle, threads=1) as session:
        assert info == session.info


@pytest.mark.parametrize("engine", ["onnxruntime", "llama.cpp"])
def test_a_program_for_arm_answers_alike(tmp_path: Path, engine: str) -> None:
    """With the libraries that `edgekit targets prepare aarch64 --engine all` made, by the emulator beside them."""
    onnx = engine == "onnxruntime"
    bundle = int8_encoder(tmp_path / "b") if onnx else bundles.chain_bundle(tmp_path / "b")
    with rt.open(bundle, threads=1) as session:
        asked: Any = session.encode("the sky is blue") if onnx else IDS
        expected = session.run(asked)["logits"] if onnx else session.logits(asked)
    parts = kit("aarch64", engine, tmp_path)
    with of_files("kit", parts.files).laid_out() as folder:
        command = [store.home() / "qemu" / "qemu-aarch64", "-cpu", "cortex-a76", *parts.command(str(folder)).split()]
        ran = c_runtime.ask(
            command, tmp_path / "w", bundle, engine, [asked], engine_library=str(folder / parts.library)
        )
    assert ran.returncode == 0, ran.stderr
    result = json.loads((tmp_path / "w" / "result.json").read_bytes())
    assert result["arch"] == "aarch64"
    assert {"neon", "dotprod", "fp16"} <= set(result["isa"])
    found = c_runtime.outputs(tmp_path / "w", 0)["logits"] if onnx else np.load(tmp_path / "w" / "answer-0.npy")
    assert found == pytest.approx(expected, abs=1e-4)


def _written(text: bytes) -> Callable[[Path], object]:
    return lambda bundle: (bundle / "edgekit.json").write_bytes(text)


def _changed(**fields: Any) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        found = json.loads((bundle / "edgekit.json").read_bytes())
        (bundle / "edgekit.json").write_text(json.dumps(found | fields), encoding="utf-8")

    return change


def _entry(**fields: Any) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        found = json.loads((bundle / "edgekit.json").read_bytes())
        found["files"][0] |= fields
        (bundle / "edgekit.json").write_text(json.dumps(found), encoding="utf-8")

    return change


def _twins(path: str) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        found = json.loads((bundle / "edgekit.json").read_bytes())
        found["files"].append({**found["files"][0], "path": path})
        (bundle / "edgekit.json").write_text(json.dumps(found), encoding="utf-8")

    return change


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a changed byte": lambda bundle: (bundle / "onnx" / "model.onnx").write_bytes(b"weighTs"),
    "a truncated file": lambda bundle: (bundle / "onnx" / "model.onnx").write_bytes(b"weigh"),
    "a missing file": lambda bundle: (bundle / "config.json").unlink(),
    "an unlisted file": lambda bundle: (bundle / "onnx" / "more.bin").write_bytes(b""),
    "a linked file": lambda bundle: (bundle / "link").symlink_to("config.json"),
    "a linked manifest": lambda bundle: (
        (bundle / "edgekit.json").rename(bundle.parent / "m")
        and (bundle / "edgekit.json").symlink_to(bundle.parent / "m")
    ),
    "no manifest": lambda bundle: (bundle / "edgekit.json").unlink(),
    "a folder for a manifest": lambda bundle: (bundle / "edgekit.json").unlink() or (bundle / "edgekit.json").mkdir(),
    "a newer schema": _changed(schema_version=2),
    "a schema of no version": _changed(schema_version=1.0),
    "a huge schema version": _changed(schema_version=10**30),
    "an unknown task": _changed(task="mind-reading"),
    "an unknown engine": _changed(engine="abacus"),
    "a model that is not listed": _changed(model_file="other.onnx"),
    "no files": _changed(files=[]),
    "labels of no list": _changed(labels="positive"),
    "features of no list": _changed(min_isa={"x86_64": "avx2"}),
    "a climbing path": _entry(path="../config.json"),
    "a path that climbs inside": _entry(path="a/../../config.json"),
    "an absolute path": _entry(path="/etc/passwd"),
    "a path with a zero byte": _entry(path="a\0b"),
    "a path with a backslash": _entry(path="a\\b"),
    "a path with a drive": _entry(path="c:b"),
    "a path with a bell": _entry(path="a\x07b"),
    "a path that turns writing around": _entry(path="a\u202eb"),
    "an empty path": _entry(path=""),
    "a path of dots": _entry(path="./a"),
    "a long path": _entry(path="a" * 513),
    "the manifest itself": _entry(path="edgekit.json"),
    "a size below zero": _entry(size_bytes=-1),
    "a size of no number": _entry(size_bytes=True),
    "a hash of other letters": _entry(sha256="Z" * 64),
    "twins": _twins("config.json"),
    "twins but for case": _twins("CONFIG.json"),
    "nothing": _written(b""),
    "a beginning": _written(b'{"schema_version": 1'),
    "a list": _written(b"[]"),
    "an oversized manifest": _written(b" " * (8 * 2**20 + 1)),
    "a deep manifest": _written(b'{"a":' * 100_000),
    "deep lists": _written(b"[" * 100_000),
    "many values": _written(b"[" + b"0," * 1_000_000 + b"0]"),
    "another encoding": _written('{"schema_version": 1}'.encode("utf-16")),
    "bytes of no encoding": _written(b'{"name": "\xff"}'),
    "an overlong encoding": _written(b'{"name": "\xc0\xaf"}'),
    "a byte order mark": _written(b"\xef\xbb\xbf{}"),
    "a key twice": _written(b'{"schema_version": 1, "schema_version": 1}'),
    "no number": _written(b'{"schema_version": NaN}'),
    "a number without end": _written(b'{"schema_version": ' + b"9" * 5000 + b"}"),
    "a number that starts with zero": _written(b'{"schema_version": 01}'),
    "half a pair": _written(b'{"schema_version": 1, "name": "\\ud800"}'),
    "an unfinished escape": _written(b'{"a": "\\u12'),
    "an unknown escape": _written(b'{"a": "\\x41"}'),
    "a tab in a string": _written(b'{"a": "\t"}'),
    "something behind the end": _written(b"{} {}"),
    "a missing comma": _written(b'{"a": 1 "b": 2}'),
    "a comma too many": _written(b'{"a": 1,}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundles_are_refused_by_the_name_that_python_gives(tmp_path: Path, programs: Path, name: str) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    HOSTILE[name](bundle)
    with pytest.raises(rt.BundleInvalid):
        rt.open(bundle)
    ran = c_runtime.ask([programs / "probe"], tmp_path / "w", bundle, "onnxruntime", [])
    told = json.loads(ran.stderr)
    assert (ran.returncode, told["error"]) == (1, "BundleInvalid")
    assert 0 < len(told["message"]) < 512
    assert not (tmp_path / "w" / "result.json").exists()


@settings(max_examples=60, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["", "0", '"', "\\", "{", "]", ",", "é", "\x1f", "\ud800"])),
        min_size=1,
        max_size=3,
    )
)
def test_both_runtimes_refuse_the_same_manifests(
    tmp_path_factory: pytest.TempPathFactory, programs: Path, edits: list[tuple[int, str]]
) -> None:
    """A sound manifest with characters replaced anywhere."""
    work = tmp_path_factory.mktemp("manifest")
    bundle = bundles.plain_bundle(work / "b", provenance={}, plan={})
    text = (bundle / "edgekit.json").read_text(encoding="utf-8")
    for place, replacement in edits:
        at = place % len(text)
        text = text[:at] + replacement + text[at + 1 :]
    (bundle / "edgekit.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(rt.RuntimeFailure) as caught:
        rt.open(bundle)  # if nothing else, its weights are none
    ran = c_runtime.ask([programs / "probe"], work / "w", bundle, "onnxruntime", [])
    assert json.loads(ran.stderr)["error"] == caught.value.code


def test_the_header_is_plain_c_for_cpp_too() -> None:
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++"]
    done = c_runtime.run_c([*command, c_runtime.SOURCES / "edgekit.h"])
    assert (done.returncode, done.stderr) == (0, "")
