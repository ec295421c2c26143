"""The engine on the other machine: the packages a bundle's runtime imports, in the versions installed here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import MissingEngine, TargetNotPrepared
from edgekit.manifest import Manifest
from edgekit.progress import Progress
from edgekit.targets.received import plain
from edgekit.targets.ssh.agent.supervision import MODULE
from edgekit.targets.ssh.connection import Connection
from edgekit.targets.ssh.files import send, stored

# Without their own dependencies: what the runtime imports needs no others.
_PACKAGES: Mapping[str, Sequence[str]] = {
    "onnxruntime": ("numpy", "onnxruntime"),
    "llama.cpp": ("numpy", "llama-cpp-python", "typing-extensions", "diskcache", "jinja2", "markupsafe"),
}
_BUILT = ("llama-cpp-python",)  # its index has no wheels
_INSTALL_S = 6.5 * 3600


def pins(manifest: Manifest) -> dict[str, str]:
    """Package -> version. Raises MissingEngine if one of them is not installed here, so that nobody knows which."""
    names = [*_PACKAGES[manifest.engine]]
    if manifest.text is not None and manifest.text.tokenizer is not None:
        names.append("tokenizers")
    try:
        return {name: importlib.metadata.version(name) for name in names}
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingEngine(
            f"{error.name} is not installed here, whose version would be installed there", f"pip install {error.name}"
        ) from error


def prepare(connection: Connection, manifest: Manifest, progress: Progress) -> None:
    """Have the engine there: as found, or from an index by pip there, or of wheels downloaded here."""
    wanted = pins(manifest)
    long = " (llama.cpp may have to be compiled: many minutes)" if set(_BUILT) & set(wanted) else ""
    progress.step(f"prepare {manifest.engine} on {connection.to.name}{long}")
    request = {"do": "engine", "pins": wanted, "built": _BUILT, "wheels": {}}
    told = connection.ask(request, timeout_s=_INSTALL_S)
    if told.get("ready"):
        return
    words = plain(str(told.get("words", "")))[:300]
    with tempfile.TemporaryDirectory(prefix="edgekit-wheels-") as name:
        wheels = _download(connection, wanted, told.get("tags"), words, Path(name), progress)
        files = {path.name: stored(path) for path in wheels}
        send(connection, files, progress)
    sent = {name: each.sha256 for name, each in files.items()}
    told = connection.ask(request | {"wheels": sent}, timeout_s=_INSTALL_S)
    if not told.get("ready"):
        raise _cannot(connection, wanted, plain(str(told.get("words", "")))[:300])


def _download(
    connection: Connection, wanted: Mapping[str, str], tags: Any, words: str, folder: Path, progress: Progress
) -> list[Path]:
    """Wheels for that machine, fetched here."""
    if (
        not isinstance(tags, dict)
        or not isinstance(tags.get("platforms"), list)
        or importlib.util.find_spec("pip") is None
    ):
        raise _cannot(connection, wanted, words)
    platforms = [word for each in tags["platforms"] if str(each).isidentifier() for word in ("--platform", str(each))]
    python = ".".join(str(connection.greeting.get("python", "")).split(".")[:2])
    progress.step(f"download wheels for {connection.to.name}, which cannot")
    command = [
        *("download", "--no-deps", "--only-binary", ":all:", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder)),
        *("--implementation", "cp", "--python-version", python, "--abi", str(tags.get("abi", "none"))),
        *platforms,
        *(f"{name}=={version}" for name, version in wanted.items()),
    ]
    failed, said = _pip(command)
    if failed:
        here = [line for line in said.splitlines() if line.startswith("ERROR:")]
        raise _cannot(connection, wanted, f"{words}; here: {plain(here[-1]) if here else 'pip download failed'}")
    return sorted(folder.glob("*.whl"))


def _pip(arguments: Sequence[str]) -> tuple[bool, str]:
    """Whether pip failed here, and what it said; it ends when this process does."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", MODULE, "pip", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        return process.wait() != 0, said


def _cannot(connection: Connection, wanted: Mapping[str, str], words: str) -> TargetNotPrepared:
    names = " ".join(f"{name}=={version}" for name, version in wanted.items())
    return TargetNotPrepared(
        f"the engine cannot be installed on {connection.to.name}: {words}",
        f"install it for its Python by hand: pip install {names}",
    )
