"""What adb's words and folders mean, without adb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import bundles
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadReport, TargetFull, TargetUnreachable
from edgekit.manifest import Manifest
from edgekit.targets.adb import device, engine, storage, translation
from edgekit.targets.adb.device import Device, Ended
from edgekit.targets.adb.translation import Translated, translate


def manifest(bundle: Path) -> Manifest:
    return Manifest.model_validate_json((bundle / "edgekit.json").read_bytes())


@pytest.mark.parametrize(
    ("line", "serial", "state"),
    [
        ("emulator-5554          device product:sdk_gphone64 model:sdk transport_id:1", "emulator-5554", "device"),
        ("0123456789ABCDEF\tunauthorized", "0123456789ABCDEF", "unauthorized"),
        ("adb-XYZ-1 (2)._adb-tls-connect._tcp offline", "adb-XYZ-1 (2)._adb-tls-connect._tcp", "offline"),
        ("192.168.1.5:5555       device", "192.168.1.5:5555", "device"),
        ("????    no permissions (user in plugdev group; are your udev rules wrong?)", "????", "no permissions"),
    ],
)  # fmt: skip
def test_a_line_of_adb_devices(line: str, serial: str, state: str) -> None:
    found = device._LINE.match(line)
    assert found is not None
    assert found.groups() == (serial, state)


@pytest.mark.parametrize(
    ("said", "code", "status", "error"),
    [
        ('noise\n{"error": "LoadFailed", "message": "no"}', 1, 1, "LoadFailed"),
        ("Killed", 137, -9, ""),
        ("Illegal instruction", 132, -4, ""),
        ("", 0, 0, ""),
        ("{}", 1, 1, ""),
        ("[]", 1, 1, ""),
        ('{"error": 3}', 1, 1, ""),
        ("[" * 4000, 1, 1, ""),
    ],
)
def test_how_the_probe_ended(said: str, code: int, status: int, error: str) -> None:
    found = device._understood(code, said)
    assert (found.status, found.error, found.said) == (status, error, said)


@pytest.mark.parametrize("cores", ["", "\N{SUPERSCRIPT TWO}", "-1", "0", "9" * 5000, "2 "])
def test_cores_that_are_no_number_limit_nothing(tmp_path: Path, cores: str) -> None:
    made = Translated(tmp_path, {"threads": 4}, 0)
    made.limit_threads(cores)
    assert (made.job["threads"], made.notes) == (4, ())


@pytest.mark.parametrize("size", ["\N{SUPERSCRIPT TWO}", "9" * 5000, "-1", "a"])
def test_sizes_that_are_no_number_are_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setattr(Device, "shell", lambda _self, _command: size)
    with pytest.raises(BadReport, match="has not the 1 results"):
        Device("adb", "x").pull("f", ["result.json"], tmp_path, 100)


@given(st.text(), st.integers(0, 255))
def test_no_words_are_misunderstood(said: str, code: int) -> None:
    assert isinstance(device._understood(code, said), Ended)
    assert len(device._last(said)) <= 300
    assert "\n" not in device._last(said)


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        ("adb: error: failed to copy 'a' to 'b': remote write failed: No space left on device", TargetFull, "No space"),
        ("adb: error: failed to copy\n[ 84%] /data/x: 84%", TargetUnreachable, "failed to copy"),
        ("error: device 'X' not found", TargetUnreachable, "not found"),
        ("", TargetUnreachable, "said nothing"),
        ("\x1b[31merror: closed\x1b[0m", TargetUnreachable, "closed"),
    ],
)
def test_what_a_failure_of_adb_is(words: str, kind: type[Exception], told: str) -> None:
    found = Device("adb", "X")._refused(words)
    assert type(found) is kind
    assert told in str(found)
    assert "\x1b" not in str(found)
    assert found.remedy


def test_a_folders_name_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"1")
    files = {"a": tmp_path / "one"}
    name = storage.of_files("engine", files).name
    assert name == storage.of_files("engine", {"a": tmp_path / "two"}).name
    assert name != storage.of_files("engine", {"b": tmp_path / "one"}).name
    (tmp_path / "one").write_bytes(b"2")
    assert name != storage.of_files("engine", files).name


def test_a_folder_is_laid_out_without_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    folder = storage.of_files("engine", {"sub/a": tmp_path / "link"})
    with folder.laid_out() as place:
        assert not (place / "sub" / "a").is_symlink()
        assert (place / "sub" / "a").read_bytes() == b"x"
    assert not place.exists()
    assert folder.size_bytes() == 1


def test_of_a_library_the_name_that_others_ask_for(tmp_path: Path) -> None:
    names = ["libllama.so", "libllama.so.0", "libllama.so.0.5.0", "libggml-cpu-haswell.so", "libonnxruntime.so.1.31.1"]
    for name in names:
        (tmp_path / name).touch()
    assert [name for name in names if engine._is_asked_for(tmp_path / name)] == [
        "libllama.so.0",
        "libggml-cpu-haswell.so",
        "libonnxruntime.so.1.31.1",
    ]


def test_tensors_and_ids_become_files_and_lists(tmp_path: Path) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    x = np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3))
    np.savez(tmp_path / "x.npz", x=x)
    job: dict[str, Any] = {"threads": 4, "warmup": 1, "repeats": 2, "context_tokens": None}
    job |= {"latency": {"tensors": "x.npz", "decode_tokens": 32}, "fidelity": {"npz": ["x.npz", "x.npz"]}}
    found = translate(bundle, manifest(bundle), job, tmp_path, tmp_path / "work")
    files = [found.job["latency"]["tensors"]["x"], *(each["tensors"]["x"] for each in found.job["answers"])]
    assert len(set(files)) == 3
    for name in files:
        stored = np.load(found.folder / name)
        assert stored.flags["C_CONTIGUOUS"]
        assert np.array_equal(stored, x)
    assert found.evaluated == 2
    assert json.loads(json.dumps(found.job)) == found.job
    found.limit_threads("2")
    assert found.job["threads"] == 2
    assert "the device has 2 cores" in found.notes[0]
    found.limit_threads("")
    assert found.job["threads"] == 2


def test_messages_become_the_ids_of_their_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    said = [{"role": "user", "content": "A"}]
    cases = [
        {"input": {"ids": [9]}},
        {"input": {"text": "A"}, "expected": {"token_ids": [1]}},
        {"input": {"messages": said}, "expected": {"token_ids": [2, 3]}},
    ]
    encoded = ([{"ids": [1]}], [[1]], [[2, 3]])
    asked: list[Any] = []
    monkeypatch.setattr(translation, "_golden_cases", lambda _: cases)
    monkeypatch.setattr(translation, "_encode", lambda *words: asked.extend(words) or encoded)
    job: dict[str, Any] = {"threads": 1, "latency": None, "goldens": True}
    found = translate(bundle, manifest(bundle), job, tmp_path, tmp_path / "work")
    assert [each["ids"] for each in found.job["answers"]] == [[9], [1], [2, 3]]
    assert found.golden_ids == [None, [1], [2, 3]]
    assert found.had_texts
    assert asked[1:4] == [["A"], (), [said]]
    assert cases[2]["input"] == {"messages": said}  # the case itself is as it was


@pytest.mark.parametrize(
    "told", [b"", b"[]", b'{"outputs": 3}', b'{"outputs": [' + b'"a",' * 300 + b'"a"]}', b"[" * 10**5]
)
def test_a_result_that_is_none(tmp_path: Path, told: bytes) -> None:
    (tmp_path / "result.json").write_bytes(told)
    translated = Translated(tmp_path, {"answers": []}, 0)
    with pytest.raises(BadReport) as caught:
        translated.answer_names(tmp_path / "result.json", "adb:X")
    assert caught.value.remedy


def test_the_answers_that_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b'{"outputs": ["a", "../b"]}')
    translated = Translated(tmp_path, {"answers": [{"tensors": {}}, {"ids": [1]}]}, 2)
    names = translated.answer_names(tmp_path / "result.json", "adb:X")
    assert names == ["answer-0-0.npy", "answer-0-1.npy", "answer-1.npy"]
