"""The history: what is added stands whole beside what others add, and what is read back is never trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fixtures.devices import device
from fixtures.manifests import minimal
from fixtures.plain_folders import plain_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit import history
from edgekit.costs import Estimate
from edgekit.errors import UsageError
from edgekit.history import Entry, store
from edgekit.manifest import Manifest
from edgekit.model import open_model, source_sha256
from edgekit.report import Host, Report, Row
from edgekit.strategies import Candidate

HOST = device("avx2").model_copy(update={"name": "host", "soc": "Some CPU"})
PI = device("avx2").model_copy(update={"name": "pi", "soc": "BCM2712"})


def entry(**changes: Any) -> Entry:
    return Entry.model_validate(
        {
            "command": "pack",
            "time_utc": "2026-11-21T06:12:07+00:00",
            "grounds": history.grounds(),
            "device": "host",
            "soc": "Some CPU",
            "on_device": True,
            "cpu": "Some CPU",
            "isa": ["avx2"],
            "threads": 2,
            "engine": "onnxruntime",
            "candidate": "onnx-int8",
            "model": "minilm",
            "source_sha256": "a" * 64,
            "parameters": 10,
            "task": "embedding",
            "passed": True,
            "evaluated_on": "a test",
            "timed_tokens": 128,
            "context_tokens": 2048,
            "predicted": {"peak RSS": 100.0, "latency p50": 10.0},
            "measured": {"peak RSS": 120.0, "latency p50": 5.0, "mean cosine": 0.99},
        }
        | changes
    )


def add(folder: Path, *entries: Entry) -> None:
    for each in entries:
        assert history.append(folder, each) is None


def test_what_was_added_is_read_back_in_order(tmp_path: Path) -> None:
    made = [entry(threads=threads) for threads in (1, 2, 3)]
    add(tmp_path / "deep" / "er", *made)
    assert history.read(tmp_path / "deep" / "er") == tuple(made)


def test_none_neither_reads_nor_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = history.folder_of("none")
    assert folder is None
    assert history.append(folder, entry()) is None
    assert history.read(folder) == ()
    assert history.observations(history.read(folder), HOST) == ()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_flag_s_then_the_environment_s_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEKIT_HISTORY", "none")
    assert history.folder_of(None) is None
    assert history.folder_of(tmp_path / "own") == tmp_path / "own"
    monkeypatch.setenv("EDGEKIT_HISTORY", str(tmp_path / "other"))
    assert history.folder_of(None) == tmp_path / "other"
    monkeypatch.delenv("EDGEKIT_HISTORY")
    assert history.folder_of(None) == tmp_path / "cache" / "edgekit" / "history"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert history.folder_of(None) == Path.home() / ".cache" / "edgekit" / "history"
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder - give a folder, or none"):
        history.folder_of(tmp_path / "file")


def test_packs_that_run_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgekit.history import store\n"
        "for index in range(40): store.append(Path(sys.argv[1]), f'{sys.argv[2]} {index} '.encode() + b'x' * 3000)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(who)]) for who in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    found = [line.decode().split() for line in store.lines(tmp_path)]
    assert len(found) == 120
    assert all(tail == "x" * 3000 for _, _, tail in found)
    for who in range(3):
        assert [int(index) for owner, index, _ in found if owner == str(who)] == list(range(40))


def test_the_file_is_bounded_also_while_several_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_LINES", 10)

    def write(who: int) -> None:
        for index in range(20):
            store.append(tmp_path, f"{who} {index}".encode())

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = store.lines(tmp_path)
    assert len(found) == len(set(found)) == 10
    assert found[-1].endswith(b" 19")
    assert sorted(path.name for path in tmp_path.iterdir()) == [store.FILE_NAME, store.LOCK_NAME]


def test_a_line_torn_by_a_full_disk_spoils_only_itself(tmp_path: Path) -> None:
    add(tmp_path, entry(threads=1))
    with (tmp_path / store.FILE_NAME).open("ab") as file:
        file.write(b'{"schema_version": 1, "comm')
    add(tmp_path, entry(threads=2))
    assert [each.threads for each in history.read(tmp_path)] == [1, 2]


BAD_CHANGES = [
    {"measured": {"peak RSS": float("inf")}},
    {"measured": {"peak RSS": "lots"}},
    {"measured": {str(number): 1.0 for number in range(65)}},
    {"predicted": [1.0]},
    {"model": "a\x1b[31m"},
    {"model": "a" * 257},
    {"threads": 0},
    {"threads": 2.5},
    {"on_device": "yes"},
    {"time_utc": "yesterday"},
    {"source_sha256": "../etc/passwd"},
    {"command": "rm"},
    {"schema_version": 2},
]


@pytest.mark.parametrize("change", BAD_CHANGES, ids=lambda change: f"{next(iter(change))}")
def test_an_entry_of_another_form_is_passed_over(change: dict[str, Any], tmp_path: Path) -> None:
    add(tmp_path, entry(threads=1))
    raw = json.loads(entry().model_dump_json()) | change
    with (tmp_path / store.FILE_NAME).open("a") as file:
        file.write(json.dumps(raw) + "\n")
    add(tmp_path, entry(threads=3))
    assert [each.threads for each in history.read(tmp_path)] == [1, 3]


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xfe\x00" * 1000,
        b"[" * 15_000,
        b'{"a":' * 3_000,
        b"null",
        b"1",
        b"x" * (store.MAX_LINE_BYTES + 1),
        b'{"measured": {"peak RSS": 1e999}}',
        b"\r\n\r\n\n\n",
    ],
    ids=range(8),
)
def test_junk_is_passed_over(junk: bytes, tmp_path: Path) -> None:
    add(tmp_path, entry(threads=1))
    with (tmp_path / store.FILE_NAME).open("ab") as file:
        file.write(junk + b"\n")
    add(tmp_path, entry(threads=2))
    assert [each.threads for each in history.read(tmp_path)] == [1, 2]
    assert len(history.observations(history.read(tmp_path), HOST)) == 4


@given(content=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_whatever_stands_there_one_more_report_can_be_added_and_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / store.FILE_NAME).write_bytes(content)
    add(tmp_path, entry())
    assert history.read(tmp_path) == (entry(),)


def test_of_a_file_too_large_for_any_history_only_the_end_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_LINES", 3)
    monkeypatch.setattr(store, "MAX_LINE_BYTES", 100)
    (tmp_path / store.FILE_NAME).write_bytes(b"first\n" + b"y" * 500 + b"\nlast\n")
    assert store.lines(tmp_path) == [b"last"]


def test_a_pipe_or_a_folder_in_the_file_s_place_stops_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / store.FILE_NAME)
    assert history.read(tmp_path) == ()
    told = history.append(tmp_path, entry())
    assert told == "this report was not added to the history: reports.jsonl is not a plain file"
    (tmp_path / store.FILE_NAME).unlink()
    (tmp_path / store.FILE_NAME).mkdir()
    assert history.read(tmp_path) == ()
    assert history.append(tmp_path, entry()) is not None


def test_a_folder_that_cannot_be_made_is_told_without_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = history.append(tmp_path / "file" / "history", entry())
    assert told == "this report was not added to the history: Not a directory"
    assert history.read(tmp_path / "file" / "history") == ()


def test_a_lock_that_another_keeps_for_long_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_LOCK_S", 0.05)
    with store._locked(tmp_path):
        assert history.append(tmp_path, entry()) is not None
    add(tmp_path, entry())


# What is made of the entries.


def seen(folder: Path, phase: str, profile: Any = HOST) -> list[tuple[float, float]]:
    return [
        (each.predicted, each.measured)
        for each in history.observations(history.read(folder), profile)
        if each.phase == phase
    ]


def test_times_and_memory_of_the_host_are_observed(tmp_path: Path) -> None:
    add(tmp_path, entry())
    (encode,) = [each for each in history.observations(history.read(tmp_path), HOST) if each.phase == "encode"]
    assert encode.name == "2026-11-21 pack of minilm as onnx-int8 for host"
    assert (encode.machine, encode.engine, encode.threads, encode.on_device) == ("Some CPU", "onnxruntime", 2, True)
    assert seen(tmp_path, "encode") == [(10.0, 5.0)]
    assert seen(tmp_path, "memory") == [(100.0, 120.0)]


def test_a_speed_is_observed_as_the_duration_that_costs_reckon_in(tmp_path: Path) -> None:
    figures = {"predicted": {"decode speed": 20.0}, "measured": {"decode speed": 25.0}}
    add(tmp_path, entry(engine="llama.cpp", **figures))
    assert seen(tmp_path, "decode") == [(0.05, 0.04)]


@pytest.mark.parametrize(
    "changes",
    [
        {"grounds": "edgekit 0.0.1, factors 000000000000"},
        {"soc": "Another CPU"},
        {"device": "pi"},
        {"predicted": {}},
        {"measured": {"peak RSS": 0.0, "latency p50": -1.0}},
    ],
)
def test_what_was_predicted_on_other_grounds_or_elsewhere_is_not_observed(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    add(tmp_path, entry(**changes))
    assert history.observations(history.read(tmp_path), HOST) == ()


def test_of_another_device_only_memory_is_observed(tmp_path: Path) -> None:
    add(tmp_path, entry(device="pi", soc="BCM2712", on_device=False))
    assert seen(tmp_path, "memory", PI) == [(100.0, 120.0)]
    assert seen(tmp_path, "encode", PI) == []


def test_the_last_reports_count_and_reading_changes_nothing(tmp_path: Path) -> None:
    add(tmp_path, *(entry(predicted={"peak RSS": float(number)}) for number in range(1, 41)))
    found = history.observations(history.read(tmp_path), HOST)
    assert [each.predicted for each in found] == [float(number) for number in range(21, 41)]
    assert history.observations(history.read(tmp_path), HOST) == found


def test_fidelity_is_known_of_the_same_weights_for_the_same_device_only(tmp_path: Path) -> None:
    source = open_model(plain_folder(tmp_path / "model"))
    own = {"source_sha256": source_sha256(source), "parameters": source.parameters, "task": source.task}
    folder = tmp_path / "history"
    add(folder, entry(parameters=source.parameters, task=source.task))
    assert history.known(history.read(folder), source, HOST) == ()
    add(folder, entry(**own), entry(**own, measured={"mean cosine": 0.5, "peak RSS": 1.0}))
    (found,) = history.known(history.read(folder), source, HOST)
    assert (found.candidate, found.name, found.measured) == ("onnx-int8", "mean cosine", 0.5)
    assert history.known(history.read(folder), source, PI) == ()
    other = tmp_path / "other"
    add(other, entry(**own, grounds="edgekit 0.0.1, factors 000000000000"))
    assert history.known(history.read(other), source, HOST) == ()


def test_weights_are_not_hashed_without_a_report_of_a_model_of_that_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_model(plain_folder(tmp_path / "model"))
    add(tmp_path, entry())
    monkeypatch.setattr(history, "source_sha256", lambda _: pytest.fail("hashed"))
    assert history.known(history.read(tmp_path), source, HOST) == ()


def test_an_entry_keeps_what_was_measured_and_what_was_predicted_where_it_was_measured() -> None:
    rows = (
        Row(name="peak RSS", unit="bytes", measured=5e7, where="here"),
        Row(name="KV cache", unit="bytes", measured=None, where="not measured"),
    )
    host = Host(cpu="A\tCPU", isa=("avx2",), threads=3, system="Linux")
    report = Report(
        model="m", task="embedding", strategy="onnx-int8", device="pi", device_is_host=False, status="passed",
        reference="torch", evaluated_on="texts", baseline="fp32", host=host, model_sha256="0" * 64, rows=rows,
        series={}, notes=(), created_utc="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    manifest = Manifest.model_validate(minimal() | {"name": "a\nname"})
    bytes_ = Estimate(4e7, 9e7, "a test")
    latency = Estimate(1.0, 4.0, "a test")
    made = Candidate("onnx-int8", "onnxruntime", {}, 8.0, bytes_, bytes_, latency_ms=latency)
    kept = history.entry("pack", report, manifest, PI, 7, made, 128)
    assert kept.measured == {"peak RSS": 5e7}
    assert kept.predicted == {"peak RSS": pytest.approx(6e7)}
    assert (kept.model, kept.cpu, kept.threads) == ("a name", "A CPU", 3)
    here = report.model_copy(update={"device_is_host": True})
    assert history.entry("pack", here, manifest, HOST, 7, made, 128).predicted["latency p50"] == pytest.approx(2.0)
    assert history.entry("validate", here, manifest, HOST, 7, None, 128).predicted == {}
