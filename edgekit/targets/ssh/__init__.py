"""Another machine, reached by ssh: `ssh:user@host`, `ssh:user@host:port`, or `ssh:alias` of the user's configuration.

    destination  whom the words after "ssh:" name
    connection   the system's ssh with our agent at its other end
    refusals     what ssh's words mean, and the agent's
    agent        what runs there: standard library only, sent as source
    files        what a run takes, by digest; only what is not there is copied, and a broken copy goes on
    engine       the packages that the bundle's runtime imports, in the versions installed here

Only a POSIX shell, Python >= 3.11 and pip are assumed there. See docs/targets.md.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekit.errors import BadBundle, BadReport, NoSpace
from edgekit.manifest import Manifest
from edgekit.progress import Progress
from edgekit.targets import Conditions, Kind, endings, received
from edgekit.targets.ssh.connection import Connection
from edgekit.targets.ssh.destination import destination
from edgekit.targets.ssh.engine import prepare
from edgekit.targets.ssh.files import of_bundle, of_job, of_wrapper, send

_SPARE_BYTES = 64 * 2**20


@contextmanager
def opened(rest: str, conditions: Conditions) -> Iterator[Ssh]:
    """See targets.Module. One connection serves until the block is left; its agent clears up, however it is left."""
    to = destination(rest)
    conditions.progress.step(f"connect to {to.name}")
    with closing(Connection(to)) as connection:
        yield Ssh(connection, conditions.progress)


def clean(rest: str) -> str:
    """Remove everything that edgekit keeps on that machine; what was done, in a line."""
    to = destination(rest)
    with closing(Connection(to)) as connection:
        freed = connection.ask({"do": "clean"}).get("freed_bytes")
    told = f"{freed / 1e6:.1f} MB" if isinstance(freed, int) else "everything"
    return f"{to.name}: {told} removed"


class Ssh:
    """See targets.Target."""

    kind: Kind = "ssh"
    max_inputs = None
    max_parameter_tokens = None
    times = True

    def __init__(self, connection: Connection, progress: Progress) -> None:
        self.name = connection.to.name
        self._connection = connection
        self._progress = progress

    @property
    def copied_bytes(self) -> int:
        """Of files, since it was opened."""
        return self._connection.sent_bytes

    def run(self, bundle: Path, job: Path, timeout_s: float) -> None:
        manifest = _manifest(bundle)
        told, own = of_job(json.loads(job.read_bytes()), job.parent)
        files, wrapper = of_bundle(bundle, manifest), of_wrapper(bundle)
        prepare(self._connection, manifest, self._progress)
        copied = {
            f"{name}/{path}": each
            for name, some in (("bundle", files), ("wrapper", wrapper), ("work", own))
            for path, each in some.items()
        }
        send(self._connection, copied, self._progress)
        self._progress.step(f"run on {self.name}")
        request = {
            "do": "run",
            "bundle": {path: each.sha256 for path, each in files.items()},
            "wrapper": {path: each.sha256 for path, each in wrapper.items()},
            "work": {path: each.sha256 for path, each in own.items()},
            "job": told,
            "timeout_s": timeout_s,
        }
        ended = self._connection.ask(request, timeout_s=timeout_s + 120)
        code, rotten = self._number(ended, "code"), self._number(ended, "rotten")
        if rotten:
            raise BadReport(
                f"{rotten} files kept on {self.name} were no longer what was copied; they were removed",
                "run again: they are copied anew",
            )
        if code != 0:
            raise endings.failure(code, str(ended.get("told", "")), self.name)
        self._fetch(ended.get("files"), manifest, told, job.parent)
        received.check(job.parent, manifest, told, self.name)

    def _number(self, answer: dict[str, Any], name: str) -> int:
        found = answer.get(name)
        if not isinstance(found, int):
            raise BadReport(f"{self.name} answered without {name!r}, a whole number", "run again")
        return found

    def _fetch(self, offered: Any, manifest: Manifest, job: dict[str, Any], folder: Path) -> None:
        """Bring the results here: those that the job asks for, and no larger than they can be."""
        for name in ("result.json", *received.expected(manifest, job)):
            size = offered.get(name) if isinstance(offered, dict) else None
            most = received.MAX_RESULT_BYTES if name == "result.json" else received.MAX_ARRAY_BYTES
            if not isinstance(size, int) or not 0 < size <= most:
                raise BadReport(f"{self.name} has no {name} of 1 to {most} bytes, but {size!r}", "run again")
            free = shutil.disk_usage(folder).free
            if size + _SPARE_BYTES > free:
                raise NoSpace(
                    f"{name} of {self.name} has {size / 2**20:.1f} MiB, and {free / 2**20:.1f} MiB are free in {folder}"
                )
            if self._connection.ask({"do": "get", "name": name, "size": size}) != {"size": size}:
                raise BadReport(f"{self.name} sends another {name} than it said", "run again")
            self._connection.receive(size, folder / name)


def _manifest(bundle: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((bundle / "edgekit.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise BadBundle(f"{bundle} holds no manifest that can be read: {error}") from error
