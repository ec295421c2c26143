"""What edgekit runs on the other machine, over one ssh connection: sent as source, never installed there.

Standard library of Python >= 3.11 only. It answers requests on standard input, one JSON line each, followed by bytes
where the request says how many; answers are of the same form. Blank lines say that edgekit is still there. Whatever is
refused ends the agent. When edgekit or the connection is gone, everything it started is killed and the run's folder
removed; only the store remains:

    ~/.cache/edgekit-target/blobs     files by their SHA-256; SHA.partial while one arrives
                            envs      packages, one folder for each set of versions
                            runs      empty while no agent runs
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

MAGIC = b"EDGEKIT-AGENT 1\n"
SILENCE_S = 120
MAX_STORE_BYTES = 8 * 2**30
RESERVE_BYTES = 64 * 2**20
MAX_ENVIRONMENTS = 3
CHUNK_BYTES = 2**18
TAIL_BYTES = 2**15
_LOCK_WAIT_S = 10.0
_STDIN = cast(BufferedReader, sys.stdin.buffer)
_STOPS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a user's environment may say to Python or the engines, and a measurement must not hear.
_LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GGML_N_THREADS")

# Whatever is started ends with the agent, with all that it started itself: its standard input then reads as ended.
_WATCH = """
import os, signal, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os.killpg(0, signal.SIGKILL)), daemon=True).start()
"""
_MODULE = _WATCH + "import runpy; name = sys.argv.pop(1); runpy.run_module(name, run_name='__main__', alter_sys=True)\n"
# More threads than cores would be measured as a slower model.
_PROBE = (
    _WATCH
    + """
