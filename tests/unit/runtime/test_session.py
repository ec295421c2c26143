"""One call at a time, cancel and close from elsewhere, refusals before loading: with an engine that is a stand-in."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import _machine, goldens
from edgekit_runtime._session import Session, _threads, open_session
from fixtures import bundles


class Counter:
    """Answers "0", "1", "2", ... until `max_tokens`; `run` waits to be let go."""

    version = "counter 1"

    def __init__(self) -> None:
        self.closed = 0
        self.entered, self.go = threading.Event(), threading.Event()
        self._cancelled = threading.Event()

    def begin(self) -> None:
        self._cancelled.clear()

    def cancel(self) -> None:
        self._cancelled.set()

    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def close(self) -> None:
        self.closed += 1

    def tokenize(self, text: str) -> list[int]:
        return [len(text)]

    def logits(self, ids: Sequence[int], out: Any) -> Any:
        self.entered.set()
        while not self.go.wait(0.01):
            if self._cancelled.is_set():
                raise rt.Cancelled("the call was cancelled")
        return np.zeros((len(ids), 1), np.float32)

    def prompt(self, prompt: str, max_tokens: int | None) -> tuple[list[int], int]:
        if prompt == "long":
            raise rt.PromptTooLong("too long")
        return [0], max_tokens or 3

    def pieces(self, ids: list[int], max_tokens: int, sampler: object) -> Iterator[bytes]:
        for index in range(max_tokens):
            if self._cancelled.is_set():
                raise rt.Cancelled("the call was cancelled")
            yield str(index).encode()


@pytest.fixture
def engine() -> Counter:
    return Counter()


@pytest.fixture
def session(engine: Counter, tmp_path: Path) -> Session:
    return Session(engine, {"task": "causal-lm", "engine": "counter", "name": "tiny"}, tmp_path)


def _in_thread(session: Session, engine: Counter) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            session.logits([1])
        except rt.RuntimeFailure as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert engine.entered.wait(5)
    return thread, errors


def test_a_stream_comes_by_and_by(session: Session) -> None:
    assert list(session.generate("a")) == ["0", "1", "2"]
    assert list(session.generate("a", max_tokens=5, stop="3")) == ["0", "1", "2"]


def test_a_second_call_is_refused_while_one_runs(session: Session, engine: Counter) -> None:
    thread, errors = _in_thread(session, engine)
    for call in (lambda: session.tokenize("a"), lambda: session.generate("a"), lambda: session.logits([1])):
        with pytest.raises(rt.Busy):
            call()
    engine.go.set()
    thread.join()
    assert errors == []
    assert session.tokenize("abc") == [3]


def test_an_unfinished_stream_keeps_the_session_busy(session: Session) -> None:
    stream = session.generate("a")
    with pytest.raises(rt.Busy):
        session.tokenize("a")
    assert next(stream) == "0"
    with pytest.raises(rt.Busy):
        session.generate("b")
    assert list(stream) == ["1", "2"]
    assert session.tokenize("abc") == [3]


def test_a_closed_or_forgotten_stream_frees_the_session(session: Session) -> None:
    for text in session.generate("a"):
        assert text == "0"
        break
    gc.collect()
    assert session.tokenize("a") == [1]
    stream = session.generate("a")
    stream.close()  # type: ignore[attr-defined]
    assert session.tokenize("a") == [1]


def test_a_prompt_that_does_not_fit_is_refused_at_once_and_frees_the_session(session: Session) -> None:
    with pytest.raises(rt.PromptTooLong):
        session.generate("long")
    assert session.tokenize("a") == [1]


def test_cancel_ends_a_stream_within_a_token(session: Session) -> None:
    stream = session.generate("a", max_tokens=100)
    assert next(stream) == "0"
    session.cancel()
    with pytest.raises(rt.Cancelled):
        next(stream)
    assert next(stream, None) is None
    assert list(session.generate("a")) == ["0", "1", "2"]


def test_a_cancel_before_the_first_token_is_not_lost(session: Session) -> None:
    stream = session.generate("a", max_tokens=100)
    session.cancel()
    with pytest.raises(rt.Cancelled):
        next(stream)


def test_cancel_without_a_call_does_nothing(session: Session) -> None:
    session.cancel()
    assert list(session.generate("a")) == ["0", "1", "2"]


def test_cancel_from_another_thread(session: Session, engine: Counter) -> None:
    thread, errors = _in_thread(session, engine)
    session.cancel()
    thread.join(5)
    assert [type(error) for error in errors] == [rt.Cancelled]


def test_closing_cancels_the_running_call_and_waits_for_it(session: Session, engine: Counter) -> None:
    thread, errors = _in_thread(session, engine)
    session.close()
    assert not thread.is_alive() or engine.closed == 1
    thread.join(5)
    assert [type(error) for error in errors] == [rt.Cancelled]
    assert engine.closed == 1


def test_closing_between_two_texts_of_a_stream(session: Session, engine: Counter) -> None:
    stream = session.generate("a", max_tokens=100)
    next(stream)
    session.close()
    with pytest.raises(rt.Closed):
        next(stream)


def _with_goldens(folder: Path, count: int) -> None:
    case = {"input": {"ids": [1]}, "expected": {"kind": "logits", "ids": [0], "values": [0]}}
    cases = [{"name": str(index), "tolerance": {"metric": "max_abs", "default": 1}} | case for index in range(count)]
    (folder / goldens.GOLDEN).write_text(json.dumps(goldens.document(cases)), encoding="utf-8")


def test_a_self_test_is_one_call_and_a_cancel_between_two_goldens_ends_it(engine: Counter, tmp_path: Path) -> None:
    listed = [{"path": goldens.GOLDEN, "size_bytes": 0, "sha256": "0" * 64}]
    session = Session(engine, {"task": "causal-lm", "engine": "counter", "name": "tiny", "files": listed}, tmp_path)
    _with_goldens(tmp_path, 3)
    seen: list[int] = []

    def logits(ids: Sequence[int], out: Any) -> Any:
        if engine.cancelled():
            raise rt.Cancelled("the call was cancelled")
        seen.append(1)
        for other in (lambda: session.tokenize("a"), session.self_test):
            refused: list[BaseException] = []
            thread = threading.Thread(target=lambda call=other, told=refused: _told(call, told))
            thread.start()
            thread.join()
            assert [type(error) for error in refused] == [rt.Busy]
        if len(seen) == 5:
            session.cancel()  # heard only once this golden is done
        return np.zeros((len(ids), 1), np.float32)

    engine.logits = logits  # type: ignore[method-assign]
    assert [each["passed"] for each in session.self_test()] == [True] * 3
    with pytest.raises(rt.Cancelled):
        session.self_test()
    assert len(seen) == 5
    assert session.tokenize("abc") == [3]
    session.close()
    (tmp_path / goldens.GOLDEN).unlink()
    with pytest.raises(rt.Closed):
        session.self_test()


def _told(call: Callable[[], object], told: list[BaseException]) -> None:
    try:
        call()
    except rt.RuntimeFailure as error:
        told.append(error)


def test_a_closed_session_says_so(session: Session) -> None:
    with session:
        pass
    session.close()
    session.cancel()
    for call in (lambda: session.tokenize("a"), lambda: session.generate("a"), lambda: session.embed(["a"])):
        with pytest.raises(rt.Closed):
            call()


@pytest.mark.parametrize("call", ["run", "embed", "classify", "encode"])
def test_a_call_of_another_task_names_those_there_are(session: Session, call: str) -> None:
    with pytest.raises(rt.WrongTask, match=r"logits\(\), tokenize\(\)"):
        getattr(session, call)({})


def test_a_call_the_engine_cannot_serve_is_the_wrong_task(session: Session) -> None:
    with pytest.raises(rt.WrongTask, match=r"chat\(\)"):
        session.chat([{"role": "user", "content": "a"}])


@pytest.mark.parametrize("text", [None, 3, b"a", "\ud800"])
def test_a_text_must_be_valid_unicode(session: Session, text: object) -> None:
    with pytest.raises(rt.BadInput):
        session.tokenize(text)  # type: ignore[arg-type]


def _open(folder: Path, **settings: Any) -> Session:
    defaults = {"threads": None, "memory_budget": None, "low_memory": False, "verify_files": True}
    return open_session(folder, **(defaults | settings))


def test_the_measured_peak_is_held_against_the_budget_before_loading(tmp_path: Path) -> None:
    folder = bundles.plain_bundle(tmp_path / "bundle")
    with pytest.raises(rt.MemoryBudget, match="100 MiB, 99 MiB"):
        _open(folder, memory_budget=99 * 2**20)
    with pytest.raises(rt.LoadFailed, match=r"refuses model\.onnx"):  # the budget suffices, and "weights" are no model
        _open(folder, memory_budget=100 * 2**20)


def test_without_a_measured_peak_the_file_alone_is_held_against_the_budget(tmp_path: Path) -> None:
    folder = bundles.plain_bundle(tmp_path / "bundle", memory={"peak_rss_bytes": None})
    with pytest.raises(rt.MemoryBudget, match="in its file alone"):
        _open(folder, memory_budget=6)


def test_a_cpu_that_lacks_a_feature_is_refused_before_loading(tmp_path: Path) -> None:
    folder = bundles.plain_bundle(tmp_path / "bundle", min_isa={_machine.arch(): ["telepathy"]})
    with pytest.raises(rt.UnsupportedDevice, match="telepathy"):
        _open(folder)


@pytest.mark.parametrize("budget", [0, -1, 1.5, "1GB"])
def test_a_memory_budget_is_a_positive_number_of_bytes(tmp_path: Path, budget: object) -> None:
    with pytest.raises(rt.BadInput, match="memory_budget"):
        _open(bundles.plain_bundle(tmp_path / "bundle"), memory_budget=budget)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_are_a_positive_whole_number(tmp_path: Path, threads: object) -> None:
    with pytest.raises(rt.BadInput, match="threads"):
        _open(bundles.plain_bundle(tmp_path / "bundle"), threads=threads)


@pytest.mark.parametrize(
    ("packed", "asked", "here", "threads", "notes"),
    [
        (5, None, 8, 5, 0),
        (5, None, 2, 2, 1),
        (5, 3, 2, 3, 0),
        (None, None, 2, 2, 0),
        (0, None, 2, 2, 0),
        (True, None, 2, 2, 0),
        ("4", None, 2, 2, 0),
    ],
)
def test_threads_are_those_of_the_device_as_far_as_they_are_here(
    monkeypatch: pytest.MonkeyPatch, packed: object, asked: int | None, here: int, threads: int, notes: int
) -> None:
    monkeypatch.setattr(_machine, "physical_cores", lambda: here)
    found, told = _threads({"device": {"threads": packed}}, asked)
    assert (found, len(told)) == (threads, notes)
    assert all("packed for 5 threads" in note and "2 cores" in note for note in told)
    assert _threads({}, None) == (here, [])
