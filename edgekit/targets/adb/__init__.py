"""An Android device, reached by adb: `adb`, or `adb:SERIAL` where there are several.

    device        adb's words, and what runs there
    storage       what is kept there by digest, and the folder of one run
    engine        the probe, compiled here, with the engine's libraries and the C library they need
    translation   the job in tensors and token ids: texts are tokenized here
    texts         ... by this program, in a process with the bundle's own Python runtime
    answers       what the probe wrote, as the Python probe would have written it

Unproven: no Android device was at hand. What the tests show is the protocol, against a stand-in for adb's server that
runs the probe as a device would. See docs/targets.md.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgekit.errors import BadBundle, TargetFull, ValidationFailed
from edgekit.manifest import Manifest
from edgekit.progress import Progress
from edgekit.targets import Conditions, Kind, endings, received
from edgekit.targets.adb.answers import write_standard
from edgekit.targets.adb.device import Device, Ended, find
from edgekit.targets.adb.engine import Kit, kit
from edgekit.targets.adb.storage import Folder, Storage, of_files
from edgekit.targets.adb.translation import Translated, translate

# The probe's own name for it; see runtimes/c/probe.c.
_DISK_FULL = "DiskFull"


@dataclass(frozen=True)
class _Placed:
    """The run's folder on the device, its command there, and the bundle's name in the storage."""

    folder: str
    command: str
    bundle: str


@contextmanager
def opened(rest: str, conditions: Conditions) -> Iterator[Adb]:
    """See targets.Module. What a run needs, there and here, is looked at now; nothing is written there yet."""
    conditions.progress.step("look for an Android device")
    device = find(rest)
    if conditions.engine is not None:
        with tempfile.TemporaryDirectory(prefix="edgekit-adb-") as name:
            kit(device.arch, conditions.engine, Path(name))
    yield Adb(device, conditions.progress)


def clean(rest: str) -> str:
    """Remove everything that edgekit keeps on that device; what was done, in a line."""
    device = find(rest)
    return f"adb:{device.serial}: {Storage(device).clean() / 1e6:.1f} MB removed"


class Adb:
    """See targets.Target."""

    kind: Kind = "adb"
    # Each answer crosses the cable: the evaluation's later inputs tell little more than its first ones.
    max_inputs = 256
    max_parameter_tokens = None
    times = True

    def __init__(self, device: Device, progress: Progress) -> None:
        self.name = f"adb:{device.serial}"
        self._device = device
        self._storage = Storage(device)
        self._progress = progress

    @property
    def copied_bytes(self) -> int:
        """Of files, since it was opened; what one run alone needs is not counted."""
        return self._storage.copied_bytes

    def run(self, bundle: Path, job: Path, timeout_s: float) -> None:
        manifest = _manifest(bundle)
        asked = json.loads(job.read_bytes())
        with tempfile.TemporaryDirectory(prefix="edgekit-adb-") as name:
            scratch = Path(name)
            self._progress.step(f"prepare {manifest.engine} for {self.name}")
            parts = kit(self._device.arch, manifest.engine, scratch)
            translated = translate(bundle, manifest, asked, job.parent, scratch / "work")
            translated.limit_threads(self._device.facts["cores"])
            found = scratch / "found"
            found.mkdir()
            with self._placed(bundle, parts, translated) as placed:
                self._progress.step(f"run on {self.name}")
                with self._device.running(placed.folder, placed.command, timeout_s) as ended:
                    self._check(ended, placed)
                    self._fetch(translated, placed.folder, found)
            write_standard(found, job.parent, manifest, asked, translated, self._device.facts, bundle)
        received.check(job.parent, manifest, asked, self.name)

    @contextmanager
    def _placed(self, bundle: Path, parts: Kit, translated: Translated) -> Iterator[_Placed]:
        """Everything that the run needs, on the device."""
        engine = of_files("engine", parts.files)
        packed = Folder(f"bundle-{_kept_name(bundle)}", bundle)
        folders = [engine, packed]
        if translated.baseline:
            folders.append(of_files("baseline", translated.baseline))
        self._storage.keep(folders, translated.needed_bytes, self._progress)
        document = dict(translated.job)
        document["engine_library"] = f"../{engine.name}/{parts.library}"
        if translated.baseline:
            document["baseline"] = {"model_file": f"../{folders[2].name}/{translated.baseline_model}"}
        (translated.folder / "job.json").write_text(json.dumps(document), encoding="utf-8")
        with self._storage.folder(translated.folder) as folder:
            command = f"{parts.command(f'../{engine.name}')} --lifeline job.json ../{packed.name}"
            yield _Placed(folder, command, packed.name)

    def _check(self, ended: Ended, placed: _Placed) -> None:
        if ended.code == 0:
            return
        if ended.error == _DISK_FULL:
            raise TargetFull(
                f"the disk of {self.name} is full: {ended.told}",
                "free some space on it; edgekit left nothing half-done",
            )
        if ended.error == "BundleInvalid":
            self._storage.forget(placed.bundle)
            raise ValidationFailed(
                f"the bundle on {self.name} is not what was copied ({ended.told}); it was removed there",
                "run again: it is copied anew",
            )
        raise endings.failure(ended.status, ended.said, self.name)

    def _fetch(self, translated: Translated, folder: str, found: Path) -> None:
        """result.json first: it names the outputs that each answer has."""
        self._device.pull(folder, ["result.json"], found, received.MAX_RESULT_BYTES)
        names = translated.answer_names(found / "result.json", self.name)
        self._progress.step(f"fetch {len(names)} answers from {self.name}")
        self._device.pull(folder, names, found, received.MAX_ARRAY_BYTES)


def _kept_name(bundle: Path) -> str:
    """What a bundle is kept under: its manifest's digest stands for every file in it."""
    return hashlib.sha256((bundle / "edgekit.json").read_bytes()).hexdigest()[:32]


def _manifest(bundle: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((bundle / "edgekit.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise BadBundle(f"{bundle} holds no manifest that can be read: {error}") from error