import json, pathlib
from edgekit_runtime import _machine
from edgekit_runtime.probe import main
job = pathlib.Path(sys.argv[1])
told = json.loads(job.read_text(encoding="utf-8"))
told["threads"] = min(told["threads"] or 1024, _machine.physical_cores())
job.write_text(json.dumps(told), encoding="utf-8")
sys.exit(main(sys.argv[1:]))
"""
)
_TAGS = """
import json, sys
from pip._vendor.packaging import tags
found = list(tags.sys_tags())
print(json.dumps({"platforms": list(dict.fromkeys(one.platform for one in found)), "abi": found[0].abi}))
"""


class Gone(Exception):
    """edgekit, or the connection to it, is gone."""


class Refused(Exception):
    """What edgekit is told instead of an answer: a reason in a word, a message, and figures."""

    def __init__(self, reason: str, message: str, **figures: Any) -> None:
        super().__init__(message)
        self.told = {"refused": reason, "message": " ".join(message.split()), **figures}


def main() -> None:
    os.umask(0o077)
    signal.signal(signal.SIGALRM, _silent)
    for number in _STOPS:
        signal.signal(number, _gone)
    _heard()
    os.write(1, b"\n" + MAGIC)
    agent = Agent(Path.home() / ".cache" / "edgekit-target")
    try:
        agent.begin()
        agent.serve()
    except Refused as refused:
        _tell(refused.told)
    except (Gone, BrokenPipeError):
        pass
    except OSError as error:
        _tell({"refused": "full" if error.errno in _FULL else "system", "message": f"{error}"} | agent.space())
    finally:
        for number in (signal.SIGALRM, *_STOPS):
            signal.signal(number, signal.SIG_IGN)
        agent.end()


def _gone(*_: object) -> None:
    raise Gone


def _silent(*_: object) -> None:
    """Nothing was read for long. If something waits to be, this end was busy, and the other may well be there."""
    if not select.select([0], [], [], 0)[0]:
        raise Gone
    _heard()


def _heard() -> None:
    signal.alarm(SILENCE_S)


class Agent:
    """One session: the lock is held from `begin` to `end`, so that no two measure at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs, self.envs, self.runs = (folder / name for name in ("blobs", "envs", "runs"))
        self.packages = ""
        self._lock: int | None = None

    def begin(self) -> None:
        for each in (self.blobs, self.envs, self.runs):
            each.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(self._lock)
                    self._lock = None
                    raise Refused("busy", "another edgekit is validating there") from None
                time.sleep(0.1)
        self._clear_runs()
        _tell({"python": platform.python_version(), "machine": platform.machine(), **self.space()})

    def end(self) -> None:
        if self._lock is not None:
            self._clear_runs()
            os.close(self._lock)

    def space(self) -> dict[str, int]:
        try:
            return {"free_bytes": shutil.disk_usage(self.folder).free}
        except OSError:
            return {}

    def serve(self) -> None:
        asked: Mapping[str, Callable[..., Any]] = {
            "reserve": self.reserve,
            "put": self.put,
            "engine": self.engine,
            "run": self.run,
            "get": self.get,
            "clean": self.clean,
        }
        while line := _STDIN.readline():
            _heard()
            if line.strip():
                request = json.loads(line)
                _tell(asked[request.pop("do")](**request))

    def reserve(self, files: Mapping[str, int]) -> dict[str, Any]:
        """Of the files, by SHA-256 with their size, those that are not here, with the bytes that are already; room is
        made for the rest.
        """
        missing = {name: self._begun(name, size) for name, size in files.items() if not self._has(name, size)}
        needed = sum(files[name] - begun for name, begun in missing.items())
        others = sorted(
            (path.stat().st_mtime, path.stat().st_size, path)
            for path in self.blobs.iterdir()
            if path.name.removesuffix(".partial") not in files
        )
        used = sum(size for _, size, _ in others) + sum(files.values())
        free = shutil.disk_usage(self.blobs).free
        most = min(MAX_STORE_BYTES, (used + free) // 2)
        for _, size, path in others:
            if used <= most and needed + RESERVE_BYTES <= free:
                break
            path.unlink()
            used -= size
            free = shutil.disk_usage(self.blobs).free
        if missing and needed + RESERVE_BYTES > free:
            raise Refused("full", "no room for the files", needed_bytes=needed + RESERVE_BYTES, free_bytes=free)
        return {"missing": missing}

    def _has(self, name: str, size: int) -> bool:
        path = self.blobs / name
        if not path.is_file():
            return False
        if path.stat().st_size != size:
            path.unlink()
            return False
        os.utime(path)
        return True

    def _begun(self, name: str, size: int) -> int:
        partial = self.blobs / f"{name}.partial"
        begun = partial.stat().st_size if partial.is_file() else 0
        if begun < size:
            return begun
        partial.unlink(missing_ok=True)  # whole and never proven: nobody knows what it holds
        return 0

    def put(self, files: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Receive files, one after another: (SHA-256, where to go on, bytes that follow)."""
        for name, offset, size in files:
            self._receive(name, offset, size)
        return {"received": sum(size for _, _, size in files)}

    def _receive(self, name: str, offset: int, size: int) -> None:
        partial = self.blobs / f"{name}.partial"
        digest = hashlib.sha256()
        if offset:
            with partial.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: digest)
        try:
            with partial.open("ab" if offset else "wb", buffering=0) as file:
                while size:
                    chunk = _STDIN.read1(min(size, CHUNK_BYTES))
                    if not chunk:
                        raise Gone
                    _heard()
                    digest.update(chunk)
                    size -= len(chunk)
                    while chunk:
                        chunk = chunk[file.write(chunk) :]
        except OSError as error:
            if error.errno not in _FULL:
                raise
            free = self.space().get("free_bytes", 0)
            partial.unlink(missing_ok=True)
            raise Refused("full", "its disk filled up meanwhile", needed_bytes=size, free_bytes=free) from error
        if digest.hexdigest() != name:
            partial.unlink()
            raise Refused("changed", "a file changed while it was copied, or what was there of it already")
        partial.chmod(0o400)
        partial.rename(self.blobs / name)

    def engine(self, pins: Mapping[str, str], built: Sequence[str], wheels: Mapping[str, str]) -> dict[str, Any]:
        """Have the packages `pins` in just these versions; `built` may be compiled here. `wheels`: file name -> blob,
        taken instead of an index's. {"ready": False, "words", "tags"} if pip could not.
        """
        lacking = {name: version for name, version in pins.items() if _version(name) != version}
        self.packages = ""
        if not lacking:
            return {"ready": True, "installed": []}
        key = hashlib.sha256(json.dumps([sys.version, platform.platform(), sorted(lacking.items())]).encode())
        folder = self.envs / key.hexdigest()[:16]
        self.packages = str(folder)
        if (folder / "complete").is_file():
            os.utime(folder)
            return {"ready": True, "installed": []}
        for old in sorted(self.envs.iterdir(), key=lambda path: path.stat().st_mtime)[: 1 - MAX_ENVIRONMENTS]:
            shutil.rmtree(old)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            told = self._install(folder, lacking, built, wheels)
            if told["ready"]:
                (folder / "complete").touch()
            return told
        finally:
            if not (folder / "complete").is_file():
                shutil.rmtree(folder, ignore_errors=True)

    def _install(
        self, folder: Path, pins: Mapping[str, str], built: Sequence[str], wheels: Mapping[str, str]
    ) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=self.runs) as scratch:
            python = self._python_with_pip(Path(scratch))
            command = ["pip", "install", "--target", str(folder), "--no-deps", "--no-input", "--progress-bar", "off"]
            command += ["--disable-pip-version-check", "--no-warn-script-location", "--retries", "1", "--timeout", "20"]
            if ready_made := [name for name in pins if name not in built]:
                command += ["--only-binary", ",".join(ready_made)]
            if wheels:
                for name, blob in wheels.items():
                    self._place(blob, Path(scratch) / "wheels" / name)
                command += ["--no-index", "--find-links", f"{scratch}/wheels"]
            command += [f"{name}=={version}" for name, version in pins.items()]
            code, told = supervised([python, "-P", "-c", _MODULE, *command], 6 * 3600.0)
            if code == 0:
                return {"ready": True, "installed": sorted(pins)}
            if "No space left on device" in told or "Disk quota exceeded" in told:
                raise Refused("full", "its disk filled up while packages were installed", **self.space())
            code, tags = supervised([python, "-P", "-c", _WATCH + _TAGS], 60.0)
            words = [line for line in told.splitlines() if line.startswith("ERROR:")] or told.splitlines()[-1:] or [""]
            return {"ready": False, "words": words[-1], "tags": json.loads(tags) if code == 0 else None}

    def _python_with_pip(self, scratch: Path) -> str:
        """This Python, or where it has no pip that of a virtual environment, which has."""
        code, _ = supervised([sys.executable, "-P", "-c", _MODULE, "pip", "--version"], 60.0)
        if code == 0:
            return sys.executable
        code, told = supervised([sys.executable, "-P", "-c", _MODULE, "venv", str(scratch / "venv")], 300.0)
        if code != 0:
            words = (told.splitlines() or ["no module named venv"])[-1]
            raise Refused("pip", f"Python {platform.python_version()} there has neither pip nor venv: {words}")
        return str(scratch / "venv" / "bin" / "python")

    def run(
        self, bundle: Mapping[str, str], work: Mapping[str, str], job: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """Put the bundle (path -> blob) and the job's own files in a folder of their own and run the probe on them."""
        self._clear_runs()
        folder = self.runs / "run"
        for name, files in (("bundle", bundle), ("work", work)):
            (folder / name).mkdir(parents=True)
            for path, blob in files.items():
                self._place(blob, folder / name / path)
        (folder / "work" / "job.json").write_text(json.dumps(job), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
        found = [str(folder / "bundle" / "runtime"), *([self.packages] if self.packages else [])]
        environment |= {
            "PYTHONPATH": os.pathsep.join(found),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
        }
        command = [sys.executable, "-P", "-c", _PROBE, "job.json", str(folder / "bundle")]
        started = time.monotonic()
        code, told = supervised(command, timeout_s, folder / "work", environment)
        results = {path.name: path.stat().st_size for path in (folder / "work").iterdir() if path.is_file()}
        rotten = self._forget_rotten({*bundle.values(), *work.values()}) if "BundleInvalid" in told else 0
        return {"code": code, "told": told, "files": results, "seconds": time.monotonic() - started, "rotten": rotten}

    def _place(self, blob: str, path: Path) -> None:
        """By a hard link, or a copy where the file system knows none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.hardlink_to(self.blobs / blob)
        except OSError as error:
            if error.errno in _FULL or isinstance(error, FileNotFoundError):
                raise
            shutil.copyfile(self.blobs / blob, path)

    def _forget_rotten(self, blobs: set[str]) -> int:
        """Remove the stored files that are no longer what arrived, and say how many."""
        rotten = 0
        for name in blobs:
            with (self.blobs / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != name:
                (self.blobs / name).unlink()
                rotten += 1
        return rotten

    def get(self, name: str, size: int) -> None:
        """Send a result of the last run, which was said to have `size` bytes, after a line that says so again."""
        path = self.runs / "run" / "work" / Path(name).name
        _tell({"size": size})
        with path.open("rb") as file:
            while size:
                chunk = file.read(min(size, CHUNK_BYTES))
                if not chunk:
                    raise Gone
                _heard()
                size -= len(chunk)
                sys.stdout.buffer.write(chunk)
        path.unlink()

    def clean(self) -> dict[str, int]:
        """Remove everything of edgekit's here; the bytes that were freed."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        freed = sum(path.stat().st_size for path in paths)
        shutil.rmtree(self.folder)
        return {"freed_bytes": freed}

    def _clear_runs(self) -> None:
        if self.runs.is_dir():
            for each in self.runs.iterdir():
                shutil.rmtree(each, ignore_errors=True)


def _tell(answer: Mapping[str, Any] | None) -> None:
    if answer is not None:
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def supervised(
    command: Sequence[str], timeout_s: float, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(exit status, the end of what it printed) of a program that ends when this one does, with all it started.

    Raises Gone when edgekit is; Refused after the timeout.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output, tail, until = process.stdout.fileno(), bytearray(), time.monotonic() + timeout_s
    try:
        while True:
            ready, _, _ = select.select([0, output], [], [], 1.0)
            if 0 in ready:
                if not os.read(0, 4096):
                    raise Gone
                _heard()
            if output in ready:
                chunk = os.read(output, 65536)
                tail += chunk
                del tail[:-TAIL_BYTES]
                if not chunk:
                    break
            elif process.poll() is not None:
                break
            if time.monotonic() > until:
                raise Refused("timeout", f"it took more than {timeout_s:.0f} s")
        process.wait(10)
        return process.returncode, tail.decode("utf-8", "replace")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        process.wait()


if __name__ == "__main__":
    main()
