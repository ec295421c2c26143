"""Reading device profiles: by name, alias or path, with `extends`, and every fault with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from edgekit import resources
from edgekit.device.checks import check
from edgekit.device.host import detect
from edgekit.device.profile import DeviceProfile
from edgekit.errors import BadProfile, UnknownDevice

MAX_PROFILE_BYTES = 1 << 20
_FIGURE_KEYS = {"value", "status", "source"}


def load_profile(name_or_path: str, *, measure_host: bool = False) -> DeviceProfile:
    """The profile of that name or alias, in that TOML file, or, for "host", of this machine (`detect`).

    UnknownDevice names the nearest there is; BadProfile is one line with file, line, key, value and what is expected.
    """
    if name_or_path == "host":
        return detect(measure=measure_host)
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise UnknownDevice(f"no device profile at {path}", "edgekit devices list shows those that are shipped")
        return _read(path)
    return _read(_shipped_path(name_or_path))


def profiles() -> tuple[DeviceProfile, ...]:
    """Every profile that is shipped, by name."""
    return tuple(_read(path) for path in sorted(resources.device_profiles().glob("*.toml")))


def check_profile(path: Path) -> list[str]:
    """Everything wrong with the profile at `path`, one line each, in the order of the file; empty if nothing is."""
    try:
        text = _text(path)
        data = _extended(path, _parse(path, text), ())
    except BadProfile as error:
        return [str(error)]
    _, faults = check(data)
    located = sorted((_line_of(text, fault.key), str(fault)) for fault in faults)
    return [f"{path.name}:{line}: {message}" if line else f"{path.name}: {message}" for line, message in located]


def _read(path: Path) -> DeviceProfile:
    profile, faults = check(_extended(path, _parse(path, _text(path)), ()))
    if profile is None or faults:
        lines = check_profile(path)
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise BadProfile(f"{lines[0]}{more}", f"edgekit devices check {path} lists every fault")
    return profile


def _text(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_PROFILE_BYTES:
        raise BadProfile(f"{path.name}: {size} bytes, the limit is {MAX_PROFILE_BYTES}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadProfile(f"{path.name}: not UTF-8 at byte {error.start}") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadProfile(f"{path.name}: not TOML: {error}") from error


def _extended(path: Path, data: dict[str, Any], seen: tuple[Path, ...]) -> dict[str, Any]:
    """`data` laid over the profile that its `extends` names, which may extend another in turn."""
    parent_name = data.pop("extends", None)
    if parent_name is None:
        return data
    seen = (*seen, path.resolve())
    if not isinstance(parent_name, str):
        raise BadProfile(f"{path.name}: extends: {parent_name!r} is not the name of a profile")
    if parent_name.endswith(".toml"):
        parent = path.parent / parent_name
    else:
        try:
            parent = _shipped_path(parent_name)
        except UnknownDevice as error:
            raise BadProfile(f"{path.name}: extends: {error.message}", error.remedy) from error
    if not parent.is_file():
        raise BadProfile(f"{path.name}: extends: there is no {parent}")
    if parent.resolve() in seen:
        raise BadProfile(f"{path.name}: extends: {' -> '.join(p.stem for p in (*seen, parent))} goes in a circle")
    inherited = _extended(parent, _parse(parent, _text(parent)), seen)
    inherited.pop("aliases", None)
    inherited.pop("name", None)
    return _merge(inherited, data)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged; figures, lists and plain values of `above` replace those of `below` whole."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        whole = not isinstance(value, Mapping) or not isinstance(old, Mapping) or bool(_FIGURE_KEYS & value.keys())
        out[key] = value if whole else _merge(old, value)  # type: ignore[arg-type]
    return out


def _shipped_path(name: str) -> Path:
    direct = resources.device_profiles() / f"{name}.toml"
    if re.fullmatch(r"[a-z0-9.-]+", name) and direct.is_file():
        return direct
    known = _names()
    if name in known:
        return known[name]
    near = get_close_matches(name.lower(), ["host", *known], n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else "edgekit devices list shows those that are shipped"
    raise UnknownDevice(f"no device {name!r}", remedy)


@cache
def _names() -> Mapping[str, Path]:
    """Every shipped name and alias."""
    out: dict[str, Path] = {}
    for path in sorted(resources.device_profiles().glob("*.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        out |= dict.fromkeys([path.stem, *data.get("aliases", ())], path)
    return out


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
    return best
