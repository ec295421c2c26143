"""The engine on a host that lacks it: installed there by pip, from an index or from wheels fetched here."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
from fixtures.environments import with_packages
from fixtures.manifests import minimal
from fixtures.sshd import Server

from edgekit.errors import MissingEngine, TargetFull, TargetLacksPython, TargetNotPrepared
from edgekit.manifest import Manifest
from edgekit.progress import Silent
from edgekit.targets.ssh import engine
from edgekit.targets.ssh.connection import Connection
from edgekit.targets.ssh.destination import destination

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="sshd is set up as on Linux"),
]
NAME, VERSION = "edgekit-tiny-engine", "1.0"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with the one wheel that a bundle needs here."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder)
    return folder


@pytest.fixture
def manifest() -> Manifest:
    return Manifest.model_validate(minimal())


@pytest.fixture(autouse=True)
def _tiny_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network in either place, and an engine that is one small package."""
    monkeypatch.setattr(engine, "pins", lambda _: {NAME: VERSION})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


@pytest.fixture
def host(server: Server) -> Server:
    """A host whose pip has no index either."""
    offline(server)
    return server


def offline(server: Server, *lines: str, python: str = sys.executable) -> None:
    quiet = "export PIP_NO_INDEX=1 PIP_CONFIG_FILE=/dev/null; unset PIP_FIND_LINKS"
    server.commanded(quiet, *lines, python=python)


def wheel(folder: Path, payload: bytes = b"") -> None:
    module = NAME.replace("-", "_")
    info = f"{module}-{VERSION}.dist-info"
    files = {
        f"{module}/__init__.py": b"",
        f"{module}/weights.bin": payload,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},{_digest(content)},{len(content)}" for name, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(folder / f"{module}-{VERSION}-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def prepare(server: Server, manifest: Manifest) -> int:
    """Prepare the engine there; the bytes of wheels that were sent."""
    connection = Connection(destination(server.target.removeprefix("ssh:")))
    try:
        engine.prepare(connection, manifest, Silent())
        return connection.sent_bytes
    finally:
        connection.close()


def installed(server: Server) -> list[Path]:
    return sorted((server.store / "envs").glob("*/edgekit_tiny_engine"))


def test_pip_there_installs_it_once(server: Server, manifest: Manifest, index: Path) -> None:
    offline(server, f"export PIP_FIND_LINKS={index}")
    assert prepare(server, manifest) == 0
    (package,) = installed(server)
    for path in index.iterdir():
        path.unlink()  # a second installation would fail
    assert prepare(server, manifest) == 0
    assert installed(server) == [package]


def test_where_pip_there_reaches_no_index_wheels_come_from_here(
    host: Server, manifest: Manifest, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    (file,) = index.iterdir()
    assert prepare(host, manifest) == file.stat().st_size
    assert len(installed(host)) == 1
    assert list((host.store / "runs").iterdir()) == []


def test_where_neither_reaches_one_it_says_so(host: Server, manifest: Manifest) -> None:
    said = rf"cannot be installed on ssh:\S+ ERROR: .*{NAME}.*; here: ERROR: .* - install it .* pip install {NAME}==1.0"
    with pytest.raises(TargetNotPrepared, match=said):
        prepare(host, manifest)
    assert list((host.store / "envs").iterdir()) == []


def test_without_pip_a_virtual_environment_lends_its_own(host: Server, manifest: Manifest, index: Path) -> None:
    without(host, index)
    assert prepare(host, manifest) == 0
    assert len(installed(host)) == 1


def test_without_pip_and_venv_there_is_no_way(host: Server, manifest: Manifest, index: Path) -> None:
    without(host, index, "venv")
    with pytest.raises(TargetLacksPython, match=r"has neither pip nor venv: .*venv.* - install python3-pip or"):
        prepare(host, manifest)


def without(server: Server, index: Path, *modules: str) -> None:
    """Let the host's Python be one without pip, and in which `modules` of the standard library cannot be imported."""
    python = with_packages(server.folder / "bare", ())
    (site,) = (server.folder / "bare").glob("lib/python*/site-packages")
    (site / "lacking.pth").write_text("".join(f"import sys; sys.modules[{name!r}] = None\n" for name in modules))
    offline(server, f"export PIP_FIND_LINKS={index}", python=str(python))


def test_a_disk_that_fills_up_under_pip_is_full(server: Server, manifest: Manifest, index: Path) -> None:
    for path in index.iterdir():
        path.unlink()
    wheel(index, bytes(3 * 2**20))
    offline(server, f"export PIP_FIND_LINKS={index}", f"ulimit -f {2**20 // 512}")
    with pytest.raises(TargetFull, match="its disk filled up while packages were installed"):
        prepare(server, manifest)
    assert list((server.store / "envs").iterdir()) == []


def test_what_is_not_installed_here_cannot_be_pinned_there(monkeypatch: pytest.MonkeyPatch, manifest: Manifest) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(engine, "_PACKAGES", {manifest.engine: ("edgekit-no-such-package",)})
    with pytest.raises(MissingEngine, match=r"edgekit-no-such-package is not installed here, .* - pip install"):
        engine.pins(manifest)
