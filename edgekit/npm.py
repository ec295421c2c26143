"""npm packages, fetched once: a folder with node_modules that a lock file describes to the last byte.

`python -m edgekit.npm LOCK_FOLDER [--dev]` prints that folder, for Makefiles.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import (
    BadInput,
    EdgekitError,
    MissingEngine,
    MissingTool,
    NoSpace,
    OutputBusy,
    OutputExists,
    OutputUnwritable,
)
from edgekit.output import writing
from edgekit.progress import Progress, Silent, aloud, watch
from edgekit.targets.preparing.tools import tied

NODE_MAJOR = 20
_LOCK_FILES = ("package.json", "package-lock.json")
_OPTIONS = (
    "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--no-progress", "--no-update-notifier",
    "--prefer-offline", "--loglevel=error", "--fetch-retries=2", "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=5000",
)  # fmt: skip
_NODE = f"install Node.js {NODE_MAJOR} or newer with npm (Debian: apt-get install nodejs npm; else nodejs.org)"
_UNREACHED = {"ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH",
              "ENETDOWN", "ERR_SOCKET_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT", "ENOTCACHED"}  # fmt: skip
_DENIED = {"EACCES", "EPERM", "EROFS"}
_GRACE_S = 5.0
_WAIT_S = 900.0


def home() -> Path:
    """$EDGEKIT_NODE, or edgekit/node in the user's cache."""
    named = os.environ.get("EDGEKIT_NODE")
    if named:
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "edgekit" / "node"


def place(lock_folder: Path, dev: bool = False) -> Path:
    """Where `install` puts, or has put, what the folder's package.json and package-lock.json ask for."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()} {'dev' if dev else 'app'}".encode())
    try:
        for name in _LOCK_FILES:
            content = (lock_folder / name).read_bytes()
            digest.update(f"\0{name} {len(content)}\0".encode() + content)
        named = str(json.loads((lock_folder / _LOCK_FILES[0]).read_bytes()).get("name", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"{lock_folder} is no folder of an npm lock: {error}", f"it needs {_LOCK_FILES}") from error
    words = re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-") or "packages"
    return home() / f"{words}-{digest.hexdigest()[:16]}"


def install(lock_folder: Path, dev: bool = False, progress: Progress | None = None) -> Path:
    """The folder whose node_modules holds what the lock in `lock_folder` names, `dev` dependencies too if asked.

    Fetched by `npm ci` the first time, without running any package's scripts and without optional packages; later
    neither npm, Node nor a network is needed. Raises MissingTool (no npm, or a Node that is too old), MissingEngine
    (the registry is not reached, or sends something else than the lock says), NoSpace, OutputBusy, OutputExists or
    OutputUnwritable.
    """
    progress = progress or Silent()
    out = place(lock_folder, dev)
    deadline = time.monotonic() + _WAIT_S
    while not (out / "node_modules").is_dir():
        try:
            _fetch(lock_folder, out, dev, progress)
        except OutputExists:  # from before, or since another edgekit finished meanwhile
            if not (out / "node_modules").is_dir():
                raise OutputExists(f"{out} holds no node_modules", "remove it, and it is fetched anew") from None
        except OutputBusy:
            # Another edgekit fetches the very same: what it leaves is what we want.
            if time.monotonic() > deadline:
                raise OutputBusy(f"another edgekit is still fetching {out}", "wait for it, or end it") from None
            progress.step("wait for another edgekit that fetches the same packages")
            time.sleep(0.3)
        except NoSpace:
            raise NoSpace(
                f"no space left while fetching npm packages to {out.parent}",
                "free some space, or name another folder in EDGEKIT_NODE; nothing was left there",
            ) from None
        except OutputUnwritable as error:
            told = error.message.rpartition(": ")[2]
            raise OutputUnwritable(
                f"cannot write to {out.parent}: {told}", "name a folder that you may write to in EDGEKIT_NODE"
            ) from error
    return out


def _fetch(lock_folder: Path, out: Path, dev: bool, progress: Progress) -> None:
    npm = _npm()
    with writing(out, force=False) as target:
        work = target.work / out.name
        work.mkdir()
        for name in _LOCK_FILES:
            shutil.copyfile(lock_folder / name, work / name)
        wanted = _direct(lock_folder, dev)
        aloud(progress, f"fetching npm packages, once, to {out.parent}: {', '.join(wanted)}")
        _run([npm, "ci", *_OPTIONS, *(() if dev else ("--omit=dev",))], work, out)
        target.commit(work)


def _direct(lock_folder: Path, dev: bool) -> list[str]:
    package = json.loads((lock_folder / _LOCK_FILES[0]).read_bytes())
    return [*package.get("dependencies", {}), *(package.get("devDependencies", {}) if dev else {})]


def _npm() -> str:
    """The path of npm, once it is known that there is a Node new enough."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise MissingTool(f"{'npm' if npm is None else 'node'} is not installed, and npm packages are needed", _NODE)
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"v(\d+)\.", told)
    if found is None or int(found[1]) < NODE_MAJOR:
        raise MissingTool(f"node is {told or 'not working'}, and at least v{NODE_MAJOR} is needed", _NODE)
    return npm


def _run(command: Sequence[str], work: Path, out: Path) -> None:
    process = subprocess.Popen(
        tied(command), cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    with process:
        try:
            told, _ = process.communicate()
        except BaseException:
            process.terminate()
            try:
                process.communicate(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if process.returncode != 0 or not (work / "node_modules").is_dir():
        raise _failure(told, out)


def _failure(told: str, out: Path) -> EdgekitError:
    """What npm complained of, as the error that says what to do about it."""
    named = re.search(r"npm (?:error|ERR!) code (\S+)", told)
    code = named[1] if named else ""
    if code == "ENOSPC":
        return NoSpace("no space left")
    if code in _DENIED:
        return OutputUnwritable("npm may not write: Permission denied")
    if code in _UNREACHED:
        return MissingEngine(
            f"npm packages are not here yet, and npm's registry is not reached ({code})",
            f"run this once where it is reached; on a machine that never has a network, copy {out} from one like it",
        )
    if code == "EINTEGRITY":
        return MissingEngine(
            "npm's registry sent a package that is not the one in the lock file (EINTEGRITY)",
            "npm cache clean --force, and try again; if it stays, use another registry",
        )
    lines = [re.sub(r"^npm (?:error|ERR!) ?", "", line).strip() for line in told.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("code ", "A complete log"))]
    complaint = (lines or ["it said nothing"])[0][:200]
    return MissingEngine(f"npm ci failed{f' ({code})' if code else ''}: {complaint}", "see what `npm ping` says")


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    dev = "--dev" in words
    folders = [word for word in words if word != "--dev"]
    if len(folders) != 1 or folders[0].startswith("-"):
        sys.stderr.write("usage: python -m edgekit.npm LOCK_FOLDER [--dev]\n")
        return 2
    try:
        with watch() as progress:
            found = install(Path(folders[0]), dev, progress)
    except EdgekitError as error:
        sys.stderr.write(f"edgekit.npm: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
