"""Device profiles as they are written: TOML text, names and aliases, `extends`. Nothing is validated here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from edgekit import resources
from edgekit.errors import BadProfile, UnknownDevice

MAX_PROFILE_BYTES = 1 << 20
_FIGURE_KEYS = {"value", "status", "source"}


class Summary(NamedTuple):
    """A shipped profile in a line; bytes are None where they are unknown."""

    name: str
    title: str
    arch: str
    cores: int
    total_bytes: float | None
    app_bytes: float | None


def summaries() -> list[Summary]:
    """Every shipped profile in a line, by name, without the cost of validating them: a test does that."""
    found = []
    for path in shipped():
        data = extended(path, parse(path, text_of(path)), ())
        cpu, ram = data["cpu"], data["ram"]
        cores = sum(cluster["count"] for cluster in cpu["clusters"])
        sizes = (ram["total_bytes"].get("value"), ram["app_bytes"].get("value"))
        found.append(Summary(data["name"], data["title"], cpu["arch"], cores, *sizes))
    return found


def shipped() -> list[Path]:
    return sorted(resources.device_profiles().glob("*.toml"))


def text_of(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_PROFILE_BYTES:
            raise BadProfile(f"{path.name}: {size} bytes, the limit is {MAX_PROFILE_BYTES}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadProfile(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadProfile(f"{path.name}: not UTF-8 at byte {error.start}") from error


def parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadProfile(f"{path.name}: not TOML: {error}") from error


def extended(path: Path, data: dict[str, Any], seen: tuple[Path, ...]) -> dict[str, Any]:
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
            parent = shipped_path(parent_name)
        except UnknownDevice as error:
            raise BadProfile(f"{path.name}: extends: {error.message}", error.remedy) from error
    if not parent.is_file():
        raise BadProfile(f"{path.name}: extends: there is no {parent}")
    if parent.resolve() in seen:
        raise BadProfile(f"{path.name}: extends: {' -> '.join(p.stem for p in (*seen, parent))} goes in a circle")
    inherited = extended(parent, parse(parent, text_of(parent)), seen)
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


def shipped_path(name: str) -> Path:
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
    for path in shipped():
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        out |= dict.fromkeys([path.stem, *data.get("aliases", ())], path)
    return out
