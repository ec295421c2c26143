"""No test reads or writes the caches and the history of the person who runs it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures import c_runtime, c_text, java_runtime, js_runtime
from fixtures.sshd import Server, serving
from hypothesis import settings

_ROOT = Path(__file__).resolve().parents[1]

# What a machine is busy with is no property of the code: tests are not timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell starts what it puts into the background deaf to interrupts, and tests send those to programs of theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder for this run; no history unless a test names one, so that no test depends on those before it.

    Programs that tests start (pip, the hub's client) keep the caches they had.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CACHE_DIR", os.environ.get("PIP_CACHE_DIR") or str(home / "pip"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("EDGEKIT_HISTORY", "none")
        # Emulators and what runs in them: prepared once, by make.
        patch.setenv("EDGEKIT_TARGETS", os.environ.get("EDGEKIT_TARGETS") or str(_ROOT / ".targets"))
        # npm packages: fetched once, by make.
        patch.setenv("EDGEKIT_NODE", os.environ.get("EDGEKIT_NODE") or str(_ROOT / ".node"))
        yield


@pytest.fixture(scope="session")
def c_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C runtime's programs, sanitized; see fixtures/c_runtime."""
    return c_runtime.programs(tmp_path_factory.mktemp("c"))


@pytest.fixture(scope="session")
def c_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C runtime's tokenizer as a program; see fixtures/c_text."""
    return c_text.programs(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="session")
def inside(c_programs: Path) -> Iterator[c_runtime.Inside]:
    """The pure parts of the C runtime, asked by themselves; see fixtures/c_runtime."""
    with c_runtime.Inside(c_programs / "inside") as inside:
        yield inside


@pytest.fixture(scope="session")
def java_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Java runtime and the programs that use it; see fixtures/java_runtime."""
    return java_runtime.programs(tmp_path_factory.mktemp("java"))


@pytest.fixture(scope="session")
def js_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app that holds the JavaScript runtime in edgekit/, its packages beside it; see fixtures/js_runtime."""
    return js_runtime.app(tmp_path_factory.mktemp("js") / "app")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An sshd of this test's own, which the ssh target reaches as its user would reach a board."""
    with serving(tmp_path / "sshd") as server:
        monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(server.config))
        yield server
