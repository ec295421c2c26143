"""One file is written whole or not at all, and nothing that stands there is replaced unasked."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from edgekit import output
from edgekit.errors import NoSpace, OutputBusy, OutputExists, OutputUnwritable
from edgekit.output import check_file, write_file


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_once_and_again_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_file(path, "one", force=False)
    with pytest.raises(OutputExists, match="--force"):
        write_file(path, "two", force=False)
    assert path.read_text() == "one"
    write_file(path, "two", force=True)
    assert (path.read_text(), left(tmp_path)) == ("two", ["r.json"])
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_came_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    real = os.fsync

    def slow(descriptor: int) -> None:
        path.write_text("another's")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with pytest.raises(OutputExists):
        write_file(path, "ours", force=False)
    assert (path.read_text(), left(tmp_path)) == ("another's", ["r.json"])


@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    path = tmp_path / "r.json"
    if force:
        path.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace):
        write_file(path, "ours", force=force)
    assert left(tmp_path) == (["r.json"] if force else [])
    assert not force or path.read_text() == "before"


def test_what_a_killed_run_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".r.json.edgekit-part").write_text("half of a much longer text than the next")
    write_file(tmp_path / "r.json", "whole", force=False)
    assert ((tmp_path / "r.json").read_text(), left(tmp_path)) == ("whole", ["r.json"])


def test_two_runs_do_not_write_into_one_another(tmp_path: Path) -> None:
    temporary = tmp_path / ".r.json.edgekit-part"
    with temporary.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OutputBusy):
            write_file(tmp_path / "r.json", "ours", force=False)
        assert temporary.exists()
    write_file(tmp_path / "r.json", "ours", force=False)


def test_many_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path, errors = tmp_path / "r.json", []

    def write(text: str) -> None:
        try:
            write_file(path, text, force=True)
        except OutputBusy as error:
            errors.append(error)

    texts = [str(number) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert len(errors) < len(texts)
    assert left(tmp_path) == ["r.json"]


def test_a_linked_temporary_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".r.json.edgekit-part").symlink_to(tmp_path / "precious")
    with pytest.raises(OutputUnwritable):
        write_file(tmp_path / "r.json", "ours", force=True)
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "Is a directory"),
        ("no/r.json", "there is no folder"),
        ("link", "no plain file"),
        ("pipe", "no plain file"),
        ("file/r.json", "there is no folder"),
    ],
)
def test_where_no_file_can_be_is_known_before_the_work(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    before = left(tmp_path)
    with pytest.raises(OutputUnwritable, match=said):
        check_file(tmp_path / name, force=True)
    assert left(tmp_path) == before


def test_the_name_of_the_temporary_tells_the_file(tmp_path: Path) -> None:
    seen: list[str] = []

    def watching(descriptor: int, temporary: Path, path: Path) -> None:
        seen.append(temporary.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_claim", watching)
        write_file(tmp_path / "r.json", "x", force=False)
    assert seen == [".r.json.edgekit-part"]
