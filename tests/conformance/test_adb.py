"""The adb target with the real adb client, against a stand-in for its server: what runs, what is kept, what fails how.

What no test here shows: that Android's kernel and its rules let the probe run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, tiny_models
from fixtures.adb_server import AndroidDevice, serving
from fixtures.commands import LOOSE
from fixtures.devices import device
from fixtures.prepared import of_this_machine

import edgekit
from edgekit.cli import main
from edgekit.errors import (
    BadReport,
    EdgekitError,
    MissingTool,
    TargetFull,
    TargetNotPrepared,
    TargetUnreachable,
    ValidationFailed,
)
from edgekit.progress import Silent
from edgekit.targets import Conditions, open_target
from edgekit.targets.adb import Adb, clean
from edgekit.targets.adb.device import Device
from edgekit.targets.preparing import store

pytestmark = pytest.mark.engines

TEXTS = ["the sky is blue", "red"]
# Where `make targets` prepared emulated CPUs; most tests here set another folder.
PREPARED = os.environ.get("EDGEKIT_TARGETS", str(Path(__file__).resolve().parents[2] / ".targets"))
IDS = [1, *(3 + byte for byte in b"Axyz")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_this_machine(tmp_path_factory.mktemp("targets"))


@pytest.fixture
def attach(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Has adb see devices, of this machine's architecture with its libraries unless they say otherwise."""
    opened = []

    def attach(*devices: AndroidDevice) -> None:
        server = serving(*devices)
        opened.append(server)
        for name, value in server.__enter__().environment.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setenv("EDGEKIT_TARGETS", str(prepared))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    yield attach
    for server in opened:
        server.__exit__(None, None, None)


@pytest.fixture
def phone(tmp_path: Path, attach: Callable[..., None]) -> AndroidDevice:
    phone = AndroidDevice(tmp_path / "phone")
    attach(phone)
    return phone


def job(folder: Path, **fields: Any) -> Path:
    """A job file as edgekit.measure writes it, in a folder of its own."""
    folder.mkdir()
    told: dict[str, Any] = {"bundle": "", "threads": 1, "warmup": 1, "repeats": 5, "latency": None, "baseline": None}
    (folder / "job.json").write_text(json.dumps(told | fields), encoding="utf-8")
    return folder / "job.json"


def run(bundle: Path, job_file: Path, target: str = "adb") -> dict[str, Any]:
    """result.json, with the bytes copied under "copied"."""
    with open_target(target, Conditions(device(), 1, Silent())) as place:
        assert isinstance(place, Adb)
        place.run(bundle, job_file, 60)
        found: dict[str, Any] = json.loads((job_file.parent / "result.json").read_bytes())
        return found | {"copied": place.copied_bytes}


def with_goldens(bundle: Path, *given: Any) -> Path:
    """The bundle with its runtime and goldens that it answered here."""
    with rt.open(bundle, threads=1) as session:
        cases = [goldens.make_case(session, each, f"case {index}") for index, each in enumerate(given)]
    (bundle / "golden.json").write_text(json.dumps(goldens.document(cases)), encoding="utf-8")
    return bundles.add_runtime(bundle)


def kept(phone: AndroidDevice) -> list[str]:
    """The kinds of folders that edgekit left there."""
    return sorted(path.name.partition("-")[0] for path in (phone.place / "edgekit").glob("*"))


def no_process_is_left(phone: AndroidDevice) -> bool:
    return all(process.poll() is not None for process in phone.running)


def test_an_encoder_answers_there_as_here_and_a_second_run_copies_nothing(phone: AndroidDevice, tmp_path: Path) -> None:
    bundle = with_goldens(bundles.embedding_bundle(tmp_path / "b"), *TEXTS)
    fields = {"latency": {"text": TEXTS[0]}, "fidelity": {"texts": TEXTS}, "tokenize": ["blue"], "goldens": True}
    fields["baseline"] = {"engine": "onnxruntime", "model_file": str(bundle / "onnx" / "model.onnx")}
    first = run(bundle, job(tmp_path / "first", **fields))
    second = run(bundle, job(tmp_path / "second", **fields))
    assert first["copied"] > sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    assert second["copied"] == 0
    with rt.open(bundle, threads=1) as session:
        assert np.load(tmp_path / "second" / "embeddings.npy") == pytest.approx(session.embed(TEXTS), abs=1e-6)
        assert second["token_ids"] == [session.tokenize("blue")]
    assert [each["name"] for each in second["goldens"]] == ["case 0", "case 0 tokens", "case 1", "case 1 tokens"]
    assert all(each["passed"] for each in second["goldens"])
    assert len(second["latency_ms"]) == len(second["baseline_latency_ms"]) == 5
    assert 0 < second["anonymous_bytes"] < second["peak_rss_bytes"]
    assert second["system"] == "Android 14 (Stand-in Nothing 1)"
    assert any("never an Android device" in note for note in second["notes"])
    assert any("tokenized on this computer" in note for note in second["notes"])
    assert kept(phone) == ["baseline", "bundle", "engine"]
    assert no_process_is_left(phone)
    assert "MB removed" in clean("")
    assert not (phone.place / "edgekit").exists()


