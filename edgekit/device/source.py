"""Device profiles as they are written: TOML text, names and aliases, `extends`. Nothing is validated here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgekit import resources
from edgekit.errors import BadProfile, UnknownDevice

if TYPE_CHECKING:
    from edgekit.device.profile import DeviceProfile

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
    soc: str = ""
    form_factor: str = ""


class Sibling(NamedTuple):
    """A shipped model of the same device with more memory for an app."""

    name: str
    title: str
    app_bytes: int


def summaries() -> list[Summary]:
    """Every shipped profile in a line, by name, without the cost of validating them: a test does that."""
    found = []
    for path in shipped():
        data = extended(path, _shipped_data(path), ())
        cpu, ram = data["cpu"], data["ram"]
        cores = sum(cluster["count"] for cluster in cpu["clusters"])
        sizes = (ram["total_bytes"].get("value"), ram["app_bytes"].get("value"))
        kind = (data.get("soc", ""), data["form_factor"])
        found.append(Summary(data["name"], data["title"], cpu["arch"], cores, *sizes, *kind))
    return found


def siblings(device: DeviceProfile) -> tuple[Sibling, ...]:
    """The shipped profiles of the same soc and form factor that leave an app more memory, the least of it first; none
    where nobody knows what `device` leaves it.
    """
    budget_bytes = device.ram.app_bytes.value
    if budget_bytes is None or not device.soc:
        return ()
    larger = [
        Sibling(each.name, each.title, int(each.app_bytes))
        for each in _summaries_once()
        if (each.soc, each.form_factor) == (device.soc, device.form_factor)
        and each.app_bytes is not None
        and each.app_bytes > budget_bytes
    ]
    return tuple(sorted(larger, key=lambda each: (each.app_bytes, each.name)))


@cache
def _summaries_once() -> tuple[Summary, ...]:
    return tuple(summaries())


def shipped() -> list[Path]:
    return sorted(resources.device_profiles().glob("*.toml"), key=lambda path: path.stem)


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
    except (ValueError, RecursionError) as error:  # not TOML, a number of thousands of digits, too deep
        raise BadProfile(f"{path.name}: not TOML: {error}") from error


@cache
def _shipped_data(path: Path) -> Mapping[str, Any]:
    """What is shipped does not change under way, and a family's first member is read for each of the others."""
    return parse(path, text_of(path))


def extended(path: Path, data: Mapping[str, Any], seen: tuple[Path, ...]) -> dict[str, Any]:
    """`data` laid over the profile that its `extends` names, which may extend another in turn."""
    parent_name = data.get("extends")
    if parent_name is None:
        return dict(data)
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
    of_parent = (
        _shipped_data(parent) if parent.parent == resources.device_profiles() else parse(parent, text_of(parent))
    )
    inherited = extended(parent, of_parent, seen)
    return _merge(_without(inherited, "aliases", "name"), _without(data, "extends"))


def _without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in names}


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
    raise UnknownDevice(f"no device {name!r}", _nearest(name.lower(), known))


def _nearest(name: str, known: Mapping[str, Path]) -> str:
    """Names that `name` begins come first: every one of a family that is sold in several sizes."""
    begun = {known[each].stem for each in known if each.startswith(name)} if len(name) > 1 else set()
    family = sorted(begun, key=lambda each: (len(each), each))
    near = family if len(family) > 1 else get_close_matches(name, ["host", *known], n=1, cutoff=0.5)
    if not near:
        return "edgekit devices list shows those that are shipped"
    return f"did you mean {' or '.join([', '.join(near[:-1]), near[-1]] if len(near) > 1 else near)}?"


@cache
def _names() -> Mapping[str, Path]:
    """Every shipped name and alias."""
    out: dict[str, Path] = {}
    for path in shipped():
        out |= dict.fromkeys([path.stem, *_shipped_data(path).get("aliases", ())], path)
    return out
