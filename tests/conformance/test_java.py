"""What the Java runtime has beyond the suite of all languages: types, threads, listeners, its native part."""

from __future__ import annotations

import base64
import math
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import edgekit_runtime as rt
import pytest
from fixtures import bundles, c_runtime, java_runtime
from fixtures.wrappers import Driver, Refused
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.engines

ONNX, LLAMA = "onnxruntime", "llama.cpp"


def scenario(built: Path, name: str, bundle: Path, engine: str = ONNX, *, options: tuple[str, ...] = ()) -> list[str]:
    arguments = (name, bundle, c_runtime.engine_library(engine))
    ran = java_runtime.run_java(java_runtime.command(built, "Scenario", *arguments, options=options))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture(scope="module")
def inside(java_programs: Path) -> Iterator[Driver]:
    driver = Driver(java_runtime.command(java_programs, "dev.edgekit.Inside"))
    yield driver
    driver.end()


def test_tensors_that_fit_and_that_do_not(java_programs: Path, tmp_path: Path) -> None:
    told = scenario(java_programs, "inputs", bundles.tensor_bundle(tmp_path / "b"), options=("-Xcheck:jni",))
    right = [f"{name} OK" for name in ("right", "heap", "slice", "none")]
    wrong = [
        f"{name} BadInput"
        for name in (
            "name", "dtype", "axis", "rank", "axes", "bytes", "negative", "overflow", "missing", "null", "nothing",
            "nameless", "zero", "surrogate", "read", "label",
        )
    ]  # fmt: skip
    assert told == [*right, *wrong, "output OK", "y [2.0, 4.0, 6.0, 8.0]"]


def test_threads_meet_at_one_session(java_programs: Path, tmp_path: Path) -> None:
    told = scenario(java_programs, "threads", bundles.endless_bundle(tmp_path / "b"), options=("-Xcheck:jni",))
    assert told == [
        "cancel nothing OK", "other Busy", "close Busy", "info OK", "ended Cancelled", "again BadInput", "close OK",
        "close OK", "cancel OK", "info OK", "after Closed", "self-test Closed", "text Closed",
    ]  # fmt: skip


def test_no_cancel_is_lost(java_programs: Path, tmp_path: Path) -> None:
    assert scenario(java_programs, "early", bundles.endless_bundle(tmp_path / "b")) == ["{Cancelled=200}"]


def test_what_a_listener_does(java_programs: Path, tmp_path: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b")
    assert scenario(java_programs, "listeners", bundle, LLAMA, options=("-Xcheck:jni",)) == [
        "throws java.lang.IllegalStateException: mine", "overflows java.io.IOException: deep", "asks Busy",
        "closes Busy", "reads OK", "cancels Cancelled", "cancels and throws java.lang.IllegalStateException: mine",
        "without OK", "same true",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "engine"),
    [
        ("runs", bundles.tensor_bundle, ONNX),
        ("answers", bundles.chain_bundle, LLAMA),
        ("refusals", bundles.tensor_bundle, ONNX),
    ],
)
def test_a_thousand_calls_leave_nothing_behind(
    java_programs: Path, tmp_path: Path, name: str, make: object, engine: str
) -> None:
    assert callable(make)
    (told,) = scenario(java_programs, name, make(tmp_path / "b"), engine, options=("-Xmx24m",))
    assert int(told.removeprefix("grew ")) < 6 * 2**20


def test_whole_characters_come_out_of_split_tokens(java_programs: Path, tmp_path: Path) -> None:
    """CHAIN's characters are two to four tokens each, and the emoji is a pair of chars in Java."""
    bundle = bundles.chain_bundle(tmp_path / "b")
    driver = Driver(java_runtime.command(java_programs, "Driver"))
    driver.ask("open", bundle=str(bundle), engine_library=str(c_runtime.engine_library(LLAMA)), threads=1)
    found = driver.ask("generate", prompt="A", max_tokens=64, temperature=0, seed=None, stop=[])
    with rt.open(bundle, threads=1) as session:
        assert found == list(session.generate("A", max_tokens=64))
    assert "🌍" in found
    assert driver.ask("tokenize", text="🌍") == [1, *(3 + byte for byte in "🌍".encode())]
    cut = driver.ask("generate", prompt="A", max_tokens=64, temperature=0, seed=None, stop=["🌍"])
    assert "".join(cut) == "é"
    for op, text in (("tokenize", "a\0b"), ("embed", "a\0b")):
        with pytest.raises(Refused) as refused:
            driver.ask(op, text=text)
        assert refused.value.name == "BadInput"
    driver.end()