def test_a_language_model_answers_there_as_here(phone: AndroidDevice, tmp_path: Path) -> None:
    bundle = with_goldens(bundles.chain_bundle(tmp_path / "b"), "A", IDS)
    latency = {"ids": IDS, "decode_tokens": 9}
    result = run(bundle, job(tmp_path / "w", latency=latency, fidelity={"ids": [IDS, IDS[:2]]}, goldens=True))
    with rt.open(bundle, threads=1) as session:
        for index, ids in enumerate([IDS, IDS[:2]]):
            assert np.array_equal(np.load(tmp_path / "w" / f"logits-{index}.npy"), session.logits(ids))
    assert len(result["decode_ms"]) == 3 * 8
    assert len(result["goldens"]) == 3
    assert all(each["passed"] for each in result["goldens"])


@pytest.mark.parametrize("make", [bundles.classifier_bundle, bundles.tagger_bundle])
def test_a_classifier_answers_there_as_here(phone: AndroidDevice, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    phone.shell_v2 = phone.sync_v2 = False  # as before Android 7 and 11
    bundle = with_goldens(make(tmp_path / "b"), *TEXTS)
    result = run(bundle, job(tmp_path / "w", fidelity={"texts": TEXTS}, goldens=True, threads=1000))
    with rt.open(bundle, threads=1) as session:
        for index, text in enumerate(TEXTS):
            with np.load(tmp_path / "w" / f"outputs-{index}.npz") as stored:
                assert stored["logits"] == pytest.approx(session.run(session.encode(text))["logits"], abs=1e-6)
    assert [each["passed"] for each in result["goldens"]] == [True] * 4
    assert result["threads"] == os.cpu_count()
    assert any("1000 threads" in note for note in result["notes"])


def test_tensors_answer_there_as_here(phone: AndroidDevice, tmp_path: Path) -> None:
    given = {"pixel_values": np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)}
    bundle = with_goldens(bundles.image_bundle(tmp_path / "b"), given)
    file = job(tmp_path / "w", fidelity={"npz": ["x.npz"]}, longest={"tensors": "x.npz"}, goldens=True)
    np.savez(tmp_path / "w" / "x.npz", **given)
    result = run(bundle, file)
    assert [each["passed"] for each in result["goldens"]] == [True]
    assert result["token_ids"] == []
    with rt.open(bundle, threads=1) as session, np.load(tmp_path / "w" / "outputs-0.npz") as stored:
        assert np.array_equal(stored["logits"], session.run(given)["logits"])


def test_a_golden_is_held_against_the_tolerance_of_the_devices_cpu(phone: AndroidDevice, tmp_path: Path) -> None:
    bundle = with_goldens(bundles.tensor_bundle(tmp_path / "b"), {"x": np.ones((1, 4), np.float32)})
    document = json.loads((bundle / "golden.json").read_bytes())
    document["cases"][0]["tolerance"] = {"metric": "max_abs", "default": 0.5, "x86_64+sse4_2": 0.25}
    document["cases"][0]["expected"]["values"]["y"]["data"] = [2, 2, 2, 3]
    (bundle / "golden.json").write_text(json.dumps(document), encoding="utf-8")
    bundles.reseal(bundle)
    (found,) = run(bundle, job(tmp_path / "w", goldens=True))["goldens"]
    assert (found["passed"], found["difference"], found["tolerance"]) == (False, 1.0, 0.25)


