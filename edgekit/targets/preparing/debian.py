"""Debian packages of another architecture, by the apt of this machine in a folder of its own: no root is needed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from edgekit.errors import MissingTool, UsageError
from edgekit.targets.preparing.tools import run

MIRROR = "http://deb.debian.org/debian"
SUITE = "trixie"
# What Debian calls the architectures that uname names.
NAMES = {"aarch64": "arm64", "x86_64": "amd64"}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_OFFLINE = "prepare from a folder: edgekit targets prepare --download DIR where there is one, then --from DIR here"
_CONFIGURATION = """
Dir "{folder}/";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::main "-";
Dir::Etc::parts "-";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def check_mirror(mirror: str) -> str:
    """UsageError for what is no address of a Debian archive."""
    if not re.fullmatch(r"(https?://|file:/)[^\s\[\]\"';]+", mirror):
        raise UsageError(f"--mirror {mirror!r} is no address of a Debian archive", f"give one such as {MIRROR}")
    return mirror


def fetch(packages: tuple[str, ...], arch: str, folder: Path, mirror: str, *, with_dependencies: bool) -> None:
    """Put the .deb files of `packages`, for the architecture that uname calls `arch`, into `folder`.

    apt checks them against the archive's signature. Raises MissingTool or TargetNotPrepared.
    """
    _check_tools()
    with tempfile.TemporaryDirectory(prefix="edgekit-apt-") as name:
        own = Path(name)
        for each in ("state/lists/partial", "cache/archives/partial"):
            (own / each).mkdir(parents=True)
        (own / "status").touch()
        (own / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror} {SUITE} main\n", encoding="utf-8")
        user = "root" if os.geteuid() == 0 else ""
        text = _CONFIGURATION.format(folder=own, architecture=NAMES[arch], user=user)
        (own / "apt.conf").write_text(text, encoding="utf-8")
        extra = {"APT_CONFIG": str(own / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
        what, remedy = f"fetching from {mirror}", f"check the network or give another --mirror; without one, {_OFFLINE}"
        run(["apt-get", "update", "--error-on=any"], what, remedy, extra=extra)
        if with_dependencies:
            options = ["--yes", "--no-install-recommends", "--download-only"]
            run(["apt-get", "install", *options, *packages], what, remedy, extra=extra)
            for path in sorted((own / "cache" / "archives").glob("*.deb")):
                shutil.move(path, folder / path.name)
        else:
            run(["apt-get", "download", *packages], what, remedy, extra=extra, cwd=folder)


def _check_tools() -> None:
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise MissingTool(f"there is no {tool} here, which fetches the Debian packages", _OFFLINE)
    if not _KEYRING.is_file():
        raise MissingTool(
            f"there is no {_KEYRING}, which Debian's packages are checked with",
            f"apt-get install debian-archive-keyring, or {_OFFLINE}",
        )
