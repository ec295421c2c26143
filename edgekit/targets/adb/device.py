"""One Android device behind the system's adb, and what adb's words mean."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.errors import (
    BadReport,
    EdgekitError,
    MissingTool,
    NoSpace,
    TargetFull,
    TargetUnreachable,
    ValidationFailed,
)
from edgekit.targets.received import plain

PLACE = "/data/local/tmp"
ARCHITECTURES = ("aarch64", "x86_64")
_SHELL_S = 60.0
_COPY_S = 6 * 3600.0
_GRACE_S = 5.0
_SPARE_BYTES = 64 * 2**20
_EXIT = re.compile(rb"^edgekit-exit:(\d{1,3})\r?\n", re.MULTILINE)
# A number of a device's, of as many digits as a size has.
_NUMBER = re.compile(r"[0-9]{1,18}")
_LINE = re.compile(
    r"^(\S.*?)\s+(device|offline|unauthorized|authorizing|no permissions|recovery|sideload|bootloader)\b"
)
_MOST_WORDS = 8192

# What each state asks of the user.
_REMEDIES = {
    "unauthorized": "allow this computer's key on the device's screen",
    "authorizing": "allow this computer's key on the device's screen",
    "offline": "plug it in again, or restart it",
    "no permissions": "give your user access to USB devices (udev rules), then adb kill-server",
}


@dataclass(frozen=True)
class Ended:
    """How the probe ended: the shell's `code`, and what it `said` last, its error's name and words apart."""

    code: int
    said: str
    error: str = ""
    told: str = ""

    @property
    def status(self) -> int:
        """As subprocess tells it: a signal's number is negative."""
        return 128 - self.code if self.code > 128 else self.code


