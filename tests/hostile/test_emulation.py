"""Archives that mean harm, downloads that were tampered with, and emulations that are cut short."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from fixtures import target_archives
from fixtures.commands import Desk, Moment, assert_refused, group_is_empty, living, start

import edgekit
from edgekit.errors import Interrupted, TargetNotPrepared
from edgekit.targets import preparing
from edgekit.targets.preparing.archives import unpack_deb, unpack_sdist, unpack_wheel


def keep(name: str) -> bool:
    return True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a folder beside it, in which nothing may ever appear."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "usr").mkdir(parents=True)
    return tmp_path / "root"


def assert_nothing_outside(root: Path) -> None:
    assert list((root.parent / "outside").iterdir()) == []
    assert not (root.parent / "evil").exists()


@pytest.mark.parametrize(
    "name", ["../evil", "./usr/../../evil", "/tmp/evil", "usr\\..\\evil", "./a/../../outside/evil"]
)
def test_no_member_of_a_package_climbs_out(root: Path, tmp_path: Path, name: str) -> None:
    package = target_archives.deb(tmp_path / "evil.deb", {name: b"x"})
    with pytest.raises(TargetNotPrepared, match=r"evil\.deb holds .*, which would be written outside its folder"):
        unpack_deb(package, root, keep)
    assert_nothing_outside(root)


@pytest.mark.parametrize("target", ["../outside", "usr/../../outside", "/../outside"])
def test_no_link_leads_out_and_nothing_is_written_through_one(root: Path, tmp_path: Path, target: str) -> None:
    package = target_archives.deb(tmp_path / "evil.deb", links={"./way": target})
    with pytest.raises(TargetNotPrepared, match="which is outside its folder"):
        unpack_deb(package, root, keep)
    (root / "way").symlink_to("../outside")
    package = target_archives.deb(tmp_path / "evil.deb", {"./way/evil": b"x"})
    with pytest.raises(TargetNotPrepared, match="would be written outside its folder"):
        unpack_deb(package, root, keep)
    assert_nothing_outside(root)


def test_a_file_replaces_a_link_of_its_name_and_not_what_that_names(root: Path, tmp_path: Path) -> None:
    package = target_archives.deb(tmp_path / "a.deb", {"./victim": b"safe"}, {"./link": "victim"})
    unpack_deb(package, root, keep)
    unpack_deb(target_archives.deb(tmp_path / "b.deb", {"./link": b"new"}), root, keep)
    assert ((root / "victim").read_bytes(), (root / "link").read_bytes()) == (b"safe", b"new")


def test_absolute_links_mean_the_root(root: Path, tmp_path: Path) -> None:
    unpack_deb(target_archives.deb(tmp_path / "a.deb", {"./etc/conf": b"x"}, {"./usr/conf": "/etc/conf"}), root, keep)
    assert (root / "usr" / "conf").read_bytes() == b"x"
    assert (root / "usr" / "conf").resolve().is_relative_to(root)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE])
def test_devices_pipes_and_hard_links_to_nothing_are_refused(root: Path, tmp_path: Path, kind: bytes) -> None:
    odd = tarfile.TarInfo("./odd")
    odd.type, odd.linkname = kind, "../outside"
    with pytest.raises(TargetNotPrepared):
        unpack_deb(target_archives.deb(tmp_path / "odd.deb", odd=[odd]), root, keep)
    assert_nothing_outside(root)


@pytest.mark.parametrize("raw", [b"", b"!<arch>\n", b"!<arch>\n" + b"x" * 60, b"PK\3\4", b"!<arch>\n" + b" " * 30])
def test_what_is_no_package_is_refused(root: Path, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "no.deb").write_bytes(raw)
    with pytest.raises(TargetNotPrepared, match=r"^no\.deb (is|holds) .*download it again"):
        unpack_deb(tmp_path / "no.deb", root, keep)


def test_a_package_cut_short_is_refused(root: Path, tmp_path: Path) -> None:
    package = target_archives.deb(tmp_path / "cut.deb", {"./usr/lib/a": bytes(range(256)) * 100})
    package.write_bytes(package.read_bytes()[:-60])
    with pytest.raises(TargetNotPrepared, match=r"cut\.deb cannot be unpacked"):
        unpack_deb(package, root, keep)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil"])
def test_no_member_of_a_wheel_climbs_out(root: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(TargetNotPrepared, match="would be written outside its folder"):
        unpack_wheel(target_archives.wheel(tmp_path / "evil.whl", {name: b"x"}), root)
    assert_nothing_outside(root)


def test_a_bomb_is_refused_before_it_goes_off(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("zeros", b"")
        archive.filelist[0].file_size = 2**40
    with pytest.raises(TargetNotPrepared, match="unpacks to more than 4 GiB"):
        unpack_wheel(path, root)


def test_a_source_archive_holds_one_folder(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("one/a", "two/b"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(TargetNotPrepared, match="holds 2 folders, not one"):
        unpack_sdist(path, tmp_path / "empty")


@pytest.mark.parametrize("damage", ["byte", "index", "stranger", "missing", "climbs", "link", "nested"])
def test_a_tampered_download_is_refused_and_nothing_prepared(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path / "targets"))
    source = target_archives.download(tmp_path / "download")
    package, index = source / "qemu" / "qemu-user_9.8.7_amd64.deb", source / "index.json"
    found = json.loads(index.read_text())
    if damage == "byte":
        raw = bytearray(package.read_bytes())
        raw[-9] ^= 1
        package.write_bytes(raw)
    elif damage == "index":
        index.write_text(index.read_text().replace("sha256", "md5"))
    elif damage == "stranger":
        target_archives.deb(source / "qemu" / "more.deb", {"./usr/bin/qemu-aarch64": b"#!/bin/sh\nexit 0"})
    elif damage == "missing":
        package.unlink()
    elif damage == "climbs":
        found["units"]["qemu"]["files"][0]["name"] = "../qemu/" + package.name
        index.write_text(json.dumps(found))
    elif damage == "link":
        package.rename(tmp_path / package.name)
        package.symlink_to(tmp_path / package.name)
    else:
        index.write_text("[" * 100_000)
    with pytest.raises(TargetNotPrepared):
        preparing.prepare(["aarch64"], source=source)
    assert [path.name for path in (tmp_path / "targets").glob("[!.]*")] == []
    assert not list((tmp_path / "targets").glob(".preparing*"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    from fixtures.packing import LOOSE

    out = tmp_path_factory.mktemp("bundle") / "out"
    return edgekit.pack(encoder, "intel-n100", out=out, strategy="onnx-int8", limits=LOOSE).folder


def emulators(leader: int) -> list[str]:
    """Command lines of the emulators in the group."""
    lines = []
    for pid in living(leader):
        try:
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    return [line for line in lines if "/qemu-" in line.partition("\0")[0]]


@pytest.mark.engines
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_emulator_outlives_edgekit(desk: Desk, bundle: Path, number: signal.Signals) -> None:
    words = ["validate", bundle, "--on", "emulated:cortex-a53", "--history", "none"]
    child = start(words, desk.folder, moment=Moment("edgekit.targets.emulated._ended", number, delay_s=2.0))
    assert child.reached(60)
    until = time.monotonic() + 1.5
    while not emulators(child.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert emulators(child.pid)
    ended = child.wait()
    assert group_is_empty(child.pid)
    if number == signal.SIGINT:
        assert_refused(ended, Interrupted, "interrupted")
        assert list(desk.tmp.iterdir()) == []


KILLED = """
import os, signal, sys
from edgekit.cli import main
from edgekit.targets.preparing import store
store.put = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def test_a_prepare_that_is_killed_leaves_nothing_but_what_the_next_one_clears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, home = target_archives.download(tmp_path / "download"), tmp_path / "targets"
    monkeypatch.setenv("EDGEKIT_TARGETS", str(home))
    words = ["targets", "prepare", "aarch64", "--from", str(source)]
    assert subprocess.run([sys.executable, "-c", KILLED, *words], check=False).returncode == -signal.SIGKILL
    assert list(home.glob("[!.]*")) == []
    assert list(home.glob(".preparing-*"))
    preparing.prepare(["aarch64"], source=source)
    found = sorted(path.name for path in home.iterdir())
    assert found == [".lock", "aarch64", "aarch64-onnxruntime", "qemu"]
