"""Reading device profiles: by name, alias or path, with `extends`, and every fault with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from edgekit.device.checks import check
from edgekit.device.host_cache import host
from edgekit.device.profile import DeviceProfile
from edgekit.device.source import extended, parse, shipped, shipped_path, text_of
from edgekit.errors import BadProfile, UnknownDevice


def load_profile(name_or_path: str, *, measure_host: bool | Literal["cached"] = False) -> DeviceProfile:
    """The profile of that name or alias, in that TOML file, or, for "host", of this machine (`detect`).

    The host's speeds are kept for a week. `measure_host` True measures them (four seconds) whatever is kept, "cached"
    only where nothing is kept, False never: then they are what is kept, or unknown.

    UnknownDevice names the nearest there is; BadProfile is one line with file, line, key, value and what is expected.
    """
    if name_or_path == "host":
        return host(measure=bool(measure_host), reuse=measure_host is not True)
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise UnknownDevice(f"no device profile at {path}", "edgekit devices list shows those that are shipped")
        return _read(path)
    return _read(shipped_path(name_or_path))


def profiles() -> tuple[DeviceProfile, ...]:
    """Every profile that is shipped, by name."""
    return tuple(_read(path) for path in shipped())


def check_profile(path: Path) -> list[str]:
    """Everything wrong with the profile at `path`, one line each, in the order of the file; empty if nothing is."""
    try:
        text = text_of(path)
        data = extended(path, parse(path, text), ())
    except BadProfile as error:
        return [str(error)]
    _, faults = check(data)
    located = sorted((_line_of(text, fault.key), str(fault)) for fault in faults)
    return [f"{path.name}:{line}: {message}" if line else f"{path.name}: {message}" for line, message in located]


def _read(path: Path) -> DeviceProfile:
    profile, faults = check(extended(path, parse(path, text_of(path)), ()))
    if profile is None or faults:
        lines = check_profile(path)
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise BadProfile(f"{lines[0]}{more}", f"edgekit devices check {path} lists every fault")
    return profile


def _line_of(text: str, key: str) -> int:
    """The line where `key`, or the nearest table around it, stands; 0 if none does (it may come from `extends`)."""
    wanted = key.split(".")
    best, depth = 0, 0
    table: list[str] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[(\[?)\s*([\w.\"-]+)\s*\]", line):
            table = header[2].replace('"', "").split(".")
            if header[1]:
                counts[header[2]] = counts.get(header[2], -1) + 1
                table = [*table, str(counts[header[2]])]
            here = table
        elif entry := re.match(r"\s*([\w.\"-]+)\s*=", line):
            here = [*table, *entry[1].replace('"', "").split(".")]
        else:
            continue
        if len(here) > depth and here == wanted[: len(here)]:
            best, depth = number, len(here)
        elif not best and here[: len(wanted)] == wanted:  # a table of that name where something else is expected
            best = number
    return best
