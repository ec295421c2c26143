"""Packs stopped at any moment, or started twice: no half bundle, no process left behind, and the next run is whole."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures import bundles
from fixtures.commands import LOOSE, Child, Desk, Ended, Moment, assert_refused, group_is_empty, living, snapshot, start

import edgekit
from edgekit.errors import Interrupted, OutputBusy, OutputExists, ValidationFailed

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(sys.platform != "linux", reason="which processes live is read from /proc"),
]

STEPS = ("open the model", "make", "export to ONNX", "quantize to int8", "validate", "write the bundle")
SAID = "^edgekit: interrupted; nothing is left half written$"


def pack(desk: Desk, *words: object, moment: Moment | None = None) -> Child:
    return start(["pack", "model", "--out", "out", *LOOSE, *words], desk.folder, moment=moment)


def assert_whole(desk: Desk, ended: Ended) -> None:
    """The run succeeded, and nothing stands beside its bundle but what was there before."""
    assert (ended.code, ended.err) == (0, "")
    assert edgekit.verify(desk.cwd / "out").status == "passed"
    assert sorted(path.name for path in desk.cwd.iterdir()) == ["model", "out"]
    assert list(desk.tmp.iterdir()) == []


def assert_stopped(desk: Desk, child: Child, before: dict[str, str]) -> None:
    """The child was interrupted, said so in one line, and left neither a file nor a process."""
    assert_refused(child.wait(), Interrupted, SAID)
    assert group_is_empty(child.pid)
    assert desk.state() == before


@pytest.fixture
def model(desk: Desk, encoder: Path) -> Path:
    return desk.copy(encoder)


@pytest.mark.parametrize(("step", "number"), [*zip(STEPS, [signal.SIGINT, signal.SIGTERM] * 3, strict=True)])
def test_an_interrupt_at_any_step_leaves_nothing(desk: Desk, model: Path, step: str, number: int) -> None:
    before = desk.state()
    child = pack(desk, moment=Moment(step, number))
    assert child.reached()
    assert_stopped(desk, child, before)


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_kill_at_any_step_leaves_no_bundle_and_the_next_run_clears_up(desk: Desk, model: Path, step: str) -> None:
    source = snapshot(model)
    child = pack(desk, moment=Moment(step, signal.SIGKILL))
    assert child.wait().code == -signal.SIGKILL
    assert group_is_empty(child.pid)
    assert not (desk.cwd / "out").exists()
    assert len(list(desk.cwd.glob(".out*"))) == 2  # its temporary and its lock
    assert_whole(desk, pack(desk).wait())
    assert snapshot(model) == source


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("name", ["encoder", "llama"])
def test_stops_that_fall_anywhere(desk: Desk, name: str, number: int, request: pytest.FixtureRequest) -> None:
    """Also into imports, callbacks of the engines and the clearing up itself."""
    source = snapshot(desk.copy(request.getfixturevalue(name)))
    for delay_ms in range(5, 600, 140):
        child = pack(desk, moment=Moment("open the model", number, delay_s=delay_ms / 1000))
        ended = child.wait()
        assert group_is_empty(child.pid)
        if (desk.cwd / "out").exists():  # it came too late
            edgekit.verify(desk.cwd / "out")
            shutil.rmtree(desk.cwd / "out")
        elif number == signal.SIGINT:
            assert_refused(ended, Interrupted, SAID)
            # One that falls into the very call that makes the lock may leave this empty file to the next run.
            assert {path.name for path in desk.cwd.iterdir()} <= {"model", ".out.lock"}
    assert_whole(desk, pack(desk).wait())
    assert snapshot(desk.cwd / "model") == source


def measuring(desk: Desk, *words: object) -> Child:
    """A pack whose measuring process runs."""
    child = pack(desk, *words, moment=Moment("edgekit.targets.local._probe"))
    assert child.reached()
    assert living(child.pid) == [child.pid]
    child.go()
    until = time.monotonic() + 10
    while len(living(child.pid)) < 2:
        assert time.monotonic() < until
        time.sleep(0.002)
    return child


@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_ctrl_c_ends_the_measuring_process_too(desk: Desk, model: Path, send: Callable[[int, int], None]) -> None:
    """Sent to edgekit alone, or to the whole group, as a terminal does."""
    before = desk.state()
    child = measuring(desk)
    send(child.pid, signal.SIGINT)
    assert_stopped(desk, child, before)


def test_a_kill_ends_the_measuring_process_too(desk: Desk, model: Path) -> None:
    child = measuring(desk)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait().code == -signal.SIGKILL
    assert group_is_empty(child.pid)
    assert_whole(desk, pack(desk).wait())


def kill_probe(child: Child) -> Ended:
    (probe,) = set(living(child.pid)) - {child.pid}
    os.kill(probe, signal.SIGKILL)
    return child.wait()


def test_a_measuring_process_that_dies_is_told(desk: Desk, model: Path) -> None:
    before = desk.state()
    said = r"the bundle failed in its own runtime \(killed by signal 9\): it said nothing"
    assert_refused(kill_probe(measuring(desk, "--strategy", "onnx-int8")), ValidationFailed, said)
    assert desk.state() == before


def test_a_candidate_whose_measuring_process_dies_gives_way_to_the_next(desk: Desk, model: Path) -> None:
    assert_whole(desk, kill_probe(measuring(desk)))
    tried = edgekit.verify(desk.cwd / "out").plan.tried
    assert [each.passed for each in tried] == [False, True]
    assert "killed by signal 9" in tried[0].missed[0]


# Replacing a bundle.


@pytest.fixture
def old(desk: Desk, model: Path) -> dict[str, str]:
    return snapshot(bundles.plain_bundle(desk.cwd / "out"))


@pytest.mark.parametrize(("step", "number"), [("make", signal.SIGKILL), ("write the bundle", signal.SIGTERM)])
def test_a_bundle_is_kept_while_its_successor_is_made(desk: Desk, old: dict[str, str], step: str, number: int) -> None:
    child = pack(desk, "--force", moment=Moment(step, number))
    assert child.wait().code in (-signal.SIGKILL, Interrupted.exit_code)
    assert snapshot(desk.cwd / "out") == old
    assert_refused(pack(desk).wait(), OutputExists, "exists - give another --out, or --force to replace it")
    assert snapshot(desk.cwd / "out") == old
    assert_whole(desk, pack(desk, "--force").wait())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("after", [False, True])
def test_the_exchange_leaves_the_old_bundle_or_the_new_one_whole(
    desk: Desk, old: dict[str, str], number: int, after: bool
) -> None:
    child = pack(desk, "--force", moment=Moment("edgekit.output._exchange", number, after=after))
    assert child.wait().code in (-signal.SIGKILL, Interrupted.exit_code)
    if after:
        assert edgekit.verify(desk.cwd / "out").status == "passed"
    else:
        assert snapshot(desk.cwd / "out") == old
    assert_whole(desk, pack(desk, "--force").wait())


# Within the memory limit.


LIMITED = ("--max-ram", "1GB")
IN_THE_GROUP = "edgekit.targets.local._forget_cached"  # called just before the process starts there


def groups_of(pid: int) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").rglob(f"edgekit-{pid}-*") if path.is_dir()]


def test_an_interrupt_within_the_memory_limit_leaves_no_group(desk: Desk, model: Path) -> None:
    before = desk.state()
    child = pack(desk, *LIMITED, moment=Moment(IN_THE_GROUP, signal.SIGTERM, after=True, delay_s=0.1))
    assert child.reached()
    assert_stopped(desk, child, before)
    assert groups_of(child.pid) == []


def test_a_group_left_by_a_killed_pack_goes_with_the_next(desk: Desk, model: Path) -> None:
    child = pack(desk, *LIMITED, moment=Moment(IN_THE_GROUP, signal.SIGKILL, after=True, delay_s=0.1))
    assert child.wait().code == -signal.SIGKILL
    assert group_is_empty(child.pid)  # what ran in it has ended with its edgekit
    assert_whole(desk, pack(desk, *LIMITED).wait())
    assert groups_of(child.pid) == []


# Two at once.


def test_of_two_packs_into_one_output_one_succeeds(desk: Desk, model: Path) -> None:
    first = pack(desk, moment=Moment("validate"))
    assert first.reached()
    before = desk.state()
    second = start(["pack", "model", "--out", "../cwd/out", "--force", *LOOSE], desk.folder, name="second").wait()
    assert_refused(second, OutputBusy, "another pack is writing .*out - wait for it, or give another --out")
    assert desk.state() == before
    first.go()
    assert_whole(desk, first.wait())


def test_packs_started_together_into_one_output_write_one_bundle(desk: Desk, model: Path) -> None:
    together = [
        start(["pack", "model", "--out", "out", *LOOSE], desk.folder, name=f"run-{index}") for index in range(4)
    ]
    ended = sorted((child.wait() for child in together), key=lambda each: each.code)
    assert [each.code == 0 for each in ended] == [True, False, False, False]
    assert {each.code for each in ended[1:]} <= {OutputBusy.exit_code, OutputExists.exit_code}
    assert_whole(desk, ended[0])


def test_packs_into_different_outputs_do_not_meet(desk: Desk, model: Path) -> None:
    first = pack(desk, moment=Moment("validate"))
    assert first.reached()
    second = start(["pack", "model", "--out", "out.2", *LOOSE], desk.folder, name="second").wait()
    assert (second.code, second.err) == (0, "")
    edgekit.verify(desk.cwd / "out.2")
    shutil.rmtree(desk.cwd / "out.2")
    first.go()
    assert_whole(desk, first.wait())
