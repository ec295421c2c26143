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

from edgekit.targets.adb.engine import kit
from edgekit.targets.adb.storage import of_files
from edgekit.targets.preparing import store

pytestmark = pytest.mark.engines

IDS = [1, *(3 + byte for byte in b"Axyz")]


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
def test_a_text_model_answers_as_in_python(tmp_path: Path, c_programs: Path, make: Callable[[Path], Path]) -> None:
    bundle = make(tmp_path / "b")
    with rt.open(bundle, threads=1) as session:
        asked = [session.encode(text) for text in ("the sky is blue", "red")]
        expected = [session.run(each) for each in asked]
    ran = c_runtime.ask([c_programs / "probe"], tmp_path / "w", bundle, "onnxruntime", asked)
    assert (ran.returncode, ran.stderr) == (0, "")
    for number, one in enumerate(expected):
        found = c_runtime.outputs(tmp_path / "w", number)
        assert found.keys() == one.keys()
        for name in one:
            assert np.array_equal(found[name], one[name])


def test_an_image_model_answers_as_in_python(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.image_bundle(tmp_path / "b")
    with rt.open(bundle, threads=1) as session:
        expected = session.run(pixels())
    ran = c_runtime.ask([c_programs / "probe"], tmp_path / "w", bundle, "onnxruntime", [pixels()])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert np.array_equal(c_runtime.outputs(tmp_path / "w", 0)["logits"], expected["logits"])


def test_a_language_model_answers_as_in_python(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    long = [1 + (index * 7) % 250 for index in range(200)]  # more than one batch, and many rounds of output rows
    ran = c_runtime.ask([c_programs / "probe"], tmp_path / "w", bundle, "llama.cpp", [IDS, long])
    assert (ran.returncode, ran.stderr) == (0, "")
    with rt.open(bundle, threads=1) as session:
        for number, ids in enumerate([IDS, long]):
            assert np.array_equal(np.load(tmp_path / "w" / f"answer-{number}.npy"), session.logits(ids))


def test_valgrind_has_nothing_to_say_of_the_probe(tmp_path: Path, c_programs: Path) -> None:
    suppressions = Path(c_runtime.__file__).with_name("valgrind.supp")
    command = ["valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99", f"--suppressions={suppressions}"]
    bundle = bundles.chain_bundle(tmp_path / "b")
    ran = c_runtime.ask([*command, c_programs / "probe-plain"], tmp_path / "w", bundle, "llama.cpp", [IDS])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(list((tmp_path / "w").glob("answer-0*.npy"))) == 1


def _scenario(c_programs: Path, name: str, bundle: Path, engine: str = "onnxruntime") -> list[tuple[str, str]]:
    ran = c_runtime.run_c([c_programs / "scenario", name, bundle, c_runtime.engine_library(engine)])
    assert ran.returncode == 0, ran.stderr
    found = [tuple(line.split(maxsplit=1)) for line in ran.stdout.splitlines()]
    return [(step, told) for step, told in found]


def test_inputs_that_do_not_fit_and_a_closed_session(tmp_path: Path, c_programs: Path) -> None:
    wrong = [(step, "BadInput") for step in ("name", "dtype", "axis", "bytes", "negative", "twice", "none")]
    assert _scenario(c_programs, "inputs", bundles.tensor_bundle(tmp_path / "b")) == [
        ("open", "OK"), ("right", "OK"), *wrong, ("logits", "WrongTask"), ("again", "OK"), ("y", "2 8 1"),
        ("closed", "Closed"),
    ]  # fmt: skip


def test_a_language_models_refusals(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    assert _scenario(c_programs, "language", bundle, "llama.cpp") == [
        ("open", "OK"), ("logits", "OK"), ("room", "BadInput"), ("long", "PromptTooLong"), ("nothing", "BadInput"),
        ("id", "BadInput"), ("negative", "BadInput"), ("greedy", "OK"), ("zero", "BadInput"),
        ("answer", "PromptTooLong"), ("cancel", "Cancelled"), ("stop", "Cancelled"), ("run", "WrongTask"),
        ("embed", "WrongTask"),
    ]  # fmt: skip


def test_a_call_is_cancelled_from_another_thread(tmp_path: Path, c_programs: Path) -> None:
    steps = _scenario(c_programs, "cancel", bundles.endless_bundle(tmp_path / "b"))
    assert steps == [("open", "OK"), ("other", "Busy"), ("ended", "Cancelled"), ("after", "BadInput")]


def test_a_session_is_closed_while_it_runs(tmp_path: Path, c_programs: Path) -> None:
    steps = _scenario(c_programs, "close", bundles.endless_bundle(tmp_path / "b"))
    assert steps == [("open", "OK"), ("other", "Busy"), ("ended", "Cancelled"), ("after", "Closed")]


def test_what_is_refused_before_an_engine_is_opened(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    assert _scenario(c_programs, "budget", bundle) == [("open", "MemoryBudget")]
    assert _scenario(c_programs, "threads", bundle) == [("open", "BadInput")]
    for feature, told in (("quantum", "UnsupportedDevice"), ("sse4_2", "OK")):
        bundles.reseal(bundle, min_isa={"x86_64": [feature], "aarch64": [feature.replace("sse4_2", "neon")]})
        assert _scenario(c_programs, "open", bundle) == [("open", told)]


def test_the_engine_is_missing_or_another(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b")
    for library, words in (
        (tmp_path / "no.so", "cannot be opened"),
        (c_runtime.engine_library("llama.cpp"), "not ONNX"),
    ):
        ran = c_runtime.run_c([c_programs / "scenario", "open", bundle, library])
        assert ran.stdout == "open LoadFailed\n"
        assert words in ran.stderr


def test_info_is_the_manifest_with_what_was_found(tmp_path: Path, c_programs: Path) -> None:
    bundle = bundles.tensor_bundle(tmp_path / "b", name='a "name" of\nmine é')
    ran = c_runtime.run_c([c_programs / "scenario", "info", bundle, c_runtime.engine_library("onnxruntime")])
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


def test_the_header_is_plain_c_for_cpp_too() -> None:
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++"]
    done = c_runtime.run_c([*command, c_runtime.SOURCES / "edgekit.h"])
    assert (done.returncode, done.stderr) == (0, "")
