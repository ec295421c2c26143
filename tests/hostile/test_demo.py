"""`edgekit demo` of damaged and malicious bundles, and what it comes to when it is ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fixtures import bundles
from fixtures.hostile_bundles import HOSTILE
from fixtures.page import serving

from edgekit import demo, npm
from edgekit.cli import main
from edgekit.errors import BadBundle, MissingTool, TooLargeForPage


@pytest.mark.parametrize("harm", HOSTILE)
def test_a_hostile_bundle_is_never_served(harm: str, tmp_path: Path) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    HOSTILE[harm](bundle)
    with pytest.raises(BadBundle) as raised:
        demo.demo(bundle)
    assert "\n" not in str(raised.value)


@contextmanager
def started(bundle: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`edgekit demo --json` as its own process, and the address that it told."""
    code = "import sys; from edgekit.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "demo", str(bundle), "--json", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly_when_told_to(tmp_path: Path, ending: signal.Signals) -> None:
    with started(bundles.plain_bundle(tmp_path / "b")) as (process, url):
        assert urllib.request.urlopen(url).status == 200
        os.kill(process.pid, ending)
        told, complained = process.communicate(timeout=20)
        assert (process.returncode, told, complained) == (0, "", "")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2].strip("/"))), timeout=5)


def test_a_killed_one_leaves_its_port(tmp_path: Path) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    with started(bundle) as (process, url):
        urllib.request.urlopen(url).read()
        process.kill()
        process.wait()
        port = url.rpartition(":")[2].strip("/")
        with started(bundle, "--port", port) as (_, again):
            assert again == url


def test_mistakes_are_one_line_with_a_status_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = str(bundles.plain_bundle(tmp_path / "b"))
    with serving(Path(bundle)) as page:
        mistakes = {
            ("demo", str(tmp_path)): (27, "not a bundle"),
            ("demo", bundle, "--port", str(page.server.server_port)): (70, "is in use"),
            ("demo", bundle, "--port", "65536"): (2, "1 to 65535"),
            ("demo", bundle, "--force"): (2, "give it with --export"),
            ("demo", str(tmp_path / "nothing")): (27, "there is no"),
            ("demo", bundle, "--port", "http"): (2, "not a number"),
            ("demo", bundle, "--host", "203.0.113.1"): (2, "address of this machine"),
            ("demo", bundle, "--open", "--no-open"): (2, "exclude"),
            ("demo", bundle, "--prot", "1"): (2, "--port"),
            ("demo",): (2, "needs BUNDLE"),
        }
        for words, (status, told) in mistakes.items():
            assert main(list(words)) == status, words
            complained = capsys.readouterr().err
            assert told in complained
            assert complained.count("\n") == 1
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("EDGEKIT_NODE", str(tmp_path / "none"))
    assert main(["demo", bundle]) == MissingTool.exit_code
    assert "install Node.js" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_model_beyond_a_browser_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "MAX_MODEL_BYTES", 5)
    monkeypatch.setenv("EDGEKIT_NODE", str(tmp_path / "none"))
    with pytest.raises(TooLargeForPage, match=r"onnx/model\.onnx has .* and a page holds at most"):
        demo.demo(bundles.plain_bundle(tmp_path / "b"))


def test_without_npm_once_its_packages_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm.install(demo.LOCK)
    monkeypatch.setenv("PATH", "/nowhere")
    with serving(bundles.plain_bundle(tmp_path / "b")) as page:
        assert b"edgekit demo" in urllib.request.urlopen(page.url).read()


def test_a_bundle_s_own_scripts_are_text(tmp_path: Path) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    for name in ("evil.js", "evil.mjs", "evil.svg", "evil.html", "evil.wasm", "page/app.js", "..page"):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("alert(1)")
    with serving(bundles.reseal(bundle)) as page:
        for name in ("evil.js", "evil.mjs", "evil.svg", "evil.html", "evil.wasm", "page/app.js", "..page"):
            answer = urllib.request.urlopen(f"{page.url}bundle/{name}")
            kind = answer.headers["Content-Type"]
            assert kind.startswith("text/html") == (name == "evil.html")
            assert "javascript" not in kind
            assert "svg" not in kind
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"].endswith("sandbox")
        assert b"alert(1)" not in urllib.request.urlopen(f"{page.url}page/app.js").read()


def test_names_reach_the_terminal_without_its_commands(tmp_path: Path) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b", name="a\x1b]0;b\x07\nc")
    page = demo.demo(bundle)
    first = next(demo.told(page, show=False))
    page.server.server_close()
    assert first.splitlines()[0].startswith("a ]0;b c: onnx-fp32 for")


@pytest.mark.parametrize(
    ("wanted", "unwanted", "shows"), [(True, False, True), (False, True, False), (False, False, False)]
)
def test_a_browser_is_opened_only_where_a_person_sits(
    wanted: bool, unwanted: bool, shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert demo.should_open(wanted, unwanted) == shows
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert demo.should_open(wanted, unwanted) == (shows or not unwanted)
