"""What the emulated target makes of a probe's result; the guest itself is in tests/conformance/test_emulated.py."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import NoSpace, TargetNotPrepared, ValidationFailed
from edgekit.targets import emulated, guest
from edgekit.targets.emulated import Emulated, _Guest
from edgekit.targets.preparing import store
from edgekit.targets.preparing.cpus import Cpu
from edgekit.targets.preparing.store import Prepared

GUARDED = ["int8 products: VPMADDWD (AVX2; 60 instructions)", "fp32: MULPS (SSE; 9 instructions)"]
RESULT = {
    "load_ms": 5.0, "peak_rss_bytes": 9, "anonymous_bytes": 1, "file_rss_bytes": 2, "decode_tokens_per_s": 3.0,
    "engine": "onnxruntime 1.31.1", "isa": ["avx2"], "cpu": "host's", "goldens": [], "token_ids": [[1]],
}  # fmt: skip
Answer = Callable[[Mapping[str, Any]], tuple[dict[str, Any], list[str]]]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return Prepared("x86_64", {"qemu-user": "9.8.7", "python": "3.13", "numpy": "2.4"}, (), "now", tmp_path)


def ran(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, arch: str, answer: Answer) -> Any:
    """result.json after a run in which the guest answered as `answer` says to each job."""
    (tmp_path / "edgekit.json").write_text('{"engine": "onnxruntime"}')
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"threads": 4, "goldens": True, "fidelity": {"texts": ["x"]}}))
    monkeypatch.setattr(emulated, "_engine", lambda cpu, engine: prepared)
    monkeypatch.setattr(_Guest, "probe", lambda self, bundle, folder, asked, timeout_s: answer(asked))
    Emulated(Cpu("Some", arch), prepared, prepared, tmp_path).run(tmp_path, job, 9.0)
    return json.loads((tmp_path / "result.json").read_text())


def test_no_figure_of_a_clock_or_a_memory_gauge_is_kept(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ran(tmp_path, prepared, monkeypatch, "aarch64", lambda asked: (dict(RESULT), []))
    assert sorted(found) == ["cpu", "emulator", "engine", "goldens", "isa", "kernels", "token_ids"]
    assert (found["cpu"], found["emulator"]) == ("Some", "qemu-user 9.8.7")


def test_the_guest_runs_one_thread(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, Any]] = []
    ran(tmp_path, prepared, monkeypatch, "aarch64", lambda job: (asked.append(job), (dict(RESULT), []))[1])
    assert [job["threads"] for job in asked] == [1]


@pytest.mark.parametrize(
    ("arch", "isa", "kernels", "runs"),
    [
        ("x86_64", ["avx2"], GUARDED, 2),
        ("x86_64", ["avx2", "avx_vnni"], GUARDED, 1),
        ("x86_64", ["sse4_2"], ["int8 products: PMADDWD (SSE; 11 instructions)"], 1),
        ("x86_64", ["avx2"], GUARDED[1:], 1),
        ("aarch64", ["neon"], ["int8 products: SMULL (NEON; 9 instructions)"], 1),
    ],
)
def test_the_guard_is_left_out_once_more_where_it_guarded(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch,
    arch: str, isa: list[str], kernels: list[str], runs: int,
) -> None:  # fmt: skip
    asked: list[Mapping[str, Any]] = []

    def answer(job: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        asked.append(job)
        guarded = job.get("isa_safety", True)
        return {**RESULT, "isa": isa, "isa_safety": guarded, "goldens": ["right" if guarded else "wrong"]}, kernels

    found = ran(tmp_path, prepared, monkeypatch, arch, answer)
    assert found["goldens"] == ["right"]
    assert found.get("unsafe_goldens") == (["wrong"] if runs == 2 else None)
    assert len(asked) == runs
    assert [job["fidelity"] for job in asked[1:]] == [{}] * (runs - 1)


def test_an_older_runtime_that_keeps_its_guard_is_not_said_to_have_left_it_out(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ran(tmp_path, prepared, monkeypatch, "x86_64", lambda asked: (dict(RESULT), GUARDED))
    assert "unsafe_goldens" not in found


@pytest.fixture
def dead(tmp_path: Path, prepared: Prepared) -> _Guest:
    return _Guest(Cpu("core2duo", "x86_64"), prepared, prepared, tmp_path, tmp_path, "onnxruntime")


def test_an_illegal_instruction_names_what_was_being_done(dead: _Guest, tmp_path: Path) -> None:
    (tmp_path / guest.DOING).write_text("loading the engine")
    found = dead._failure(-signal.SIGILL, "qemu: uncaught target signal 4", tmp_path)
    assert str(found).startswith("illegal instruction on core2duo while loading the engine - onnxruntime is built for")
    (tmp_path / guest.DOING).unlink()
    assert "SIGSEGV on core2duo while starting Python" in str(dead._failure(-signal.SIGSEGV, "", tmp_path))


def test_the_probes_own_words_are_told_and_not_the_emulators(dead: _Guest, tmp_path: Path) -> None:
    told = 'Unknown CPU vendor\n{"error": "LoadFailed", "message": "no"}\nqemu-x86_64: warning: TCG\n'
    found = dead._failure(1, told, tmp_path)
    assert isinstance(found, ValidationFailed)
    assert "on emulated:core2duo (exit status 1): LoadFailed: no" in str(found)
    assert "exit status 3" in str(dead._failure(3, "qemu-x86_64: warning: TCG\n", tmp_path))


def test_a_full_disk_is_told_as_one(dead: _Guest, tmp_path: Path) -> None:
    told = '{"error": "OSError", "message": "[Errno 28] No space left on device"}'
    with pytest.raises(NoSpace):
        dead._failure(1, told, tmp_path)


def test_without_an_emulator_it_says_how_to_prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path))
    assert store.names() == []
    with pytest.raises(TargetNotPrepared, match=r"edgekit targets prepare x86_64 --engine onnxruntime; without a netw"):
        emulated._engine(Cpu("Haswell", "x86_64"), "onnxruntime")


def test_the_variant_is_the_library_that_was_loaded() -> None:
    maps = "7f00-7f10 r-xp 0 fe:00 1 /s/llama_cpp/lib/libggml-cpu-armv8.2_2.so\n"
    assert emulated._variant(maps, "CPU : NEON = 1 | SVE = 0 | DOTPROD = 1 | ") == (
        "ggml CPU variant armv8.2_2 (NEON DOTPROD)"
    )
