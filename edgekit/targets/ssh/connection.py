"""One ssh connection with the agent at its other end: requests, answers, bytes; and what ssh's own words mean.

The system's OpenSSH client is used as the user has set it up; nothing here weakens how it checks a host's key.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgekit.errors import (
    BadReport,
    EdgekitError,
    MissingTool,
    TargetLacksPython,
    TargetUnreachable,
)
from edgekit.targets.received import plain
from edgekit.targets.ssh import refusals
from edgekit.targets.ssh.agent import protocol, source
from edgekit.targets.ssh.destination import CONFIGURATION, Destination

_CONNECT_S = 20
_PING_S = 15.0
_ANSWER_S = 600.0
_MAX_NOISE_BYTES = 2**18
_MAX_ANSWER_BYTES = 2**20
_MAX_DIGITS = 19
_CLOSE_S = 10.0
# Found by the user's login shell, whichever it is: one word in single quotes, without any quote or `!` inside.
_FIND_PYTHON = (
    "exec sh -c '"
    "for p in python3.14 python3.13 python3.12 python3.11 python3 python; do"
    ' if command -v $p >/dev/null 2>&1; then v=$($p -c "import sys; print(sys.version.split()[0])" 2>/dev/null);'
    ' if $p -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then'
    ' exec $p -P -u -c "import sys; f = sys.stdin.buffer; exec(f.read(int(f.readline())))"; fi;'
    ' found="$found $p-$v"; fi; done; echo; echo EDGEKIT-NO-PYTHON $found'
    "'"
)
_NO_PYTHON = b"EDGEKIT-NO-PYTHON"


class Connection:
    """Open until `close`; `greeting` is what the agent said of its host first. `sent_bytes` counts files' bytes."""

    def __init__(self, to: Destination) -> None:
        self.to = to
        self.sent_bytes = 0
        self._told: deque[str] = deque(maxlen=64)
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._process = _ssh(to)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._threads = [
            threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True),
            threading.Thread(target=self._ping, daemon=True),
        ]
        try:
            self._threads[0].start()
            self.greeting = self._greet()
            self._threads[1].start()
        except BaseException:
            self.close()
            raise

    def ask(
        self,
        request: Mapping[str, Any],
        payload: Iterable[bytes] = (),
        *,
        timeout_s: float = _ANSWER_S,
    ) -> dict[str, Any]:
        """The agent's answer to a request, which `payload` follows. What it refuses is raised."""
        try:
            with self._writing:
                self._stdin.write(json.dumps(request).encode() + b"\n")
                for chunk in payload:
                    self._stdin.write(chunk)
                self._stdin.flush()
        except BrokenPipeError:
            pass  # its last words may say why
        return self._answer(timeout_s)

    def receive(self, size: int, path: Path) -> None:
        """Write the next `size` bytes from the agent to `path`."""
        with path.open("wb") as file, self._deadline(_ANSWER_S + size / 1e4):
            while size:
                chunk = self._stdout.read(min(size, protocol.CHUNK_BYTES))
                if not chunk:
                    raise self._lost()
                size -= len(chunk)
                file.write(chunk)

    def close(self) -> None:
        """End the agent, which clears up, and then ssh."""
        self._closing.set()
        with self._deadline(_CLOSE_S):
            with suppress(BrokenPipeError):
                self._stdin.close()
            self._stdout.close()  # so that nobody waits for what is still being said to be read
            try:
                self._process.wait()
            except BaseException:
                self._process.kill()
                self._process.wait()
                raise
        for each in self._threads:
            if each.ident is not None:
                each.join(_CLOSE_S)

    def _greet(self) -> dict[str, Any]:
        program = source().encode()
        try:
            self._stdin.write(b"%d\n%s" % (len(program), program))
            self._stdin.flush()
        except BrokenPipeError:
            pass
        with self._deadline(_ANSWER_S):
            self._skip_noise()
        return self._answer(60.0)

    def _skip_noise(self) -> None:
        """Up to the agent's first line: what a login shell prints of its own comes before it."""
        read = 0
        while read < _MAX_NOISE_BYTES:
            line = self._stdout.readline(_MAX_NOISE_BYTES)
            if not line:
                raise refusals.of_ssh(self.to, self._words())
            if line == protocol.MAGIC:
                return
            if line.startswith(_NO_PYTHON):
                found = plain(line.decode("utf-8", "replace")).split()[1:]
                names = ", ".join(each.replace("-", " ", 1) for each in found)[:300] or "no Python at all"
                raise TargetLacksPython(
                    f"{self.to.name} has no Python 3.11 or newer: {names} was found",
                    "install one there, with pip or venv (apt install python3 python3-venv)",
                )
            read += len(line)
        raise TargetUnreachable(
            f"{self.to.name} prints more than {_MAX_NOISE_BYTES} bytes before any command runs",
            "let its login shell print nothing where no terminal is",
        )

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        with self._deadline(timeout_s):
            line = self._stdout.readline(_MAX_ANSWER_BYTES)
        if not line:
            raise self._lost()
        try:
            answer = json.loads(line, parse_int=_whole)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise BadReport(f"{self.to.name} answered what is no answer: {plain(line[:80].decode('utf-8', 'replace'))}")
        if "refused" in answer:
            raise refusals.of_agent(self.to, answer)
        return answer

    @contextmanager
    def _deadline(self, timeout_s: float) -> Iterator[None]:
        """ssh is killed when the block takes longer, so that reading ends."""
        timer = threading.Timer(timeout_s, self._kill_late, [timeout_s])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill_late(self, timeout_s: float) -> None:
        self._told.append(f"no answer within {timeout_s:g} s")
        self._process.kill()

    def _listen(self, stderr: Any) -> None:
        with stderr:
            while line := stderr.readline(4096):
                self._told.append(plain(line.decode("utf-8", "replace")))

    def _ping(self) -> None:
        """Tell the agent that edgekit is there, also while it asks the original or waits."""
        while not self._closing.wait(_PING_S):
            with self._writing:
                try:
                    self._stdin.write(b"\n")
                    self._stdin.flush()
                except (OSError, ValueError):
                    return

    def _words(self) -> list[str]:
        """What ssh said; all of it, once it has ended."""
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._threads[0].join(_CLOSE_S)
        return [line for line in self._told if line.strip()]

    def _lost(self) -> EdgekitError:
        words = self._words()
        return TargetUnreachable(
            f"the connection to {self.to.name} broke: {words[-1] if words else 'it was closed there'}",
            "run again: what was copied is kept there, and copying goes on where it stopped",
        )


def _whole(digits: str) -> int:
    """A number that a float can hold too. Raises ValueError for others, which no agent of ours tells."""
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number too large")
    return int(digits)


def _ssh(to: Destination) -> subprocess.Popen[bytes]:
    program = shutil.which("ssh")
    if program is None:
        raise MissingTool("ssh is not installed here", "install OpenSSH's client (apt install openssh-client)")
    config = os.environ.get(CONFIGURATION)
    options = {
        "BatchMode": "no" if sys.stdin.isatty() and sys.stderr.isatty() else "yes",
        "ConnectTimeout": str(_CONNECT_S),
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "LogLevel": "ERROR",
        "ControlMaster": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
    }
    return subprocess.Popen(
        [
            *(program, "-T", "-x", "-a"),
            *(["-F", config] if config else []),
            *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
            *to.words,
            _FIND_PYTHON,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
