"""Hosts that cannot be used, and hosts that answer with what no agent of ours would."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from fixtures import bundles
from fixtures.devices import device
from fixtures.sshd import Server

from edgekit.errors import (
    BadReport,
    EdgekitError,
    HostKeyChanged,
    MissingTool,
    TargetLacksPython,
    TargetNotPrepared,
    TargetUnreachable,
)
from edgekit.progress import Silent
from edgekit.targets import Conditions, open_target
from edgekit.targets.ssh import connection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sshd is set up as on Linux")


def refuse(target: str, error: type[EdgekitError], said: str) -> None:
    """Opening it is refused in one line, whose control characters are gone."""
    with pytest.raises(error, match=said) as refused, open_target(target, Conditions(device(), 1, Silent())):
        pass
    assert type(refused.value) is error
    assert str(refused.value).isprintable()


def test_an_unknown_host_key_is_not_accepted_for_the_user(server: Server) -> None:
    (server.folder / "known_hosts").unlink()
    refuse(
        server.target,
        TargetUnreachable,
        r"is not known here.* - compare and accept it by ssh -F \S+ -p \d+ \w+@127.0.0.1",
    )
    assert not (server.folder / "known_hosts").exists()


def test_a_changed_host_key_is_told_and_left_to_the_user(server: Server) -> None:
    before = (server.folder / "known_hosts").read_text()
    server.new_host_key()
    refuse(
        server.target,
        HostKeyChanged,
        rf"not the one in {server.folder}/known_hosts:1: it shows SHA256:\S+ now - .*"
        rf"ssh-keygen -f {server.folder}/known_hosts -R '\[127.0.0.1\]:{server.port}'",
    )
    assert (server.folder / "known_hosts").read_text() == before


def test_a_closed_port_is_told_in_ssh_s_words(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        refuse(
            f"ssh:root@127.0.0.1:{port}",
            TargetUnreachable,
            rf"port {port}: Connection refused - try ssh -F \S+ -p {port} ",
        )


def test_who_is_not_let_in_is_told_what_to_try(server: Server) -> None:
    (server.folder / "authorized_keys").write_text("")
    refuse(
        server.target, TargetUnreachable, r"does not let you in: \S+ Permission denied \(publickey\)\. - have ssh -F"
    )


def test_a_host_that_hangs_up_is_unreachable(server: Server) -> None:
    server.commanded("echo no shell for \033[31mrobots >&2", "exit 1")
    refuse(server.target, TargetUnreachable, r"cannot be reached: no shell for \[31mrobots - try ssh")


def test_without_ssh_nothing_is_reached(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refuse(server.target, MissingTool, "ssh is not installed here - install OpenSSH")


def test_a_host_without_python_is_told_what_was_found(server: Server) -> None:
    server.commanded(python="")
    refuse(server.target, TargetLacksPython, "has no Python 3.11 or newer: no Python at all was found - install one")


def test_a_host_with_an_old_python_is_told_which(server: Server) -> None:
    server.commanded()
    python = server.folder / "bin" / "python3"
    python.write_text('#!/bin/sh\ncase "$*" in *split*) echo 3.9.2;; *) exit 1;; esac\n')
    refuse(server.target, TargetLacksPython, r"has no Python 3.11 or newer: python3 3\.9\.2 was found")


def test_a_host_without_a_home_cannot_keep_files(server: Server) -> None:
    server.commanded("export HOME=/proc/nothing")
    refuse(server.target, TargetNotPrepared, r"cannot be used: .*/proc/nothing.* - its home must be writable")


def test_a_host_that_never_stops_talking_is_left(server: Server) -> None:
    server.commanded("while true; do echo hello hello hello hello hello hello hello; done")
    refuse(server.target, TargetUnreachable, "prints more than 262144 bytes before any command runs - let its login")


def test_a_host_that_says_nothing_is_left(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_ANSWER_S", 0.5)
    server.commanded("exec sleep 60")
    refuse(server.target, TargetUnreachable, r"cannot be reached: no answer within 0\.5 s")


# An agent that is ours but for what EVIL changes of it.
EVIL = """
import json, sys
f = sys.stdin.buffer
program = f.read(int(f.readline())).decode()
assert program.endswith("module.main()\\n")
exec(program.removesuffix("module.main()\\n") + open({changes!r}).read() + "\\nmodule.main()\\n")
"""
# What the probe wrote, changed before it is sent.
RESULTS = """
import json
import numpy as np
real = module.Agent.run
def run(self, **request):
    told = real(self, **request)
    work = self.runs / "run" / "work"
    result = json.loads((work / "result.json").read_text())
    vectors = work / "embeddings.npy"
    {change}
    (work / "result.json").write_text(json.dumps(result))
    told["files"] = {{path.name: path.stat().st_size for path in work.iterdir() if path.is_file()}}
    {lie}
    return told