def test_the_native_part_is_missing_or_another(java_programs: Path, tmp_path: Path) -> None:
    (tmp_path / "x.so").write_bytes(b"no library")
    for library in (tmp_path / "none.so", tmp_path / "x.so", Path("/etc/passwd"), c_runtime.engine_library(ONNX)):
        options = (f"-Ddev.edgekit.library={library}",)
        command = java_runtime.command(java_programs, "Driver", options=options)
        driver = Driver(command)
        for _ in range(2):  # the second time it fails alike
            with pytest.raises(Refused) as refused:
                driver.ask("verify", bundle=str(tmp_path))
            assert refused.value.name == "LoadFailed"
        driver.end()


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40), data=st.data())
def test_offsets_in_bytes_become_offsets_in_chars(inside: Driver, text: str, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    asked = [len(text[:place].encode()) for place in places]
    expected = [len(text[:place].encode("utf-16-le")) // 2 for place in places]
    assert inside.ask("offsets", text=text, bytes=asked) == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(), max_size=20))
def test_text_is_encoded_as_python_does_or_refused(inside: Driver, text: str) -> None:
    """json.dumps writes surrogates as escapes, so that lone ones reach Java."""
    pairs = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")  # as Java would see pairs
    whole = text.encode("utf-16-le", "surrogatepass") == pairs.encode("utf-16-le")
    if whole and "\0" not in text:
        assert base64.b64decode(inside.ask("encode", text=text)) == pairs.encode() + b"\0"
    else:
        with pytest.raises(Refused) as refused:
            inside.ask("encode", text=text)
        assert refused.value.name == "BadInput"


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)))
def test_several_texts_go_through_one_array(inside: Driver, texts: list[str]) -> None:
    assert inside.ask("through", texts=texts) == texts


@settings(max_examples=100, deadline=None)
@given(shape=st.lists(st.integers(-1, 2**40) | st.integers(0, 3), max_size=9), count=st.integers(0, 30))
def test_a_tensor_is_as_large_as_its_shape_says(inside: Driver, shape: list[int], count: int) -> None:
    values = [struct.unpack("<f", struct.pack("<f", index / 7))[0] for index in range(count)]
    if len(shape) <= 8 and min(shape, default=0) >= 0 and math.prod(shape) == count:
        assert inside.ask("tensor", values=values, shape=shape) == pytest.approx(values, rel=1e-6)
    else:
        with pytest.raises(Refused) as refused:
            inside.ask("tensor", values=values, shape=shape)
        assert refused.value.name == "BadInput"


@pytest.mark.parametrize(
    ("count", "width", "height"), [(11, 2, 2), (0, 0, 4), (12, -2, -2), (0, 65536, 65536), (3, 2**31 - 1, 2**31 - 1)]
)
def test_pixels_are_three_bytes_each(inside: Driver, count: int, width: int, height: int) -> None:
    assert inside.ask("pixels", bytes=12, width=2, height=2) == 12
    with pytest.raises(Refused) as refused:
        inside.ask("pixels", bytes=count, width=width, height=height)
    assert refused.value.name == "BadInput"


def test_answers_are_flows_in_kotlin(java_programs: Path, tmp_path: Path) -> None:
    """A collector that leaves ends the call; the session is free when it has left."""
    bundle = bundles.chain_bundle(tmp_path / "b")
    kotlin = java_runtime.kotlin_programs(tmp_path / "kotlin", java_programs)
    beside = (kotlin / "classes", kotlin / "bitmap", *java_runtime.kotlin_jars())
    arguments = (bundle, c_runtime.engine_library(LLAMA))
    ran = java_runtime.run_java(java_runtime.command(java_programs, "FlowsKt", *arguments, beside=beside))
    assert (ran.returncode, ran.stderr) == (0, "")
    with rt.open(bundle, threads=1) as session:
        whole = "".join(session.generate("A"))
    assert ran.stdout.splitlines() == [
        f"whole {whole}", f"again {whole}", f"slow {whole}", f"stopped {whole.partition('z')[0]}", "chat WrongTask",
        "too long PromptTooLong", f"still there {whole}",
        "pixels 1 2 3 ff 80 40 0 0 ff ff ff ff 0 0 0 12 34 56",
    ]  # fmt: skip


