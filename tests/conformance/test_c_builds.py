"""The C runtime where it is built otherwise: by CMake, as one file, for AArch64, for macOS; and what valgrind says."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, c_runtime
from fixtures.wrappers import Driver, Refused, array, tensor

from edgekit import runtimes
from edgekit.targets.adb.engine import kit
from edgekit.targets.adb.storage import of_files
from edgekit.targets.preparing import store

pytestmark = pytest.mark.engines

X = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
TAGGED = "The größer sky 日本 is blue, the grass green! " * 3
FORMAT = {
    "start": "",
    "no_system": "",
    "turns": {"user": {"before": "", "after": ""}},
    "answer": "",
    "strip": False,
}
PICTURE = {"dtype": "uint8", "shape": [2, 8, 3], "base64": "ABCD" * 16}
# How a bundle is made, what its golden is given, and what is asked of it.
BUNDLES: dict[str, tuple[Callable[[Path], Path], Any, list[dict[str, Any]]]] = {
    "picture": (
        bundles.image_bundle,
        {"pixel_values": X},
        [{"op": "run", "inputs": {"pixel_values": tensor(X)}}, {"op": "classify_pixels", "picture": PICTURE}],
    ),
    "words": (
        lambda to: c_runtime.word_pieces(bundles.tagger_bundle(to)),
        TAGGED,
        [{"op": "tokenize", "text": TAGGED}, {"op": "classify", "text": TAGGED}],
    ),
    "answer": (
        bundles.chain_bundle,
        "Aé🌍z" * 12,
        [
            {"op": "tokenize", "text": "Aé"},
            {"op": "generate", "prompt": "A", "stop": ["z!"]},
            {"op": "generate", "prompt": "A", "temperature": 0.1, "top_p": 0.9, "seed": 1},
            {"op": "chat", "messages": [{"role": "user", "content": "A"}], "max_tokens": 9},
        ],
    ),
}


def _bundle(folder: Path, kind: str) -> tuple[Path, str]:
    """With a golden; the decoder chats. And its engine."""
    make, given, _ = BUNDLES[kind]
    bundle = make(folder)
    with rt.open(bundle, threads=1) as session:
        case = goldens.make_case(session, given, "first")
    (bundle / "golden.json").write_text(json.dumps(goldens.document([case])), encoding="utf-8")
    manifest = json.loads((bundle / "edgekit.json").read_bytes())
    generation = manifest["generation"]
    bundles.reseal(bundle, generation=generation and generation | {"chat_format": FORMAT})
    return bundle, manifest["engine"]


def _answers(driver: Driver, packed: dict[str, Path], library: Path) -> list[Any]:
    """Of every question of those kinds; the goldens pass, and the driver ends without a word."""
    found = []
    for kind, bundle in packed.items():
        driver.ask("open", bundle=str(bundle), engine_library=str(library), threads=1)
        found += [driver.ask(**each) for each in BUNDLES[kind][2]]
        for result in driver.ask("self_test"):
            assert result["passed"], result
            assert abs(result["difference"]) < 1e-3
    driver.ask("close")
    assert driver.end() == ""
    return found


def test_a_missing_engine_is_told_by_the_names_that_were_looked_for_here(tmp_path: Path, c_programs: Path) -> None:
    driver, bundle = Driver([c_programs / "driver-plain"]), bundles.tensor_bundle(tmp_path / "b")
    with pytest.raises(Refused) as caught:
        driver.ask("open", bundle=str(bundle), engine_library=None, threads=1)
    assert caught.value.name == "LoadFailed"
    suffixes = ("{}.so.1", "{}.so") if sys.platform == "linux" else ("{}.1.dylib", "{}.dylib")
    looked = ", ".join(each.format("libonnxruntime") for each in suffixes)
    assert f"(looked for {looked}; " in caught.value.message
    assert caught.value.message.endswith("install ONNX Runtime, or name its library in engine_library")


@pytest.mark.parametrize(("engine", "kinds"), [("onnxruntime", ["picture", "words"]), ("llama.cpp", ["answer"])])
def test_valgrind_has_nothing_to_say_of_any_call(
    tmp_path: Path, c_programs: Path, engine: str, kinds: list[str]
) -> None:
    suppressions = Path(c_runtime.__file__).with_name("valgrind.supp")
    command = ["valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99", f"--suppressions={suppressions}"]
    packed, library = {kind: _bundle(tmp_path / kind, kind)[0] for kind in kinds}, c_runtime.engine_library(engine)
    plain = _answers(Driver([c_programs / "driver-plain"]), packed, library)
    assert _answers(Driver([*command, c_programs / "driver-plain"]), packed, library) == plain


@pytest.fixture(scope="module")
def arm_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    driver = c_runtime.TESTS / "drivers" / "driver.c"
    return c_runtime.compile_c(tmp_path_factory.mktemp("arm") / "driver", driver, compiler="aarch64-linux-gnu-gcc")


@pytest.mark.parametrize("kind", BUNDLES)
def test_a_program_for_arm_replays_the_goldens(tmp_path: Path, c_programs: Path, arm_driver: Path, kind: str) -> None:
    """With the libraries that `edgekit targets prepare aarch64 --engine all` made, by the emulator beside them."""
    bundle, engine = _bundle(tmp_path / "b", kind)
    expected = _answers(Driver([c_programs / "driver-plain"]), {kind: bundle}, c_runtime.engine_library(engine))
    parts = kit("aarch64", engine, tmp_path)
    with of_files("kit", {**parts.files, "driver": arm_driver}).laid_out() as folder:
        loader = [folder / parts.loader, "--library-path", folder, folder / "driver"]
        emulated = Driver([store.home() / "qemu" / "qemu-aarch64", "-cpu", "cortex-a76", *loader])
        found = _answers(emulated, {kind: bundle}, folder / parts.library)
    assert _rounded(found) == _rounded(expected)


def _rounded(answer: Any) -> Any:
    """Scores to four digits; tensors likewise."""
    if isinstance(answer, dict) and "base64" in answer:
        return np.round(array(answer), 4).tolist()
    if isinstance(answer, dict):
        return {key: _rounded(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_rounded(value) for value in answer]
    return round(answer, 4) if isinstance(answer, float) else answer


def test_the_sources_compile_for_a_mac_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-macos"]
    for source in ("edgekit.c", "example.c"):
        to = tmp_path / f"{source}.o"
        done = subprocess.run(
            [*command, *c_runtime.STRICT, "-c", source, "-o", str(to)],
            cwd=c_runtime.SOURCES,
            env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig"), "ZIG_LOCAL_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        magic, cpu = struct.unpack("<II", to.read_bytes()[:8])
        assert (magic, cpu) == (0xFEEDFACF, 0x0100000C)  # Mach-O of 64 bits, ARM
    symbols = (tmp_path / "edgekit.c.o").read_bytes()
    assert b"_dlopen\0" in symbols
    assert b"_edgekit_self_test\0" in symbols
    assert not any(name in symbols for name in (b"\0_OrtGetApiBase\0", b"\0_llama_decode\0"))  # nothing is linked


@pytest.mark.parametrize("form", ["checkout", "one file"])
def test_cmake_builds_the_library_and_an_app_of_forty_lines(tmp_path: Path, form: str) -> None:
    sources = c_runtime.SOURCES
    if form == "one file":
        sources = tmp_path / "c"
        runtimes.assemble("c", sources)
        assert not (sources / "parts").exists()
    assert len((sources / "example.c").read_text(encoding="utf-8").splitlines()) <= 40
    build = tmp_path / "build"
    for command in (
        ["cmake", "-S", sources, "-B", build, "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror"],
        ["cmake", "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (build / "edgekit-probe").exists() == (form == "checkout")
    example = build / "edgekit-example"
    chain, engine = _bundle(tmp_path / "chain", "answer")
    told = c_runtime.run_c([example, chain, c_runtime.engine_library(engine), "A"])
    assert (told.returncode, told.stdout, told.stderr) == (0, "é🌍z!\n", "")
    vectors = c_runtime.word_pieces(bundles.embedding_bundle(tmp_path / "vectors"))
    told = c_runtime.run_c([example, vectors, c_runtime.engine_library("onnxruntime"), "the sky is blue"])
    assert (told.returncode, told.stderr) == (0, "")
    with rt.open(vectors, threads=1) as session:
        expected = session.embed("the sky is blue")[0]
    assert [float(word) for word in told.stdout.split()] == pytest.approx(expected, abs=1e-4)
    told = c_runtime.run_c([example, tmp_path, "libonnxruntime.so", "A"])
    assert (told.returncode, told.stderr) == (1, f"BundleInvalid: {tmp_path} holds no edgekit.json: not a bundle\n")
    assert c_runtime.run_c([example]).returncode == 2
