"""The ssh target against a real sshd on loopback: what is copied, how it goes on, and that nothing of it stays."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures import bundles, tiny_models
from fixtures.commands import LOOSE, living
from fixtures.devices import device
from fixtures.sshd import Server

import edgekit
from edgekit.cli import main
from edgekit.errors import HostKeyChanged, TargetFull, TargetUnreachable, ValidationFailed
from edgekit.progress import Progress, Silent
from edgekit.targets import Conditions, open_target
from edgekit.targets.ssh import Ssh, clean, connection

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(sys.platform != "linux", reason="sshd is set up as on Linux, processes are read from /proc"),
]
BIG_BYTES = 24 * 2**20


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return bundles.add_runtime(bundles.embedding_bundle(tmp_path / "bundle"))


def job(folder: Path, **fields: Any) -> Path:
    """A job file as edgekit.measure writes it, in a folder of its own."""
    folder.mkdir()
    told: dict[str, Any] = {"bundle": "", "threads": 1, "warmup": 1, "repeats": 3, "latency": {"text": "red sky"}}
    told |= {"fidelity": {"texts": ["red", "the grass is green"]}, "tokenize": ["red"], "baseline": None}
    (folder / "job.json").write_text(json.dumps(told | fields), encoding="utf-8")
    return folder / "job.json"


def run(server: Server, bundle: Path, job_file: Path, progress: Progress | None = None) -> int:
    """Run the job there; the bytes of files that were copied."""
    with open_target(server.target, Conditions(device(), 1, progress or Silent())) as place:
        assert isinstance(place, Ssh)
        place.run(bundle, job_file, 60)
        return place.copied_bytes


def test_a_bundle_is_validated_there_as_it_was_here(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way from the command line, and no figure of that machine passes for the device's."""
    model = tiny_models.tiny_sentence_encoder(tmp_path / "model")
    out = tmp_path / "out"
    assert main(["pack", str(model), "--out", str(out), *LOOSE]) == 0
    capsys.readouterr()
    words = ["validate", str(out), "--on", "ssh:board", "--threads", "1", "--json"]
    for each in (words, [*words, "--device", "raspberry-pi-5-8gb"]):
        assert main(each) == 0
        report = edgekit.Report.model_validate_json(capsys.readouterr().out)
        assert report.status == "passed"
        assert (report.host.target, report.device_is_host) == ("ssh:board", False)
        assert report.figure("goldens that fail") == 0
        assert (report.figure("min cosine") or 0) > 0.5
        assert (report.figure("latency p50") or 0) > 0
        assert report.figure("texts tokenized differently") == 0
    assert list((server.store / "runs").iterdir()) == []
    server.new_host_key()
    assert main(words) == HostKeyChanged.exit_code
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("edgekit: the host key of ssh:board is not the one in ")