# All that the classes use of the platform. Each is in Android's API level 21, the module's minSdk; whoever adds one
# looks its level up first.
ANDROID_21 = {
    "java/io/ByteArrayOutputStream": "<init> toByteArray write",
    "java/io/File": "<init> length",
    "java/io/FileInputStream": "<init> close read",
    "java/io/IOException": "<init> getMessage",
    "java/lang/Character": "charCount isSurrogate",
    "java/lang/Enum": "<init> valueOf",
    "java/lang/InterruptedException": "",
    "java/lang/LinkageError": "",
    "java/lang/Math": "min",
    "java/lang/Object": "<init> notifyAll wait",
    "java/lang/RuntimeException": "<init>",
    "java/lang/SecurityException": "",
    "java/lang/String": "<init> codePointAt equals getBytes indexOf length replace replaceAll substring valueOf",
    "java/lang/StringBuilder": "<init> append charAt length setCharAt toString",
    "java/lang/System": "arraycopy getProperty load loadLibrary",
    "java/lang/Thread": "<init> setDaemon start",
    "java/lang/Throwable": "addSuppressed getMessage",  # level 19
    "java/nio/ByteBuffer": "allocateDirect asFloatBuffer asIntBuffer asLongBuffer capacity duplicate get isDirect order"
    " put remaining slice wrap",
    "java/nio/ByteOrder": "LITTLE_ENDIAN",
    "java/nio/FloatBuffer": "get put",
    "java/nio/IntBuffer": "get put",
    "java/nio/LongBuffer": "get put",
    "java/nio/charset/StandardCharsets": "UTF_8",  # level 19
    "java/util/ArrayList": "<init>",
    "java/util/Arrays": "asList copyOf",
    "java/util/Iterator": "hasNext next",
    "java/util/LinkedHashMap": "<init>",
    "java/util/List": "add equals get iterator size",
    "java/util/Map": "get keySet put",
}
_USED = re.compile(r'(?:Method|Field|class) (java/[\w/$]+)(?:\."?(<init>|\w+)"?)?')


def test_only_what_android_21_has_is_used(java_programs: Path) -> None:
    classes = [str(path) for path in (java_programs / "classes").rglob("*.class")]
    told = subprocess.run(["javap", "-c", "-p", *classes], capture_output=True, text=True, check=True).stdout
    used = {(owner, member) for owner, member in _USED.findall(told) if owner != "java/lang/invoke/LambdaMetafactory"}
    assert len(used) > 60
    allowed = {(owner, member) for owner, members in ANDROID_21.items() for member in ["", *members.split()]}
    assert used - allowed == set()


def _load_alignments(library: Path) -> set[int]:
    listed = subprocess.run(["readelf", "-lW", str(library)], capture_output=True, text=True, check=True).stdout
    return {int(line.split()[-1], 16) for line in listed.splitlines() if line.split()[:1] == ["LOAD"]}


def test_the_native_part_loads_where_pages_have_16_kib(java_programs: Path) -> None:
    assert _load_alignments(java_programs / "native" / "libedgekit_jni.so") == {16384}


def test_the_native_part_exports_one_function_and_links_no_engine(java_programs: Path) -> None:
    library = str(java_programs / "native" / "libedgekit_jni.so")
    names = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in names.splitlines()] == ["JNI_OnLoad"]
    needed = subprocess.run(["readelf", "-dW", library], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"NEEDED.*\[(.*?)\]", needed)) <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}


def test_the_native_part_compiles_for_arm(tmp_path: Path) -> None:
    """With Linux's C library, not Android's: what the NDK brings is not to be had here."""
    library = java_runtime.native(
        tmp_path, java_runtime.RUNTIME, "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc",
    )  # fmt: skip
    assert library.read_bytes()[18:20] == struct.pack("<H", 183)  # EM_AARCH64
    assert _load_alignments(library) == {16384}
