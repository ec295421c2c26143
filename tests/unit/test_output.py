"""Nothing is ever half written: locks, temporaries, renames, and what a killed run leaves behind."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from edgekit import output
from edgekit.errors import NoSpace, OutputBusy, OutputExists, OutputUnwritable
from edgekit.output import writing


def write_bundle(target: output.Output, text: str) -> Path:
    made = target.work / "bundle"
    made.mkdir()
    (made / "edgekit.json").write_text(text)
    return made


def test_commit_renames_and_leaves_nothing_beside(tmp_path: Path) -> None:
    with writing(tmp_path / "out", force=False) as target:
        target.commit(write_bundle(target, "{}"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_error_inside_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writing(tmp_path / "out", force=False) as target:
        write_bundle(target, "{}")
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "edgekit.json").write_text("old")
    with pytest.raises(OutputExists), writing(out, force=False):
        pass
    with writing(out, force=True) as target:
        target.commit(write_bundle(target, "new"))
    assert (out / "edgekit.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_is_written_into_a_bundle(tmp_path: Path) -> None:
    """It would be refused from then on."""
    (tmp_path / "edgekit.json").write_text("{}")
    with pytest.raises(OutputUnwritable, match="lies in the bundle"), writing(tmp_path / "sub" / "out", force=True):
        pass
    with pytest.raises(OutputUnwritable, match="lies in the bundle"):
        output.write_file(tmp_path / "page.html", "", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["edgekit.json"]


def test_force_never_replaces_what_is_not_a_bundle(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(OutputExists, match="not a bundle"), writing(out, force=True):
        pass
    assert (out / "holiday.jpg").exists()


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with writing(tmp_path / "out", force=False) as target:
        target.commit(write_bundle(target, "{}"))
    assert (tmp_path / "out" / "edgekit.json").exists()


def test_two_writers_of_one_output(tmp_path: Path) -> None:
    with writing(tmp_path / "out", force=False), pytest.raises(OutputBusy), writing(tmp_path / "out", force=False):
        pass
    with writing(tmp_path / "out", force=False):  # and the lock is free again
        pass


def test_no_space_is_known_beforehand(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="MiB free"), writing(tmp_path / "out", force=False, need_bytes=2**60):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_half_way_is_one_clear_line(tmp_path: Path) -> None:
    """The kernel's own refusal, by a limit on the size of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(NoSpace, match="no space left"), writing(tmp_path / "out", force=False) as target:
            (target.work / "weights").write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_others_lie_inside_and_go_with_it(tmp_path: Path) -> None:
    before = tempfile.gettempdir()
    with writing(tmp_path / "out", force=False) as target:
        assert Path(tempfile.mkdtemp()).parent == target.work
    assert tempfile.gettempdir() == before
    assert list(tmp_path.iterdir()) == []


def test_files_that_could_not_be_copied_for_want_of_space(tmp_path: Path) -> None:
    told = [("a", "b", "[Errno 28] No space left on device: 'a'")]
    with pytest.raises(NoSpace), writing(tmp_path / "out", force=False):
        raise shutil.Error(told)
    assert list(tmp_path.iterdir()) == []


def test_numpys_words_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(NoSpace), writing(tmp_path / "out", force=False):
        raise OSError("65536 requested and 49968 written")


def test_a_full_disk_that_an_engine_calls_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSpace) as caught, writing(tmp_path / "out", force=False):
        usage = shutil.disk_usage(tmp_path)._replace(free=4096)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        raise RuntimeError("Protobuf serialization failed.")
    assert "Protobuf" in str(caught.value.__cause__)


def test_other_errors_inside_are_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path / "out", force=False):
        raise FileNotFoundError(errno.ENOENT, "gone", "model.safetensors")


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable), writing(tmp_path / "file" / "out", force=False):
        pass
    with pytest.raises(OutputUnwritable), writing(Path("/proc/edgekit-test/out"), force=False):
        pass


KILLED = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from edgekit.output import writing
    with writing(Path(sys.argv[1]), force=True) as target:
        made = target.work / "bundle"
        made.mkdir()
        (made / "edgekit.json").write_text("half")
        if sys.argv[2] == "replacing":
            Path(sys.argv[1]).rename(target.work.parent / "replaced")
        print("ready", flush=True)
        time.sleep(60)
    """
)


def killed_run(out: Path, moment: str) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(out), moment], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.kill()


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed_run(out, "working")
    assert not out.exists()
    assert any(".edgekit-" in path.name for path in tmp_path.iterdir())
    with writing(out, force=False) as target:
        target.commit(write_bundle(target, "whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_bundle_being_replaced_survives_a_kill(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "edgekit.json").write_text("old")
    killed_run(out, "replacing")
    assert not out.exists()
    with pytest.raises(RuntimeError), writing(out, force=True):
        assert (out / "edgekit.json").read_text() == "old"
        raise RuntimeError("and this run fails as well")
    assert (out / "edgekit.json").read_text() == "old"


def test_an_interrupt_clears_the_temporary(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(out), "working"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(0.05)
        os.kill(run.pid, signal.SIGINT)
        run.wait(10)
    assert list(tmp_path.iterdir()) == []


def old_bundle(out: Path) -> Path:
    out.mkdir()
    (out / "edgekit.json").write_text("old")
    return out


@pytest.mark.parametrize("exchange", [True, False])
def test_what_stood_there_is_replaced_with_and_without_an_exchange(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = old_bundle(tmp_path / "out")
    if not exchange:
        monkeypatch.setattr(output, "_exchange", lambda *_: False)
    with writing(out, force=True) as target:
        target.commit(write_bundle(target, "new"))
    assert (out / "edgekit.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_an_exchange_an_interrupt_between_the_renames_puts_the_old_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = old_bundle(tmp_path / "out")
    monkeypatch.setattr(output, "_exchange", lambda *_: False)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "bundle":
            assert not out.exists()
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), writing(out, force=True) as target:
        target.commit(write_bundle(target, "new"))
    assert (out / "edgekit.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_bundle_that_is_put_back_is_not_replaced_without_force(tmp_path: Path) -> None:
    out = old_bundle(tmp_path / "out")
    killed_run(out, "replacing")
    with pytest.raises(OutputExists), writing(out, force=False):
        pass
    assert (out / "edgekit.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_that_finished_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    clear = output._clear
    monkeypatch.setattr(output, "_clear", lambda given: (clear(given), old_bundle(given)))
    with pytest.raises(OutputExists), writing(out, force=False):
        pass
    assert (out / "edgekit.json").read_text() == "old"


def test_folders_made_for_nothing_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    with pytest.raises(NoSpace), writing(out, force=False, need_bytes=2**60):
        pass
    assert list(tmp_path.iterdir()) == []
    with writing(out, force=False) as target:
        target.commit(write_bundle(target, "new"))
    assert (out / "edgekit.json").read_text() == "new"


def test_names_with_the_signs_of_a_pattern_are_cleared_too(tmp_path: Path) -> None:
    out = tmp_path / "out[1]*"
    killed_run(out, "working")
    with writing(out, force=False) as target:
        target.commit(write_bundle(target, "whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["out[1]*"]


def test_a_bundle_is_as_readable_as_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with writing(tmp_path / "out", force=False) as target:
        made = write_bundle(target, "{}")
        made.chmod(0o700)
        target.commit(made)
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
