"""Preparing from a folder of downloads, what is there already, and what is refused; no network is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures import target_archives

from edgekit.cli import main
from edgekit.errors import MissingTool, NoSpace, OutputBusy, TargetNotPrepared, UnknownCpu, UsageError
from edgekit.targets import preparing
from edgekit.targets.preparing import debian, store, units, wheels

CLOSED = "http://127.0.0.1:9/debian"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path / "targets"))
    return tmp_path / "targets"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return target_archives.download(tmp_path / "download")


def left(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.name != ".lock")


def test_from_a_folder_everything_takes_its_place(home: Path, source: Path) -> None:
    steps = preparing.prepare(["aarch64"], source=source)
    assert [(step.name, step.new) for step in steps] == [
        ("qemu", True), ("aarch64", True), ("aarch64-onnxruntime", True)
    ]  # fmt: skip
    assert steps[0].versions["qemu-user"] == "9.8.7"
    assert left(home) == ["aarch64", "aarch64-onnxruntime", "qemu"]
    root = home / "aarch64" / "root"
    assert (root / "lib" / "libc.so.6").read_bytes() == b"libc"
    assert sorted(path.name for path in (root / "usr").iterdir()) == ["bin", "lib", "lib64", "sbin"]
    assert [path.name for path in (root / "usr" / "bin").iterdir()] == ["python3.13"]
    assert sorted(path.name for path in (home / "qemu").iterdir()) == ["prepared.json", "qemu-aarch64", "qemu-x86_64"]
    assert (home / "aarch64-onnxruntime" / "site" / "onnxruntime" / "__init__.py").is_file()


@pytest.mark.parametrize("name", ["aarch64", "cortex-a76", "Cortex-A53", "max", "raspberry-pi-5-8gb"])
def test_a_cpu_or_a_device_means_its_architecture(home: Path, source: Path, name: str) -> None:
    assert [step.name for step in preparing.prepare([name], source=source)] == [
        "qemu",
        "aarch64",
        "aarch64-onnxruntime",
    ]


def test_a_cpu_that_nobody_knows_is_refused_with_the_nearest(home: Path, source: Path) -> None:
    with pytest.raises(UnknownCpu, match="knows no CPU 'haswel' - did you mean Haswell"):
        preparing.prepare(["haswel"], source=source)
    with pytest.raises(UnknownCpu, match="knows no CPU '3dnow'"):
        preparing.prepare(["3dnow"], source=source)
    with pytest.raises(UsageError, match="the profile browser-wasm names no CPU to emulate"):
        preparing.prepare(["browser-wasm"], source=source)


def test_where_no_emulator_runs_nothing_is_fetched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units.platform, "system", lambda: "Darwin")
    with pytest.raises(TargetNotPrepared, match=r"no emulator runs on Darwin .* - use Linux"):
        preparing.prepare(["aarch64"], mirror=CLOSED)
    assert not home.exists()


def test_what_it_was_made_of_is_recorded(home: Path, source: Path) -> None:
    preparing.prepare(["aarch64"], source=source)
    found = json.loads((home / "aarch64" / "prepared.json").read_text())
    index = json.loads((source / "index.json").read_text())
    assert found["files"] == index["units"]["aarch64"]["files"]
    assert found["versions"]["python"] == wheels.PYTHON
    assert {each["name"] for each in found["files"]} >= {"libc6_2_arm64.deb", "numpy-1-py3-none-any.whl"}


def test_a_second_time_nothing_is_done_unless_forced(home: Path, source: Path) -> None:
    preparing.prepare(["aarch64"], source=source)
    before = (home / "aarch64").stat().st_ino
    assert not any(step.new for step in preparing.prepare(["aarch64"]))
    assert (home / "aarch64").stat().st_ino == before
    assert all(step.new for step in preparing.prepare(["aarch64"], source=source, force=True))
    assert (home / "aarch64").stat().st_ino != before
    assert left(home) == ["aarch64", "aarch64-onnxruntime", "qemu"]


def test_another_version_installed_here_is_prepared_anew(
    home: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing.prepare(["aarch64"], source=source)
    real = wheels.installed
    monkeypatch.setattr(wheels, "installed", lambda names: dict.fromkeys(real(names), "99.0"))
    (_, root) = units.units(["aarch64"], ())
    assert units.prepared(root) is None
    with pytest.raises(TargetNotPrepared, match=r"has aarch64 for numpy .*, here is 99\.0 - download it again"):
        preparing.prepare(["aarch64"], source=source)
    assert left(home) == ["aarch64", "aarch64-onnxruntime", "qemu"]


def test_a_download_is_kept_where_it_is_whole(source: Path) -> None:
    before = {path: path.stat().st_ino for path in source.iterdir()}
    target_archives.download(source)
    assert {path: path.stat().st_ino for path in source.iterdir()} == before
    (source / "qemu" / "qemu-user_9.8.7_amd64.deb").write_bytes(b"damaged")
    target_archives.download(source)
    assert {path.name for path in source.iterdir() if path.stat().st_ino != before[path]} == {"qemu", "index.json"}
    assert not list(source.glob(".part*"))


def test_a_unit_that_fails_leaves_nothing_and_those_before_it_stay(home: Path, source: Path) -> None:
    (source / "aarch64" / "libc6_2_arm64.deb").write_bytes(b"no package")
    with pytest.raises(TargetNotPrepared, match="its sha256 differs"):
        preparing.prepare(["aarch64"], source=source)
    assert left(home) == ["qemu"]


def test_what_a_killed_run_left_is_cleared(home: Path, source: Path) -> None:
    (home / ".preparing-dead" / "aarch64").mkdir(parents=True)
    preparing.prepare(["aarch64"], source=source)
    assert ".preparing-dead" not in left(home)


def test_two_do_not_prepare_at_once(home: Path, source: Path) -> None:
    with store.preparing(0), pytest.raises(OutputBusy, match="another edgekit prepares targets"):
        preparing.prepare(["aarch64"], source=source)


def test_clean_removes_an_architecture_with_its_engines(home: Path, source: Path) -> None:
    preparing.prepare(["aarch64"], source=source)
    assert preparing.clean("aarch64") == ["aarch64", "aarch64-onnxruntime"]
    assert left(home) == ["qemu"]
    with pytest.raises(UsageError, match="nothing is prepared by the name 'aarch64' - there is qemu"):
        preparing.clean("aarch64")
    assert preparing.clean() == ["qemu"]
    assert left(home) == []
    assert preparing.clean() == []


def test_clean_also_removes_what_another_layout_left(home: Path, source: Path) -> None:
    preparing.prepare(["aarch64"], source=source)
    (home / "qemu" / "prepared.json").write_text('{"layout": 0}')
    assert units.prepared(units.qemu()) is None
    assert "qemu" in preparing.clean()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--engine", "torch"], 2, "there is no engine 'torch' - choose one of onnxruntime, llama.cpp, all"),
        (["--mirror", "debian.org"], 2, "is no address of a Debian archive"),
        (["--mirror", "http://x/ trixie main\ndeb http://evil"], 2, "is no address of a Debian archive"),
        (["--download", "d", "--from", "d"], 2, "--download only fetches: nothing is prepared"),
        (["--from", "nothing-there"], 60, "there is no index.json in nothing-there"),
        (["--frm", "d"], 2, "did you mean --from?"),
        (["--mirror", CLOSED], 60, f"fetching from {CLOSED} failed"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert main(["targets", "prepare", "aarch64", *words]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not home.exists() or left(home) == []


def test_without_apt_or_keys_or_pip_it_says_what_to_do(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "_KEYRING", tmp_path / "none")
    with pytest.raises(MissingTool, match="apt-get install debian-archive-keyring, or prepare from a folder"):
        preparing.prepare(["aarch64"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match=r"there is no apt-get here.*--from DIR"):
        preparing.prepare(["aarch64"])
    monkeypatch.setattr(wheels, "find_spec", lambda _: None)
    with pytest.raises(MissingTool, match="there is no pip in this Python"):
        wheels.fetch({"numpy": "1"}, "aarch64", tmp_path)


def test_a_version_that_pip_does_not_find_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(TargetNotPrepared, match="fetching wheels for aarch64 failed: ERROR: No matching distribution"):
        wheels.fetch({"numpy": "0.0.1"}, "aarch64", tmp_path)


def test_too_little_space_is_told_before_anything_is_fetched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoSpace, match="has 1 MiB free and about 700 MiB are needed"):
        preparing.prepare(["aarch64"], mirror=CLOSED)
    assert left(home) == []


def test_without_the_compiler_llama_cpp_is_refused_and_the_rest_stays(
    home: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.targets.preparing import llama

    monkeypatch.setattr(llama.shutil, "which", lambda _: None)
    with pytest.raises(MissingTool, match=r"apt-get install g\+\+.*or --engine onnxruntime"):
        llama.build(source, "aarch64", home, preparing.Silent())


def test_the_place_is_named_by_the_environment_or_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EDGEKIT_TARGETS")
    assert store.home() == tmp_path / "edgekit" / "targets"
    monkeypatch.setenv("EDGEKIT_TARGETS", "here")
    assert store.home() == Path.cwd() / "here"


def test_the_list_names_what_is_ready_and_what_to_do(
    home: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preparing.prepare(["aarch64"], source=source)
    assert main(["targets", "list", "--json"]) == 0
    rows = {row["target"].partition(",")[0]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["emulated:cortex-a53"]["ready"]
    assert rows["emulated:cortex-a53"]["state"].startswith("onnxruntime ")
    assert rows["emulated:Haswell"]["state"] == "edgekit targets prepare x86_64"
    assert rows["local"]["ready"]
    assert main(["targets", "list"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 110


def test_an_unwritable_place_is_one_line(home: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.write_text("a file")
    assert main(["targets", "prepare", "aarch64", "--from", str(source)]) == 42
    assert "cannot write to" in capsys.readouterr().err
    assert home.read_text() == "a file"
