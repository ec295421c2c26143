"""The packages that a bundle's runtime imports, by pip, in folders of their own: no virtual environment is needed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.targets.ssh.agent.protocol import FULL, Refused
from edgekit.targets.ssh.agent.store import Store
from edgekit.targets.ssh.agent.supervision import MODULE, WATCH, supervised

_MAX_KEPT = 3
_INSTALL_S = 6 * 3600.0
_TAGS = """
import json, sys
from pip._vendor.packaging import tags
found = list(tags.sys_tags())
print(json.dumps({"platforms": list(dict.fromkeys(one.platform for one in found)), "abi": found[0].abi}))
"""


class Packages:
    """`folder` holds one folder for each set of versions; `scratch` takes what lives only while pip runs."""

    def __init__(self, folder: Path, scratch: Path, store: Store) -> None:
        self.folder = folder
        self._scratch = scratch
        self._store = store
        self.path = ""  # what the probe's Python searches for them; empty: they are installed as they are asked

    def engine(self, pins: Mapping[str, str], built: Sequence[str], wheels: Mapping[str, str]) -> dict[str, Any]:
        """Have the packages `pins` in just these versions; `built` may be compiled here. `wheels`: file name -> blob,
        taken instead of an index's. {"ready": False, "words", "tags"} if pip could not.
        """
        lacking = {name: version for name, version in pins.items() if _version(name) != version}
        self.path = ""
        if not lacking:
            return {"ready": True, "installed": []}
        key = hashlib.sha256(json.dumps([sys.version, sysconfig.get_platform(), sorted(lacking.items())]).encode())
        folder = self.folder / key.hexdigest()[:16]
        self.path = str(folder)
        if (folder / "complete").is_file():
            os.utime(folder)
            return {"ready": True, "installed": []}
        for old in sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime)[: 1 - _MAX_KEPT]:
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
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            python = self._python_with_pip(Path(scratch))
            command = ["pip", "install", "--target", str(folder), "--no-deps", "--no-input", "--progress-bar", "off"]
            command += ["--disable-pip-version-check", "--no-warn-script-location", "--retries", "1", "--timeout", "20"]
            if ready_made := [name for name in pins if name not in built]:
                command += ["--only-binary", ",".join(ready_made)]
            if wheels:
                for name, blob in wheels.items():
                    self._store.place(blob, Path(scratch) / "wheels" / name)
                command += ["--no-index", "--find-links", f"{scratch}/wheels"]
            command += [f"{name}=={version}" for name, version in pins.items()]
            environment = {"TMPDIR": scratch}  # /tmp may be a small part of the memory
            code, told = supervised([python, "-P", "-c", MODULE, *command], _INSTALL_S, environment=environment)
            if code == 0:
                return {"ready": True, "installed": sorted(pins)}
            if any(os.strerror(number) in told for number in FULL):
                raise Refused(
                    "full",
                    "its disk filled up while packages were installed",
                    free_bytes=shutil.disk_usage(self.folder).free,
                )
            code, tags = supervised([python, "-P", "-c", WATCH + _TAGS], 60.0)
            words = [line for line in told.splitlines() if line.startswith("ERROR:")] or told.splitlines()[-1:] or [""]
            return {"ready": False, "words": words[-1], "tags": json.loads(tags) if code == 0 else None}

    def _python_with_pip(self, scratch: Path) -> str:
        """This Python, or where it has no pip that of a virtual environment, which has."""
        code, _ = supervised([sys.executable, "-P", "-c", MODULE, "pip", "--version"], 60.0)
        if code == 0:
            return sys.executable
        code, told = supervised([sys.executable, "-P", "-c", MODULE, "venv", str(scratch / "venv")], 300.0)
        if code != 0:
            words = (told.splitlines() or ["no module named venv"])[-1]
            raise Refused("pip", f"Python {platform.python_version()} there has neither pip nor venv: {words}")
        return str(scratch / "venv" / "bin" / "python")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
