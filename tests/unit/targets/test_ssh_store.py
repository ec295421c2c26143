"""The agent's store of files, without an agent around it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.targets.ssh.agent import store as module
from edgekit.targets.ssh.agent.protocol import Gone, Refused
from edgekit.targets.ssh.agent.store import Store

Usage = namedtuple("Usage", "total used free")


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(module, "heard", lambda: None)
    (tmp_path / "blobs").mkdir()
    return Store(tmp_path / "blobs")


def put(store: Store, name: str, offset: int, sent: bytes, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BufferedReader(io.BytesIO(sent))  # type: ignore[arg-type]
    monkeypatch.setattr(module, "stdin", lambda: stream)
    store.put([[name, offset, size]])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_a_file_cut_anywhere_any_number_of_times_arrives_whole(
    store: Store, content: bytes, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte is sent twice, and nothing stands under the file's name before it is whole."""
    name, sent = sha(content), 0
    for each in store.folder.iterdir():
        each.unlink()
    for cut in [*cuts, None]:
        missing = store.reserve({name: len(content)})["missing"]
        if name not in missing:
            break
        assert not (store.folder / name).exists()
        rest = content[missing[name] :]
        arriving = rest if cut is None else rest[:cut]
        sent += len(arriving)
        if len(arriving) < len(rest):
            with pytest.raises(Gone):
                put(store, name, missing[name], arriving, len(rest), monkeypatch)
        else:
            put(store, name, missing[name], arriving, len(rest), monkeypatch)
    assert (store.folder / name).read_bytes() == content
    assert sent == len(content)
    assert store.reserve({name: len(content)}) == {"missing": {}}


def test_what_is_not_the_file_that_was_named_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = sha(b"good")
    with pytest.raises(Refused, match="changed while it was copied") as refused:
        put(store, name, 0, b"evil", 4, monkeypatch)
    assert refused.value.told["refused"] == "changed"
    assert list(store.folder.iterdir()) == []


def test_a_stored_file_of_the_wrong_size_is_copied_anew(store: Store) -> None:
    name = sha(b"good")
    (store.folder / name).write_bytes(b"goo")
    assert store.reserve({name: 4}) == {"missing": {name: 0}}
    assert not (store.folder / name).exists()


def test_a_rotten_file_is_found_and_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"good", b"fine"):
        put(store, sha(content), 0, content, 4, monkeypatch)
    (store.folder / sha(b"good")).chmod(0o600)
    (store.folder / sha(b"good")).write_bytes(b"evil")
    assert store.forget_rotten([sha(b"good"), sha(b"fine")]) == 1
    assert [path.name for path in store.folder.iterdir()] == [sha(b"fine")]


def test_a_full_disk_is_refused_before_anything_is_sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 2**30 - 70 * 2**20, 70 * 2**20))
    with pytest.raises(Refused) as refused:
        store.reserve({"a" * 64: 10 * 2**20})
    told = refused.value.told
    assert (told["refused"], told["needed_bytes"], told["free_bytes"]) == ("full", 74 * 2**20, 70 * 2**20)


def test_old_files_make_room_for_new_ones_oldest_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 200 * 2**20
    for index, name in enumerate(("b" * 64, "a" * 64, "c" * 64 + ".partial", "d" * 64)):
        (store.folder / name).write_bytes(bytes(100))
        os.utime(store.folder / name, (1000 + index, 1000 + index))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    monkeypatch.setattr(module, "MAX_STORE_BYTES", 300)
    assert store.reserve({"d" * 64: 100, "e" * 64: 50}) == {"missing": {"e" * 64: 0}}
    assert sorted(path.name[0] for path in store.folder.iterdir()) == ["c", "d"]


def test_where_files_cannot_be_linked_they_are_copied(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.folder / "x").write_bytes(b"weights")

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    store.place("x", tmp_path / "run" / "linked")
    assert (tmp_path / "run" / "linked").stat().st_nlink == 2
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store.place("x", tmp_path / "run" / "copied")
    assert (tmp_path / "run" / "copied").read_bytes() == b"weights"
    assert (tmp_path / "run" / "copied").stat().st_nlink == 1