def test_the_answers_are_those_of_this_machine_and_a_second_run_copies_nothing(
    server: Server, bundle: Path, tmp_path: Path
) -> None:
    fields = {"baseline": {"model_file": str(bundle / "onnx" / "model.onnx"), "engine": "onnxruntime"}}
    first = run(server, bundle, job(tmp_path / "first", **fields))
    every = {path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert first == sum(len(content) for content in every)
    assert run(server, bundle, job(tmp_path / "second", **fields)) == 0
    for name in ("first", "second"):
        result = json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8"))
        assert result["libraries"]["onnxruntime"]
        assert len(result["baseline_latency_ms"]) == 3
        assert result["ram_total_bytes"] > 2**28
        assert len(result["cpu_parts"]) in (0, result["cores"])
    run_here(bundle, job(tmp_path / "here"))
    here, there = ((tmp_path / name / "embeddings.npy").read_bytes() for name in ("here", "first"))
    assert here == there


IDS = [[65, 66, 67], [65, 66]]
KINDS: dict[str, tuple[Callable[[Path], Path], dict[str, Any], tuple[str, ...]]] = {
    "decoder": (
        bundles.chain_bundle,
        {"latency": {"ids": IDS[0], "decode_tokens": 3}, "fidelity": {"ids": IDS}, "tokenize": ["A"]},
        ("logits-0.npy", "logits-1.npy"),
    ),
    "classifier": (
        bundles.classifier_bundle,
        {"fidelity": {"texts": ["red", "sky"]}, "tokenize": ["red"]},
        ("outputs-0.npz", "outputs-1.npz"),
    ),
    "tensors": (
        bundles.tensor_bundle,
        {"latency": {"tensors": "x.npz"}, "fidelity": {"npz": ["x.npz"]}, "tokenize": []},
        ("outputs-0.npz",),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_bundle_answers_there_as_here(server: Server, tmp_path: Path, kind: str) -> None:
    import numpy as np

    make, fields, names = KINDS[kind]
    (tmp_path / "bundle").mkdir()
    bundle = bundles.add_runtime(make(tmp_path / "bundle"))
    jobs = [job(tmp_path / name, **fields) for name in ("there", "here")]
    for each in jobs:
        np.savez(each.parent / "x.npz", x=np.arange(4, dtype=np.float32)[None])
    run(server, bundle, jobs[0])
    run_here(bundle, jobs[1])
    assert {path.name for path in jobs[0].parent.iterdir()} == {"job.json", "x.npz", "result.json", *names}
    for name in names:
        there, here = ((each.parent / name).read_bytes() for each in jobs)
        assert there == here


def run_here(bundle: Path, job_file: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "edgekit_runtime.probe", str(job_file), str(bundle)],
        env=os.environ | {"PYTHONPATH": str(bundle / "runtime" / "python"), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )


@pytest.mark.parametrize("older", [False, True])
def test_a_bundle_without_a_python_wrapper_is_measured_by_edgekit_s(
    server: Server, tmp_path: Path, older: bool
) -> None:
    """It is copied too, once; a wrapper where earlier versions put it is not taken for one."""
    (tmp_path / "bundle").mkdir()
    bundle = bundles.embedding_bundle(tmp_path / "bundle")
    if older:
        (bundle / "runtime" / "edgekit_runtime").mkdir(parents=True)
        (bundle / "runtime" / "edgekit_runtime" / "__init__.py").write_text("raise SystemExit(3)", encoding="utf-8")
        bundles.reseal(bundle)
    wrapper = sum(path.stat().st_size for path in (bundles.RUNTIME / "edgekit_runtime").rglob("*.py"))
    packed = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    assert run(server, bundle, job(tmp_path / "first")) == wrapper + packed
    assert run(server, bundle, job(tmp_path / "second")) == 0
    assert (tmp_path / "second" / "embeddings.npy").is_file()


def test_no_more_threads_run_than_that_machine_has_cores(server: Server, bundle: Path, tmp_path: Path) -> None:
    run(server, bundle, job(tmp_path / "job", threads=1000))
    result = json.loads((tmp_path / "job" / "result.json").read_text(encoding="utf-8"))
    assert result["threads"] == result["cores"]
    assert any("1000" in note for note in result["notes"])


def test_a_login_shell_that_talks_is_not_misunderstood(server: Server, bundle: Path, tmp_path: Path) -> None:
    server.commanded("echo Welcome to board, last login yesterday", "printf no-newline", "echo oh >&2")
    assert run(server, bundle, job(tmp_path / "job")) > 0


class Cutting(Silent):
    """Kills ssh, as a broken connection does, once so many bytes are copied."""

    def __init__(self, after_bytes: int) -> None:
        self._left = after_bytes

    def advance(self, done: float) -> None:
        self._left -= int(done)
        if self._left <= 0:
            for pid in ssh_clients():
                os.kill(pid, signal.SIGKILL)


def ssh_clients() -> list[int]:
    """The children of this process that are ssh."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "ssh" and int(rest.split()[1]) == os.getpid():
            found.append(int(path.parent.name))
    return found


def test_a_broken_copy_goes_on_where_it_stopped(server: Server, bundle: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.onnx"
    big.write_bytes((bundle / "onnx" / "model.onnx").read_bytes())
    filler = bundle / "filler.bin"
    filler.write_bytes(os.urandom(BIG_BYTES))
    bundles.reseal(bundle)
    with pytest.raises(TargetUnreachable, match=r"broke: .* - run again: what was copied is kept there"):
        run(server, bundle, job(tmp_path / "first"), Cutting(BIG_BYTES // 2))
    eventually(lambda: not (server.store / "runs").exists() or not list((server.store / "runs").iterdir()))
    eventually(lambda: not processes_in(server.home))
    partial = server.store / "blobs" / f"{hashlib.sha256(filler.read_bytes()).hexdigest()}.partial"
    arrived = partial.stat().st_size
    assert 0 < arrived < BIG_BYTES
    rest = [path for path in bundle.rglob("*") if path.is_file() and not stored(server, path)]
    left = sum(len(content) for content in {path.read_bytes() for path in rest}) - arrived
    assert run(server, bundle, job(tmp_path / "second")) == left
    assert not partial.exists()


def stored(server: Server, path: Path) -> bool:
    return (server.store / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()).exists()


def processes_in(folder: Path) -> list[int]:
    """The processes that name `folder` in their command line or environment, or work in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            if str(folder).encode() in told and (path / "stat").read_text().rpartition(")")[2][1] != "Z":
                found.append(int(path.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def eventually(true: Callable[[], bool], timeout_s: float = 15) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


ENDLESS = """
import sys
from pathlib import Path
from edgekit.progress import Silent
from edgekit.targets import Conditions, open_target
from edgekit.device import load_profile
target, bundle, job = sys.argv[1:]
with open_target(target, Conditions(load_profile("intel-n100"), 1, Silent())) as place:
    place.run(Path(bundle), Path(job), 600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_or_stays_there_once_edgekit_is_gone(server: Server, tmp_path: Path, number: int) -> None:
    import numpy as np

    folder = tmp_path / "endless"
    folder.mkdir()
    bundle = bundles.add_runtime(bundles.endless_bundle(folder))
    job_file = job(tmp_path / "job", latency={"tensors": "x.npz"}, fidelity={}, tokenize=[])
    np.savez(job_file.parent / "x.npz", x=np.zeros((1, 4), np.float32))
    words = [sys.executable, "-c", ENDLESS, server.target, str(bundle), str(job_file)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        eventually(lambda: (server.store / "runs" / "run" / "work" / "job.json").exists())
        eventually(
            lambda: any(b"job.json" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_in(server.home))
        )
        process.send_signal(number)
        process.wait(20)
        eventually(lambda: not processes_in(server.home))
        assert list((server.store / "runs").iterdir()) == []
        assert not living(process.pid)
    finally:
        process.kill()
        process.wait()


def test_a_connection_without_life_ends_what_runs_there(
    server: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a cable is pulled: nobody says that the connection is closed."""
    source = connection.source().replace("SILENCE_S = 120", "SILENCE_S = 1")
    monkeypatch.setattr(connection, "source", lambda: source)
    with (
        pytest.raises(TargetUnreachable, match="broke"),
        open_target(server.target, Conditions(device(), 1, Silent())) as place,
    ):
        assert isinstance(place, Ssh)
        eventually(
            lambda: (
                not any(
                    b"exec(f.read" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_in(server.home)
                )
            )
        )
        place._connection.ask({"do": "reserve", "files": {}})


def test_a_probe_that_takes_too_long_is_ended(server: Server, tmp_path: Path) -> None:
    import numpy as np

    folder = tmp_path / "endless"
    folder.mkdir()
    bundle = bundles.add_runtime(bundles.endless_bundle(folder))
    job_file = job(tmp_path / "job", latency={"tensors": "x.npz"}, fidelity={}, tokenize=[])
    np.savez(job_file.parent / "x.npz", x=np.zeros((1, 4), np.float32))
    with (
        pytest.raises(ValidationFailed, match="took more than 1 s - give fewer"),
        open_target(server.target, Conditions(device(), 1, Silent())) as place,
    ):
        place.run(bundle, job_file, 1)
    eventually(lambda: not processes_in(server.home))


def test_two_at_once_would_time_each_other(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source = connection.source().replace("_LOCK_WAIT_S = 10.0", "_LOCK_WAIT_S = 0.1")
    monkeypatch.setattr(connection, "source", lambda: source)
    conditions = Conditions(device(), 1, Silent())
    with (
        open_target(server.target, conditions),
        pytest.raises(TargetUnreachable, match="is taken: another edgekit is validating there"),
        open_target(server.target, conditions),
    ):
        pass
    with open_target(server.target, conditions):
        pass


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_of_the_file(
    server: Server, bundle: Path, tmp_path: Path
) -> None:
    (bundle / "filler.bin").write_bytes(os.urandom(BIG_BYTES))
    bundles.reseal(bundle)
    server.commanded(f"ulimit -f {2**20 // 512}")
    with pytest.raises(TargetFull, match=r"is full: its disk filled up meanwhile; \d+\.\d MiB are needed, .* are free"):
        run(server, bundle, job(tmp_path / "job"))
    assert [path.name for path in (server.store / "blobs").glob("*.partial")] == []
    assert list((server.store / "runs").iterdir()) == []


def test_a_disk_that_fills_up_under_the_probe_is_full(server: Server, bundle: Path, tmp_path: Path) -> None:
    server.commanded(f"ulimit -f {48 * 1024 // 512}")
    with pytest.raises(TargetFull, match=r"is full: it filled up while the bundle ran; .* are free"):
        run(server, bundle, job(tmp_path / "job", fidelity={"texts": ["red"] * 3000}))
    assert list((server.store / "runs").iterdir()) == []


def test_a_bundle_that_fails_there_says_so_in_its_runtime_s_words(server: Server, bundle: Path, tmp_path: Path) -> None:
    (bundle / "onnx" / "model.onnx").write_bytes(b"no model")
    bundles.reseal(bundle)
    with pytest.raises(ValidationFailed, match=r"failed in its own runtime on ssh:\S+ \(exit status 1\): LoadFailed: "):
        run(server, bundle, job(tmp_path / "job"))


def test_a_file_that_rotted_there_is_copied_anew(server: Server, bundle: Path, tmp_path: Path) -> None:
    run(server, bundle, job(tmp_path / "first"))
    name = hashlib.sha256((bundle / "tokenizer.json").read_bytes()).hexdigest()
    blob = server.store / "blobs" / name
    size = blob.stat().st_size
    blob.chmod(0o600)
    blob.write_bytes(bytes(size))
    with pytest.raises(edgekit.errors.BadReport, match=r"1 files kept on .* were no longer what was copied"):
        run(server, bundle, job(tmp_path / "second"))
    assert run(server, bundle, job(tmp_path / "third")) == size


def test_cleaning_leaves_nothing_of_ours(server: Server, bundle: Path, tmp_path: Path) -> None:
    run(server, bundle, job(tmp_path / "job"))
    assert re.fullmatch(r"ssh:board: \d+\.\d MB removed", clean("board"))
    assert not server.store.exists()
    assert server.home.exists()