def test_an_arm_device_runs_the_engine_prepared_for_it(
    tmp_path: Path, attach: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle on an emulated cortex-a76, with what `edgekit targets prepare aarch64` made."""
    monkeypatch.setenv("EDGEKIT_TARGETS", PREPARED)
    qemu = f"{store.home()}/qemu/qemu-aarch64 -cpu cortex-a76"
    phone = AndroidDevice(tmp_path / "phone", arch="aarch64", emulator=qemu)
    attach(phone)
    bundle = with_goldens(bundles.embedding_bundle(tmp_path / "b"), *TEXTS)
    result = run(bundle, job(tmp_path / "w", fidelity={"texts": TEXTS}, goldens=True))
    assert result["arch"] == "aarch64"
    assert "dotprod" in result["isa"]
    assert all(each["passed"] for each in result["goldens"])
    with rt.open(bundle, threads=1) as session:
        assert np.load(tmp_path / "w" / "embeddings.npy") == pytest.approx(session.embed(TEXTS), abs=1e-5)


def test_the_whole_way_from_the_command_line(
    phone: AndroidDevice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no figure of that device passes for another's."""
    model = tiny_models.tiny_sentence_encoder(tmp_path / "model")
    out = tmp_path / "out"
    assert main(["pack", str(model), "--out", str(out), *LOOSE]) == 0
    capsys.readouterr()
    assert main(["validate", str(out), "--on", "adb:STANDIN1", "--threads", "1", "--json"]) == 0
    report = edgekit.Report.model_validate_json(capsys.readouterr().out)
    assert report.status == "passed"
    assert (report.host.target, report.device_is_host) == ("adb:STANDIN1", False)
    assert report.figure("goldens that fail") == 0
    assert (report.figure("latency p50") or 0) > 0


def refused(tmp_path: Path, kind: type[EdgekitError], words: str, target: str = "adb") -> None:
    bundle = tmp_path / "b"
    if not bundle.exists():
        bundles.add_runtime(bundles.tensor_bundle(bundle))
    shutil.rmtree(tmp_path / "w", ignore_errors=True)
    with pytest.raises(kind, match=words) as caught:
        run(bundle, job(tmp_path / "w"), target)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    assert not (tmp_path / "w" / "result.json").exists()


@pytest.mark.parametrize(
    ("state", "words"), [("unauthorized", "unauthorized - allow this computer's key"), ("offline", "offline - plug")]
)
def test_a_device_that_is_not_ready(tmp_path: Path, attach: Callable[..., None], state: str, words: str) -> None:
    attach(AndroidDevice(tmp_path / "phone", state=state))
    refused(tmp_path, TargetUnreachable, words)


def test_no_device_two_devices_and_another_one(tmp_path: Path, attach: Callable[..., None]) -> None:
    attach()
    refused(tmp_path, TargetUnreachable, "sees no device")
    attach(AndroidDevice(tmp_path / "one", serial="ONE"), AndroidDevice(tmp_path / "two", serial="TWO"))
    refused(tmp_path, TargetUnreachable, r"2 devices: ONE \(device\), TWO \(device\) - name one: --on adb:ONE")
    refused(tmp_path, TargetUnreachable, "no device 'THREE': it sees ONE", "adb:THREE")
    assert run(tmp_path / "b", job(tmp_path / "w2"), "adb:TWO")["threads"] == 1


def test_no_adb(tmp_path: Path, phone: AndroidDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(tmp_path, MissingTool, "no adb program here - apt-get install adb")


def test_a_32_bit_device(tmp_path: Path, attach: Callable[..., None]) -> None:
    attach(AndroidDevice(tmp_path / "phone", arch="armv8l"))
    refused(tmp_path, TargetUnreachable, "is armv8l: the probe runs on 64-bit")


def test_nothing_prepared(tmp_path: Path, phone: AndroidDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path / "none"))
    refused(tmp_path, TargetNotPrepared, "edgekit targets prepare x86_64 --engine onnxruntime")
    assert kept(phone) == []


def test_a_disk_without_room_is_seen_before_anything_is_copied(tmp_path: Path, attach: Callable[..., None]) -> None:
    phone = AndroidDevice(tmp_path / "phone", free_kb=50_000)
    attach(phone)
    refused(tmp_path, TargetFull, r"49 MiB free in /data/local/tmp, and \d+ MiB are needed - free some")
    assert phone.received_bytes == 0


def test_a_disk_that_fills_up_during_a_copy(tmp_path: Path, phone: AndroidDevice) -> None:
    phone.full_after_bytes = 10 * 2**20
    refused(tmp_path, TargetFull, "No space left")
    phone.full_after_bytes = None
    assert run(tmp_path / "b", job(tmp_path / "again"))["threads"] == 1
    assert kept(phone) == ["bundle", "engine"]


def test_a_connection_that_breaks_during_a_copy(tmp_path: Path, phone: AndroidDevice) -> None:
    """What arrived whole is not copied again."""
    run(bundles.add_runtime(bundles.tensor_bundle(tmp_path / "other", name="other")), job(tmp_path / "first"))
    bundle = bundles.tensor_bundle(tmp_path / "b")
    for index in range(6):
        (bundle / f"filler-{index}.bin").write_bytes(bytes(2**20))
    bundles.add_runtime(bundle)
    before = phone.received_bytes
    phone.drop_after_bytes = before + 4 * 2**20
    refused(tmp_path, TargetUnreachable, "broke: .* - plug it in and run again")
    before, phone.drop_after_bytes = phone.received_bytes, None
    result = run(bundle, job(tmp_path / "again"))
    assert phone.received_bytes - before < result["copied"] - 2 * 2**20
    assert kept(phone) == ["bundle", "bundle", "engine"]


def test_a_probe_that_is_killed(tmp_path: Path, phone: AndroidDevice) -> None:
    phone.probe_signal = signal.SIGKILL
    refused(tmp_path, ValidationFailed, r"on adb:STANDIN1 \(killed by signal 9\): .* - it may lack memory there")
    phone.probe_signal = signal.SIGILL
    refused(tmp_path, ValidationFailed, "killed by signal 4")
    assert kept(phone) == ["bundle", "engine"]
    assert no_process_is_left(phone)


def test_a_bundle_that_was_changed_there_is_copied_anew(tmp_path: Path, phone: AndroidDevice) -> None:
    bundle = bundles.add_runtime(bundles.tensor_bundle(tmp_path / "b"))
    run(bundle, job(tmp_path / "first"))
    (model,) = (phone.place / "edgekit").glob("bundle-*/onnx/model.onnx")
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    refused(tmp_path, ValidationFailed, r"is not what was copied \(onnx/model.onnx was changed.* - run again")
    assert run(bundle, job(tmp_path / "again"))["copied"] > 0


@pytest.mark.parametrize(
    "told",
    [b"", b"[]", b"{}", b'{"outputs": {}}', b'{"outputs": ["y"]}', b'{"outputs": ["y"], "arch": 3, "isa": "x"}',
     b'{"outputs": [], "arch": "x", "isa": [], "system": "", "cpu": "", "notes": 5}', b"[" * 10**5],
)  # fmt: skip
def test_a_device_that_tells_nonsense(
    tmp_path: Path, phone: AndroidDevice, monkeypatch: pytest.MonkeyPatch, told: bytes
) -> None:
    def nonsense(self: Device, folder: str, names: list[str], to: Path, most: int) -> None:
        for name in names:
            (to / name).write_bytes(told)

    monkeypatch.setattr(Device, "pull", nonsense)
    refused(tmp_path, BadReport, "none|no outputs|sent")


def test_nothing_runs_there_once_edgekit_is_killed(tmp_path: Path, phone: AndroidDevice) -> None:
    bundle = bundles.add_runtime(bundles.endless_bundle(tmp_path / "b"))
    file = job(tmp_path / "w", latency={"tensors": "x.npz"})
    np.savez(tmp_path / "w" / "x.npz", x=np.ones((1, 4), np.float32))
    program = f"""
from pathlib import Path
from edgekit.targets.adb import Adb
from edgekit.targets.adb.device import find
from edgekit.progress import Silent
Adb(find(""), Silent()).run(Path({str(bundle)!r}), Path({str(file)!r}), 600)
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    until(lambda: any("edgekit-probe" in each for each in phone.commands) and "run" in kept(phone))
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    process.wait()
    until(lambda: no_process_is_left(phone))
    assert kept(phone) == ["bundle", "engine"]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_lost_connections_left_is_cleared(tmp_path: Path, phone: AndroidDevice) -> None:
    now = time.time()
    for name, age_s in (("run-old", 2 * 86400), ("part-old", 2 * 86400), ("part-new", 60), ("bundle-old", 2 * 86400)):
        folder = phone.place / "edgekit" / name
        folder.mkdir(parents=True)
        os.utime(folder, (now - age_s, now - age_s))
    run(bundles.add_runtime(bundles.tensor_bundle(tmp_path / "b")), job(tmp_path / "w"))
    assert kept(phone) == ["bundle", "bundle", "engine", "part"]


def test_the_engine_is_asked_for_before_anything_else(
    tmp_path: Path, phone: AndroidDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path / "none"))
    conditions = Conditions(device(), 1, Silent(), engine="llama.cpp")
    with pytest.raises(TargetNotPrepared, match=r"--engine llama\.cpp"), open_target("adb", conditions):
        raise AssertionError("it was opened")
