"""npm packages are fetched once, whole or not at all; npm itself is a stand-in that records what it was asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit import npm
from edgekit.errors import (
    BadInput,
    EdgekitError,
    MissingEngine,
    MissingTool,
    NoSpace,
    OutputExists,
    OutputUnwritable,
)

STAND_IN = """#!/bin/sh
if [ "$1" = --version ]; then echo "${NODE_IS:-v20.1.0}"; exit 0; fi
echo "$@" >> "$NPM_LOG"
if [ -n "$NPM_SAYS" ]; then echo "$NPM_SAYS" >&2; echo partial > part; exit 1; fi
if [ -n "$NPM_SLEEPS" ]; then echo $$ > "$NPM_LOG.pid"; sleep "$NPM_SLEEPS"; fi
mkdir node_modules && echo fetched > node_modules/one
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    folder = tmp_path / "lock"
    folder.mkdir()
    package = {"name": "@edgekit/Some Pages", "dependencies": {"one": "1.0.0"}, "devDependencies": {"two": "2.0.0"}}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "package-lock.json").write_text('{"lockfileVersion": 3}')
    return folder


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for npm and node alone on the path, besides the system's own; what npm was asked, a line a call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("npm", "node"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    monkeypatch.setenv("EDGEKIT_NODE", str(tmp_path / "store"))
    for name in ("NPM_SAYS", "NPM_SLEEPS", "NODE_IS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NPM_LOG", str(tmp_path / "asked"))
    return tmp_path / "asked"


def asked(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def left(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir()) if store.is_dir() else []


def test_fetched_once_and_then_without_npm(lock: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = npm.install(lock)
    assert (found / "node_modules" / "one").read_text() == "fetched\n"
    assert found.parent == npm.home()
    assert found.name.startswith("edgekit-some-pages-")
    assert left(npm.home()) == [found.name]
    monkeypatch.setenv("PATH", "/nowhere")
    assert npm.install(lock) == found
    assert len(asked(log)) == 1


def test_no_script_of_a_package_runs_and_nothing_optional_comes(lock: Path, log: Path) -> None:
    npm.install(lock)
    npm.install(lock, dev=True)
    app, dev = (line.split() for line in asked(log))
    for words in (app, dev):
        assert words[0] == "ci"
        assert {"--ignore-scripts", "--omit=optional"} <= set(words)
    assert "--omit=dev" in app
    assert "--omit=dev" not in dev


def test_another_lock_is_another_folder(lock: Path, log: Path) -> None:
    first, with_dev = npm.install(lock), npm.install(lock, dev=True)
    (lock / "package-lock.json").write_text('{"lockfileVersion": 3, "more": 1}')
    assert len({first, with_dev, npm.install(lock)}) == 3


@pytest.mark.parametrize(
    ("says", "error", "words"),
    [
        ("npm error code ENOTFOUND\nnpm error network request failed", MissingEngine, "not reached (ENOTFOUND)"),
        ("npm ERR! code ECONNREFUSED", MissingEngine, "copy "),
        ("npm error code EINTEGRITY\nnpm error sha512-x", MissingEngine, "not the one in the lock file"),
        ("npm error code ENOSPC\nnpm error nospc", NoSpace, "EDGEKIT_NODE"),
        ("npm error code EACCES", OutputUnwritable, "EDGEKIT_NODE"),
        ("npm error code EUSAGE\nnpm error\nnpm error out of sync", MissingEngine, "(EUSAGE): out of sync"),
        ("a crash", MissingEngine, "a crash"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_failures_are_one_line_and_leave_nothing(
    lock: Path, log: Path, monkeypatch: pytest.MonkeyPatch, says: str, error: type[EdgekitError], words: str
) -> None:
    monkeypatch.setenv("NPM_SAYS", says)
    with pytest.raises(error) as raised:
        npm.install(lock)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert left(npm.home()) == []
    monkeypatch.delenv("NPM_SAYS")
    assert (npm.install(lock) / "node_modules").is_dir()


@pytest.mark.parametrize("version", ["v18.19.0", "", "nonsense"])
def test_an_old_node_is_refused_with_what_is_needed(
    lock: Path, log: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("NODE_IS", version or " ")
    with pytest.raises(MissingTool, match=r"at least v20 is needed - install Node\.js 20"):
        npm.install(lock)
    assert asked(log) == []


def test_no_npm(lock: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingTool, match=r"npm is not installed.*apt-get install nodejs npm"):
        npm.install(lock)


def test_what_is_no_lock_is_refused(tmp_path: Path, log: Path) -> None:
    with pytest.raises(BadInput, match="no folder of an npm lock"):
        npm.install(tmp_path / "nothing")
    assert asked(log) == []


def test_a_folder_without_packages_is_not_taken_for_one_with_them(lock: Path, log: Path) -> None:
    (npm.place(lock) / "other").mkdir(parents=True)
    with pytest.raises(OutputExists, match="holds no node_modules - remove it"):
        npm.install(lock)


def test_a_store_that_cannot_be_written_is_named(
    lock: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_NODE", str(tmp_path / "file" / "store"))
    with pytest.raises(OutputUnwritable, match="EDGEKIT_NODE"):
        npm.install(lock)


def test_two_at_once_fetch_once(lock: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_SLEEPS", "0.6")
    command = [sys.executable, "-m", "edgekit.npm", str(lock)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {run.communicate(timeout=60)[0] for run in runs}
    assert told == {f"{npm.place(lock)}\n"}
    assert [run.returncode for run in runs] == [0, 0]
    assert len(asked(log)) == 1


def test_npm_does_not_outlive_edgekit(lock: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_SLEEPS", "60")
    run = subprocess.Popen([sys.executable, "-m", "edgekit.npm", str(lock)])
    pid = _pid(log.with_name("asked.pid"))
    run.kill()
    run.wait()
    assert _gone(pid)
    monkeypatch.delenv("NPM_SLEEPS")
    assert left(npm.home()) != []  # what the killed run left,
    found = npm.install(lock)
    assert left(npm.home()) == [found.name]  # and the next one cleared


def test_an_interrupt_leaves_nothing(lock: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_SLEEPS", "60")
    timer = threading.Thread(
        target=lambda: (_pid(log.with_name("asked.pid")), os.kill(os.getpid(), signal.SIGINT)), daemon=True
    )
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        npm.install(lock)
    timer.join()
    assert left(npm.home()) == []
    assert _gone(_pid(log.with_name("asked.pid")))


def test_the_command_says_where(lock: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert npm.main([str(lock), "--dev"]) == 0
    assert capsys.readouterr().out == f"{npm.place(lock, dev=True)}\n"
    assert npm.main([]) == 2
    assert npm.main(["--dve", str(lock)]) == 2
    assert npm.main([str(lock / "no")]) == BadInput.exit_code
    assert capsys.readouterr().err.count("\n") == 3


def _pid(file: Path) -> int:
    deadline = time.monotonic() + 20
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline, "npm was never started"
        time.sleep(0.02)
    return int(file.read_text())


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