module.Agent.run = run
"""


def results(change: str = "pass", lie: str = "pass") -> str:
    return RESULTS.format(change=change, lie=lie)


def run_evil(server: Server, folder: Path, changes: str) -> Path:
    """Validate a bundle on a host whose agent was changed; the folder where its results lie."""
    (folder / "bundle").mkdir()
    bundle = bundles.add_runtime(bundles.embedding_bundle(folder / "bundle"))
    (folder / "changes.py").write_text(changes)
    (folder / "evil.py").write_text(EVIL.format(changes=str(folder / "changes.py")))
    server.commanded(f"exec python3 -P {folder / 'evil.py'}")
    work = folder / "work"
    work.mkdir()
    job: dict[str, Any] = {"bundle": "", "threads": 1, "warmup": 0, "repeats": 2, "latency": {"text": "red"}}
    job |= {"fidelity": {"texts": ["red", "sky"]}, "tokenize": ["red"], "baseline": None}
    (work / "job.json").write_text(json.dumps(job))
    with open_target(server.target, Conditions(device(), 1, Silent())) as place:
        place.run(bundle, work / "job.json", 60)
    return work


@pytest.mark.engines
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            results("result['model_sha256'] = '0' * 64"),
            r"measured another model: its file has sha256 000000000000\.\.\.",
        ),
        (results("result['latency_ms'][0] = float('nan')"), "a result that is none: NaN is not JSON"),
        (results("result['p50_ms'] = float('inf')"), "a result that is none: Infinity is not JSON"),
        (results("result['p50_ms'] = -1"), "a result that is none: p50_ms: .*greater than or equal to 0"),
        (results("result['threads'] = 'many'"), "a result that is none: threads: "),
        (results("result['libraries'] = {'numpy': 'x' * 1000}"), "a result that is none: libraries"),
        (results("result['cpu_parts'] = ['0x41:0xd0b'] * 9999"), "a result that is none: cpu_parts"),
        (results("del result['cpu']"), "a result that is none: cpu: "),
        (results("result = []"), "a result that is none: "),
        (results("result['token_ids'].append([1])"), "the token ids of 2 texts, 1 were asked"),
        (results("result['padding'] = 'x' * 2**26"), r"has no result\.json of 1 to \d+ bytes, but \d+"),
        (results("vectors.unlink()"), r"has no embeddings\.npy of 1 to \d+ bytes, but None"),
        (results("vectors.write_bytes(b'')"), r"has no embeddings\.npy of 1 to"),
        (
            results("np.save(vectors, np.array([[{}], [{}]], dtype=object), allow_pickle=True)"),
            r"sent embeddings\.npy, which is no array: its numbers are object",
        ),
        (results("np.save(vectors, np.zeros((3, 8), np.float32))"), r"no array: its shape is \(3, 8\)"),
        (results("np.save(vectors, np.zeros(2, np.float32))"), r"no array: its shape is \(2,\)"),
        (results("vectors.write_bytes(vectors.read_bytes()[:-1])"), r"no array: its shape \(2, 8\) does not fit"),
        (results("vectors.write_bytes(b'PK nothing')"), "no array: "),
        (results(lie="told['files'] = ['result.json']"), r"has no result\.json"),
        (results(lie="told['code'] = 'none'"), "answered without 'code', a whole number"),
        (results(lie="told['rotten'] = '\\x1b[2J'"), "answered without 'rotten', a whole number"),
        (results(lie="told['code'] = 10**400"), "answered what is no answer: "),
        (results(lie="told['files']['result.json'] = True"), r"a result that is none|has no result\.json"),
        (results(lie="told['files']['result.json'] = 10"), "a result that is none: "),
        ("module.tell = lambda _: print('{not json', flush=True)", "answered what is no answer: {not json"),
        ("module.tell = lambda _: print('[' * 2**21, flush=True)", r"answered what is no answer: \[\["),
        ("module.tell = lambda _: print('[1]', flush=True)", r"answered what is no answer: \[1\]"),
        (
            "module.Store.reserve = lambda self, files: {'missing': {'../../etc/passwd': 0}}",
            "asks for files that nobody offered",
        ),
        ("module.Store.reserve = lambda self, files: {'missing': 7}", "asks for files that nobody offered"),
        ("module.Agent.get = lambda self, name, size: {'size': size + 1}", "sends another result.json than it said"),
    ],
)
def test_what_no_probe_writes_is_refused(server: Server, tmp_path: Path, changes: str, said: str) -> None:
    with pytest.raises(BadReport, match=said) as refused:
        run_evil(server, tmp_path, changes)
    assert str(refused.value).isprintable()


@pytest.mark.engines
@pytest.mark.parametrize("tags", ["{}", "{'platforms': None}", "{'platforms': 7, 'abi': []}", "[]"])
def test_a_host_that_does_not_tell_its_platform_gets_no_wheels(server: Server, tmp_path: Path, tags: str) -> None:
    told = f"{{'ready': False, 'words': 'no \\x1b[2J index', 'tags': {tags}}}"
    with pytest.raises(TargetNotPrepared, match=r"cannot be installed on \S+: no \[2J index - install it"):
        run_evil(server, tmp_path, f"module.Packages.engine = lambda self, **request: {told}")


@pytest.mark.engines
def test_a_result_cut_short_is_a_broken_connection(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TargetUnreachable, match="broke"):
        run_evil(server, tmp_path, results(lie="told['files']['result.json'] += 1000"))


@pytest.mark.engines
def test_offsets_that_cannot_be_are_not_believed(server: Server, tmp_path: Path) -> None:
    """All is copied from the start, as far as the store is concerned."""
    changes = """
real = module.Store.reserve
def reserve(self, files):
    told = real(self, files)
    return {"missing": {name: 10**15 for name in told["missing"]}}
module.Store.reserve = reserve
"""
    assert (run_evil(server, tmp_path, changes) / "result.json").is_file()


@pytest.mark.engines
def test_names_and_claims_that_nobody_asked_for_stay_there(server: Server, tmp_path: Path) -> None:
    """No file is written but the expected ones, an ssh host cannot pass for an emulator, and words are made plain."""
    change = "result |= {'cpu': 'Some\\x1b[2J CPU\\n', 'emulator': 'qemu', 'kernels': ['fast'], 'unsafe_goldens': []}"
    lie = "told['files'] |= {'../evil': 3, '/tmp/evil': 3, 'evil.npy': 3}"
    work = run_evil(server, tmp_path, results(change, lie))
    assert sorted(path.name for path in work.iterdir()) == ["embeddings.npy", "job.json", "result.json"]
    result = json.loads((work / "result.json").read_text(encoding="utf-8"))
    assert result["cpu"] == "Some [2J CPU"
    assert not {"emulator", "kernels", "unsafe_goldens"} & result.keys()
