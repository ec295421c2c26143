"""Packs that learn: what one measured moves what the next expects, and a miss decides what is tried after it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures import tiny_models
from fixtures.devices import device, figure
from fixtures.packing import LOOSE

import edgekit
from edgekit import attempts, history
from edgekit.cli import main
from edgekit.device import DeviceProfile, MemoryBandwidth
from edgekit.history import store
from edgekit.strategies import Candidate
from edgekit.validation import Examined

pytestmark = pytest.mark.engines

WORDS = (
    *("--device", "intel-n100", "--threads", "1", "--strategy", "gguf-Q8_0", "--context", "128", "--max-kl", "9"),
    *("--min-top1", "0", "--max-slowdown", "1000"),
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llama(tmp_path_factory.mktemp("source") / "tiny-llama")


@pytest.fixture
def host() -> DeviceProfile:
    """This machine as far as a plan knows it: rates that nobody measured."""
    made = device("avx2", fp32_flops_per_s=figure(1e11), int8_ops_per_s=figure(2e11))
    bandwidth = MemoryBandwidth(sustained_bytes_per_s=figure(2e10))
    return made.model_copy(update={"name": "host", "soc": "this one", "memory_bandwidth": bandwidth})


def only(plan: edgekit.Plan) -> Candidate:
    (candidate,) = plan.candidates
    return candidate


def test_the_second_plan_expects_what_the_first_pack_measured(llama: Path, host: DeviceProfile, tmp_path: Path) -> None:
    folder = tmp_path / "history"

    def planned(name: str | Path = folder) -> Candidate:
        return only(edgekit.plan(llama, host, strategy="gguf-Q8_0", limits=LOOSE, history=name))

    before = planned()
    assert not folder.exists()
    packed = edgekit.pack(llama, host, out=tmp_path / "one", strategy="gguf-Q8_0", limits=LOOSE, history=folder)
    after, measured = planned(), packed.report.figure("peak RSS")
    assert measured is not None
    assert abs(after.ram_bytes.mid - measured) < abs(before.ram_bytes.mid - measured)
    assert planned() == after  # the same history, the same plan
    assert planned("none") == before
    edgekit.pack(llama, host, out=tmp_path / "two", strategy="gguf-Q8_0", limits=LOOSE, history=folder)
    assert [each.command for each in history.read(folder)] == ["pack", "pack"]
    one, two = history.read(folder)
    assert one.predicted == two.predicted  # what history taught is not in it
    edgekit.validate(tmp_path / "two", device=host, history=folder)
    assert [each.command for each in history.read(folder)] == ["pack", "pack", "validate"]


def test_explain_names_the_report_that_an_estimate_leans_on(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "history")
    words = [str(llama), *WORDS, "--history", folder]
    assert main(["pack", *words, "--out", str(tmp_path / "out")]) == 0
    (kept,) = history.read(Path(folder))
    assert (kept.on_device, kept.device, kept.candidate) == (False, "intel-n100", "gguf Q8_0")
    assert list(kept.predicted) == ["peak RSS"]  # times were measured here, not on an N100
    assert str(llama.parent) not in (tmp_path / "history" / store.FILE_NAME).read_text()
    capsys.readouterr()
    assert main(["plan", *words, "--explain"]) == 0
    assert kept.name in " ".join(capsys.readouterr().out.split())
    assert main(["plan", *words[:-2], "--explain", "--history", "none"]) == 0
    assert kept.name not in " ".join(capsys.readouterr().out.split())


def test_history_none_touches_nothing_and_the_default_is_the_cache(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("EDGEKIT_HISTORY")
    words = ["pack", str(llama), *WORDS]
    assert main([*words, "--history", "none", "--out", str(tmp_path / "one")]) == 0
    assert not (cache / "edgekit" / "history").exists()
    assert main([*words, "--out", str(tmp_path / "two")]) == 0
    assert len(history.read(cache / "edgekit" / "history")) == 1


def test_a_broken_history_stops_no_pack(llama: Path, host: DeviceProfile, tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    junk = b"\x00\xff" * 40_000 + b'\n{"schema_version": 1}\n{"measured": {"peak RSS": NaN}}\n'
    (folder / store.FILE_NAME).write_bytes(junk)
    packed = edgekit.pack(llama, host, out=tmp_path / "out", strategy="gguf-Q8_0", limits=LOOSE, history=folder)
    assert packed.report.status == "passed"
    assert len(history.read(folder)) == 1
    assert (folder / store.FILE_NAME).read_bytes().startswith(junk)


def test_a_history_that_cannot_be_written_is_told_in_the_report(
    llama: Path, host: DeviceProfile, tmp_path: Path
) -> None:
    folder = tmp_path / "file" / "history"
    folder.parent.touch()
    packed = edgekit.pack(llama, host, out=tmp_path / "out", strategy="gguf-Q8_0", limits=LOOSE, history=folder)
    assert "this report was not added to the history: Not a directory" in packed.report.notes
    assert "not added to the history" in (packed.folder / "report.html").read_text()


def test_after_a_memory_miss_the_next_is_chosen_with_the_error_seen(
    host: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first candidate is measured at ten times its memory: others of its engine are expected to miss as well."""
    examine, measured = attempts.validation.examine, []

    def inflated(bundle: Path, *others: Any, **options: Any) -> Examined:
        examined = examine(bundle, *others, **options)
        measured.append(json.loads((bundle / "edgekit.json").read_text())["strategy"])
        if len(measured) == 1:
            result = dict(examined.measurement.result)
            examined.measurement.result = result | {"peak_rss_bytes": 10 * result["peak_rss_bytes"]}
        return examined

    monkeypatch.setattr(attempts.validation, "examine", inflated)
    source = tiny_models.tiny_sentence_encoder(tmp_path / "source")
    limits = replace(LOOSE, max_ram_bytes=400 * 2**20)
    folder = tmp_path / "history"
    packed = edgekit.pack(source, host, out=tmp_path / "out", limits=limits, history=folder)
    plan = packed.manifest.plan
    assert [each.candidate for each in plan.tried] == measured
    assert len(measured) == len(set(measured)) == 2
    assert measured[0] == "onnx-int8"
    assert "peak RSS" in plan.tried[0].missed[0]
    assert measured[1].startswith("gguf")
    (moved,) = [each for each in plan.rejected if each.candidate == "onnx-fp32"]
    assert "onnx-int8" in moved.reason
    assert {each.candidate for each in plan.considered} >= {"onnx-int8", "onnx-fp32", plan.chosen}
    assert [each.passed for each in history.read(folder)] == [False, True]
    page = (packed.folder / "report.html").read_text()
    assert all(each.candidate in page for each in plan.considered)