@dataclass
class Device:
    """A device that answers. `facts` are what it says of itself: arch, maker, model, android, soc, cores."""

    program: str
    serial: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def arch(self) -> str:
        return self.facts["arch"]

    def shell(self, command: str, timeout_s: float = _SHELL_S) -> str:
        """What `command` printed there, in PLACE. Raises TargetUnreachable or TargetFull; also if it failed."""
        line = f"(cd {PLACE} && {{ {command}\n}}) 2>&1; code=$?; echo; echo edgekit-exit:$code"
        told = self._adb(["shell", line], timeout_s)
        exit_line = _EXIT.search(told)
        if exit_line is None:
            raise self._lost(told.decode("utf-8", "replace"))
        words = told[: exit_line.start()].decode("utf-8", "replace").strip()
        if int(exit_line[1]) != 0:
            raise self._refused(words or f"exit status {int(exit_line[1])}")
        return words

    def push(self, folder: Path, to: str) -> None:
        """Copy what is in `folder` into `to`, a folder there; files that are there already are left out."""
        self._adb(["push", "--sync", f"{folder}/.", to], _COPY_S)

    def pull(self, folder: str, names: Sequence[str], to: Path, most_bytes: int) -> None:
        """Copy files of `folder` here, once it is known that each is there, no larger than `most_bytes`, and fits."""
        for start in range(0, len(names), 100):
            some = names[start : start + 100]
            paths = " ".join(shlex.quote(f"{folder}/{name}") for name in some)
            words = self.shell(f"stat -c %s {paths}").split()
            sizes = [int(word) for word in words if _NUMBER.fullmatch(word)]
            if len(sizes) != len(some) or max(sizes) > most_bytes:
                raise BadReport(f"adb:{self.serial} has not the {len(some)} results it was asked for", "run again")
            free = shutil.disk_usage(to).free
            if sum(sizes) + _SPARE_BYTES > free:
                raise NoSpace(f"the results have {sum(sizes) / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free in {to}")
            self._adb(["pull", *(f"{folder}/{name}" for name in some), str(to)], _COPY_S)

    @contextmanager
    def running(self, folder: str, command: str, timeout_s: float) -> Iterator[Ended]:
        """Run `command` in `folder` and yield how it ended; the folder goes when the block is left, or edgekit is gone.

        The shell there waits for its input to end, and the command watches it: neither outlives the connection.
        """
        line = (
            f'trap "" HUP PIPE; cd {folder} || exit 1; {command} >said 2>&1; code=$?;'
            f" tail -c {_MOST_WORDS // 2} said; echo; echo edgekit-exit:$code; read -r ended; cd /; rm -rf {folder}"
        )
        process = subprocess.Popen(
            [self.program, "-s", self.serial, "shell", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # an interrupt is edgekit's to hear, which then ends the probe
        )
        try:
            yield self._ended(process, timeout_s)
        finally:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.write(b"\n")  # shells of before Android 7 are not told that the input ended
            with suppress(OSError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def _ended(self, process: subprocess.Popen[bytes], timeout_s: float) -> Ended:
        assert process.stdout is not None
        told, deadline = b"", time.monotonic() + timeout_s
        while (exit_line := _EXIT.search(told)) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise ValidationFailed(
                    f"the measuring process on adb:{self.serial} took more than {timeout_s:.0f} s",
                    "give fewer --eval rows, or a smaller model",
                )
            more = os.read(process.stdout.fileno(), 65536)
            if not more:
                raise self._lost(told.decode("utf-8", "replace"))
            told = (told + more)[-_MOST_WORDS:]
        said = told[: exit_line.start()].decode("utf-8", "replace").strip()
        return _understood(int(exit_line[1]), said)

    def _adb(self, arguments: Sequence[str], timeout_s: float) -> bytes:
        """What adb printed. Of `shell` only the connection's own failure is one: the command's is in those words."""
        try:
            done = subprocess.run(
                [self.program, "-s", self.serial, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TargetUnreachable(
                f"adb:{self.serial} did not answer for {timeout_s:.0f} s ({arguments[0]})", "plug it in again"
            ) from error
        if done.returncode != 0 and not _EXIT.search(done.stdout):
            raise self._refused(done.stdout.decode("utf-8", "replace"))
        return done.stdout

    def _refused(self, words: str) -> EdgekitError:
        """adb, or a command there, failed: the disk, or the connection."""
        if "No space left" in words or "Disk quota exceeded" in words:
            return TargetFull(
                f"the disk of adb:{self.serial} is full: {_last(words)}",
                f"free some space on it, or edgekit targets clean adb:{self.serial}",
            )
        return self._lost(words)

    def _lost(self, words: str) -> TargetUnreachable:
        return TargetUnreachable(
            f"the connection to adb:{self.serial} broke: {_last(words)}",
            "plug it in and run again: what arrived whole is kept; see adb devices -l",
        )


def find(rest: str) -> Device:
    """The device of that serial number ("": the only one there is), asked what it is.

    Raises MissingTool without adb, TargetUnreachable, which tells what adb sees.
    """
    program = shutil.which("adb")
    if program is None:
        raise MissingTool(
            "there is no adb program here", "apt-get install adb, or put Android's platform-tools in your PATH"
        )
    seen = _seen(program)
    told = ", ".join(f"{serial} ({state})" for serial, state in seen.items()) or "no device"
    rest = rest or os.environ.get("ANDROID_SERIAL", "")
    if rest and rest not in seen:
        raise TargetUnreachable(
            f"adb sees no device {rest!r}: it sees {told}", "plug it in, with USB debugging allowed"
        )
    if not seen:
        raise TargetUnreachable("adb sees no device", "plug it in, with USB debugging allowed")
    if not rest and len(seen) > 1:
        raise TargetUnreachable(f"adb sees {len(seen)} devices: {told}", f"name one: --on adb:{next(iter(seen))}")
    serial = rest or next(iter(seen))
    if seen[serial] != "device":
        remedy = _REMEDIES.get(seen[serial], "start Android on it")
        raise TargetUnreachable(f"adb sees {serial}, which is {seen[serial]}", remedy)
    device = Device(program, serial)
    device.facts = _facts(device)
    if device.arch not in ARCHITECTURES:
        raise TargetUnreachable(
            f"adb:{serial} is {device.arch or 'of an unknown architecture'}: the probe runs on 64-bit ARM and x86",
            "take a 64-bit device",
        )
    return device


def _seen(program: str) -> dict[str, str]:
    """State by serial number."""
    try:
        done = subprocess.run(
            [program, "devices", "-l"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            timeout=_SHELL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetUnreachable(f"adb's server did not answer for {_SHELL_S:.0f} s", "adb kill-server") from error
    told = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise TargetUnreachable(
            f"adb cannot ask its server: {_last(done.stderr.decode('utf-8', 'replace') or told)}", "adb kill-server"
        )
    lines = told.partition("List of devices attached")[2].splitlines()
    return {found[1]: found[2] for line in lines if (found := _LINE.match(line))}


def _facts(device: Device) -> dict[str, str]:
    asked = {
        "arch": "uname -m",
        "maker": "getprop ro.product.manufacturer",
        "model": "getprop ro.product.model",
        "android": "getprop ro.build.version.release",
        "soc": "getprop ro.soc.model",
        "cores": "nproc",
    }
    told = device.shell("; ".join(f'echo "{name}=$({command} 2>/dev/null)"' for name, command in asked.items()))
    found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    return {name: plain(found.get(name, ""))[:100] for name in asked}


def _understood(code: int, said: str) -> Ended:
    """The probe's one JSON line about its error, where its last words are that."""
    lines = [line for line in said.splitlines() if line.strip()]
    try:
        found = json.loads(lines[-1])
        return Ended(code, said, plain(str(found["error"])), plain(str(found["message"]))[:500])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return Ended(code, said)


def _last(words: str) -> str:
    """The last complaint in adb's words, or else the last line that is no sign of progress."""
    lines = [plain(line) for line in words.splitlines() if line.strip() and not line.lstrip().startswith("[")]
    complaints = [line for line in lines if "error" in line.lower()]
    found = complaints or lines or ["it said nothing"]
    return found[-1][:300]


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
