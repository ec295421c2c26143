"""The agent's session: it answers edgekit's requests one by one until edgekit is gone, and then clears up."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit.targets.ssh.agent.packages import Packages
from edgekit.targets.ssh.agent.protocol import (
    CHUNK_BYTES,
    FULL,
    MAGIC,
    Gone,
    Refused,
    heard,
    listen,
    stdin,
    stop_listening,
    tell,
)
from edgekit.targets.ssh.agent.store import Store
from edgekit.targets.ssh.agent.supervision import WATCH, supervised

_LOCK_WAIT_S = 10.0
_CUT_SHORT = " requested and "  # "9000 requested and 4096 written": numpy, of a file that could not grow
# More threads than cores would be measured as a slower model.
_PROBE = (
    WATCH
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


def main() -> None:
    os.umask(0o077)
    listen()
    os.write(1, b"\n" + MAGIC)
    agent = Agent(Path.home() / ".cache" / "edgekit-target")
    try:
        agent.begin()
        agent.serve()
    except Refused as refused:
        tell(refused.told)
    except (Gone, BrokenPipeError):
        pass
    except OSError as error:
        tell({"refused": "full" if error.errno in FULL else "system", "message": f"{error}"} | agent.space())
    finally:
        stop_listening()
        agent.end()


class Agent:
    """One session: the lock is held from `begin` to `end`, so that no two measure at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.store = Store(folder / "blobs")
        self.packages = Packages(folder / "envs", self.runs, self.store)
        self._lock: int | None = None

    def begin(self) -> None:
        for each in (self.store.folder, self.packages.folder, self.runs):
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
        tell({"python": platform.python_version(), "machine": platform.machine(), **self.space()})

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
            "reserve": self.store.reserve,
            "put": self.store.put,
            "engine": self.packages.engine,
            "run": self.run,
            "get": self.get,
            "clean": self.clean,
        }
        while line := stdin().readline():
            heard()
            if line.strip():
                request = json.loads(line)
                answer = asked[request.pop("do")](**request)
                if answer is not None:
                    tell(answer)
                sys.stdout.buffer.flush()

    def run(
        self,
        bundle: Mapping[str, str],
        wrapper: Mapping[str, str],
        work: Mapping[str, str],
        job: Mapping[str, Any],
        timeout_s: float,
    ) -> dict[str, Any]:
        """Put the bundle (path -> blob), edgekit's Python wrapper if the bundle has none, and the job's own files in a
        folder of their own and run the probe on them.
        """
        self._clear_runs()
        folder = self.runs / "run"
        for name, files in (("bundle", bundle), ("wrapper", wrapper), ("work", work)):
            (folder / name).mkdir(parents=True)
            for path, blob in files.items():
                self.store.place(blob, folder / name / path)
        (folder / "work" / "job.json").write_text(json.dumps(job), encoding="utf-8")
        runtime = folder / "wrapper" if wrapper else folder / "bundle" / "runtime" / "python"
        found = [str(runtime), *([self.packages.path] if self.packages.path else [])]
        environment = {
            "PYTHONPATH": os.pathsep.join(found),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
        }
        command = [sys.executable, "-P", "-c", _PROBE, "job.json", str(folder / "bundle")]
        started = time.monotonic()
        code, told = supervised(command, timeout_s, folder / "work", environment)
        results = {path.name: path.stat().st_size for path in (folder / "work").iterdir() if path.is_file()}
        rotten = (
            self.store.forget_rotten({*bundle.values(), *wrapper.values(), *work.values()})
            if "BundleInvalid" in told
            else 0
        )
        if code != 0 and (any(os.strerror(number) in told for number in FULL) or _CUT_SHORT in told):
            raise Refused("full", "it filled up while the bundle ran", **self.space())
        return {"code": code, "told": told, "files": results, "seconds": time.monotonic() - started, "rotten": rotten}

    def get(self, name: str, size: int) -> None:
        """Send a result of the last run, which was said to have `size` bytes, after a line that says so again."""
        path = self.runs / "run" / "work" / Path(name).name
        tell({"size": size})
        with path.open("rb") as file:
            while size:
                chunk = file.read(min(size, CHUNK_BYTES))
                if not chunk:
                    raise Gone
                heard()
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
