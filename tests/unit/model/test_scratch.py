"""Temporary folders: gone with their value, with their process, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.errors import NoSpace
from edgekit.model.scratch import Scratch


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_its_value(place: Path) -> None:
    one, two = Scratch(0), Scratch(0)
    (one.folder / "file").write_bytes(b"x")
    folder = one.folder
    del one
    assert not folder.exists()
    two.remove()
    two.remove()
    assert not list(place.iterdir())


def test_what_another_process_holds_stays_and_what_a_killed_one_left_goes(place: Path) -> None:
    code = """
        import os, tempfile
        tempfile.tempdir = os.environ["PLACE"]
        from edgekit.model.scratch import Scratch
        held = Scratch(0)
        print(held.folder, flush=True)
        input()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PLACE": str(place)},
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        theirs = Path(child.stdout.readline().strip())
        own = Scratch(0)
        assert theirs.is_dir()
        child.send_signal(signal.SIGKILL)
    assert theirs.is_dir()
    Scratch(0).remove()
    assert not theirs.exists()
    assert own.folder.is_dir()


def test_folders_without_a_lock_and_links_are_left_alone(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".lock").touch()
    (place / "edgekit-model-link").symlink_to(elsewhere)
    (place / "edgekit-model-new").mkdir()
    Scratch(0).remove()
    assert elsewhere.is_dir()
    assert {path.name for path in place.iterdir()} == {"edgekit-model-link", "edgekit-model-new"}


def test_a_forked_child_takes_nothing_away() -> None:
    scratch = Scratch(0)
    child = os.fork()
    if child == 0:
        scratch.remove()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert scratch.folder.is_dir()


def test_no_space(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(NoSpace, match=r"1 MiB free, the merged model needs 3 MiB - .*TMPDIR"):
        Scratch(3 * 2**20)
    assert not list(place.iterdir())
