"""The speeds of this machine, kept from one run to the next: measuring them takes seconds.

`$XDG_CACHE_HOME/edgekit/host-<digest>.toml` is a profile like any other; the digest is of what the machine says of
itself (CPU, features, cores, memory and its limit) and of whether ONNX Runtime is there to measure with: if any of
that changes, the machine is measured anew.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from edgekit.device.burst import has_onnx_runtime
from edgekit.device.checks import check
from edgekit.device.host import detect, measured, with_speeds
from edgekit.device.profile import DeviceProfile
from edgekit.device.source import parse, text_of
from edgekit.device.toml import to_toml
from edgekit.errors import BadProfile

KEPT_SECONDS = 7 * 24 * 3600


def host(*, measure: bool, reuse: bool) -> DeviceProfile:
    """The profile of this machine. With `reuse`, its speeds come from the cache if they were measured within a week;
    if not from there, and with `measure`, they are measured and kept; else they are unknown.
    """
    profile = detect(measure=False)
    path = _path(profile)
    kept = _read(path) if reuse else None
    if kept is not None:
        return with_speeds(
            profile,
            fp32=kept.cpu.fp32_flops_per_s,
            int8=kept.cpu.int8_ops_per_s,
            bandwidth=kept.memory_bandwidth,
        )
    if not measure:
        return profile
    profile = measured(profile)
    _write(path, to_toml(profile))
    return profile


def _path(profile: DeviceProfile) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit"
    told = f"{to_toml(profile)}\n{has_onnx_runtime()}"
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return folder / f"host-{digest}.toml"


def _read(path: Path) -> DeviceProfile | None:
    """None for what is old, broken or not there: it will be measured and written again."""
    try:
        age_seconds = time.time() - path.stat().st_mtime
        if not -60 <= age_seconds <= KEPT_SECONDS:
            return None
        profile, faults = check(parse(path, text_of(path)))
    except (OSError, BadProfile):
        return None
    return None if faults else profile


def _write(path: Path, text: str) -> None:
    """Atomically; a cache that cannot be written is no error."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
