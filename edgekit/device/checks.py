"""Telling what is wrong with a profile: types and keys through the schema, then units, sums and sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from edgekit.device.profile import KNOWN_FEATURES, DeviceProfile, Figure
from edgekit.device.variants import EVERY_VARIANT

_MIB, _TIB = 2**20, 2**40
_RAM = (16 * _MIB, 4 * _TIB, "bytes", "16 MiB", "4 TiB")
_BANDWIDTH = (10e6, 10e12, "bytes per second", "10 MB/s", "10 TB/s")
_OPERATIONS = (1e6, 1e15, "operations per second", "1e6", "1e15")
_RANGES: Mapping[str, tuple[float, float, str, str, str]] = {
    "ram.total_bytes": _RAM,
    "ram.app_bytes": _RAM,
    "ram.app_entitled_bytes": _RAM,
    "ram.app_background_bytes": _RAM,
    "memory_bandwidth.peak_bytes_per_s": _BANDWIDTH,
    "memory_bandwidth.sustained_bytes_per_s": _BANDWIDTH,
    "memory_bandwidth.one_thread_bytes_per_s": _BANDWIDTH,
    "storage.app_bytes": (_MIB, 1024 * _TIB, "bytes", "1 MiB", "1 PiB"),
    "cpu.fp32_flops_per_s": _OPERATIONS,
    "cpu.int8_ops_per_s": _OPERATIONS,
}
_WANTED = {
    "string_type": "text is expected",
    "string_pattern_mismatch": "small letters, digits, dots and hyphens are expected, a letter or digit first",
    "float_type": "a number is expected",
    "int_type": "a whole number is expected",
    "bool_type": "true or false is expected",
    "tuple_type": "a list is expected",
    "model_type": 'a table such as { value = 1, status = "vendor", source = "..." } is expected',
    "greater_than": "a number above 0 is expected",
}


@dataclass(frozen=True)
class Fault:
    """`key` is dotted, list items by their number: "cpu.clusters.0.mhz"."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def check(data: Mapping[str, Any]) -> tuple[DeviceProfile | None, list[Fault]]:
    """The profile that `data` (parsed TOML) describes, None where the schema refuses it, and everything wrong."""
    try:
        profile = DeviceProfile.model_validate(_tuples(data), strict=True)
    except ValidationError as error:
        return None, [_fault(entry) for entry in error.errors()]
    return profile, [*_figures(profile), *_sums(profile), *_features(profile), *_words(profile)]


def _tuples(value: Any) -> Any:
    """TOML's lists as the tuples that the strict schema wants."""
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fault(entry: Any) -> Fault:
    """One of pydantic's errors in our words: what, measured value, limit."""
    key, kind, value = ".".join(map(str, entry["loc"])), entry["type"], entry["input"]
    if kind == "missing":
        return Fault(key, "missing; it must be stated" + (", if only as unknown" if "bytes" in key else ""))
    if kind == "extra_forbidden":
        near = get_close_matches(str(entry["loc"][-1]), _siblings(entry["loc"][:-1]), n=1)
        return Fault(key, f"no such key{f', did you mean {near[0]}?' if near else ''}")
    if kind == "literal_error":
        return Fault(key, f"{value!r} is none of {entry['ctx']['expected']}")
    if key.endswith("mhz") and isinstance(value, int | float):
        hint = "gigahertz" if value < 10 else "hertz or kilohertz"
        return Fault(key, f"{value:g} is outside 10 to 10000: is this {hint}? Megahertz are expected")
    if kind in ("greater_than_equal", "less_than_equal"):
        return Fault(key, f"{f'{value!r}'[:60]}: {entry['msg'].removeprefix('Input should be ')} is expected")
    if kind == "value_error":
        return Fault(key, str(entry["ctx"]["error"]))
    kind = "model_type" if kind.startswith(("model_", "dataclass")) else kind
    shown = f"{value!r}"[:60]
    return Fault(key, f"{shown} is {_type_name(value)}, {_WANTED.get(kind, entry['msg'])}")


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = ((str, "text"), (int | float, "a number"), (Mapping, "a table"), (tuple | list, "a list"))
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """The keys that the schema allows at `location`."""
    model: type[BaseModel] = DeviceProfile
    for part in location:
        if part in model.model_fields:
            annotation = model.model_fields[part].annotation
            kinds = (annotation, *get_args(annotation))
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _all_figures(profile: DeviceProfile) -> Iterator[tuple[str, Figure]]:
    for section in ("cpu", "ram", "memory_bandwidth", "storage"):
        part: BaseModel = getattr(profile, section)
        for name in type(part).model_fields:
            value = getattr(part, name)
            if isinstance(value, Figure):
                yield f"{section}.{name}", value


def _figures(profile: DeviceProfile) -> Iterator[Fault]:
    for key, figure in _all_figures(profile):
        if figure.value is None:
            continue
        low, high, unit, low_text, high_text = _RANGES[key]
        if not low <= figure.value <= high:
            side = f"below {low_text}" if figure.value < low else f"above {high_text}"
            guess = _unit_guess(figure.value, low, high, unit)
            ending = f"{guess} {unit.capitalize()}" if guess else f"; {unit}"
            yield Fault(key, f"{figure.value:g} is {side}{ending} are expected")
        if not figure.source.strip():
            yield Fault(f"{key}.source", f"missing: a {figure.status} figure names its source")
    isa = profile.cpu.isa
    if isa.value and not isa.source.strip() and isa.status != "unknown":
        yield Fault("cpu.isa.source", f"missing: {isa.status} features name their source")


def _unit_guess(value: float, low: float, high: float, unit: str) -> str:
    if not unit.startswith("bytes"):
        return ": is this billions per second?" if value < low <= value * 1e9 <= high else ""
    suffix = " per second" if unit.endswith("second") else ""
    for factor, name in ((2**30, "gigabytes"), (2**20, "megabytes"), (2**10, "kilobytes")):
        if value < low and low <= value * factor <= high / 16:  # the far end of the range is no likely guess
            return f": is this {name}{suffix}?"
    return ": is this bits?" if value > high >= value / 8 else ""


def _sums(profile: DeviceProfile) -> Iterator[Fault]:
    """In the background an app gets no more than in front, there no more than with the entitlement, and never more
    than there is; one thread draws no more than all, and all no more than the peak.
    """
    ram, bandwidth = profile.ram, profile.memory_bandwidth
    chains = (
        ("ram", ram, ("app_background_bytes", "app_bytes", "app_entitled_bytes", "total_bytes")),
        ("memory_bandwidth", bandwidth, ("one_thread_bytes_per_s", "sustained_bytes_per_s", "peak_bytes_per_s")),
    )
    for section, part, names in chains:
        known = [(name, value) for name in names if (value := getattr(part, name).value) is not None]
        for (small_key, small), (large_key, large) in pairwise(known):
            if small > large:
                yield Fault(f"{section}.{small_key}", f"{small:.0f} is more than {section}.{large_key}, {large:.0f}")


def _features(profile: DeviceProfile) -> Iterator[Fault]:
    known = KNOWN_FEATURES[profile.cpu.arch]
    for name in profile.cpu.isa.value:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            yield Fault("cpu.isa.value", f"{name!r} is no {profile.cpu.arch} feature; {hint}")
    if not profile.cpu.clusters:
        yield Fault("cpu.clusters", "empty: at least one cluster of cores is expected")
    variant = profile.cpu.ggml_variant
    if variant and variant not in EVERY_VARIANT:
        near = get_close_matches(variant, EVERY_VARIANT, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield Fault("cpu.ggml_variant", f"{variant!r} is no CPU variant of ggml{hint}")
    elif variant and (lacking := EVERY_VARIANT[variant] - set(profile.cpu.isa.value)):
        yield Fault("cpu.ggml_variant", f"{variant} needs {', '.join(sorted(lacking))}, which cpu.isa does not have")


def _words(profile: DeviceProfile) -> Iterator[Fault]:
    """Whatever is no figure and still is a claim: clocks, and what the system counts."""
    for number, cluster in enumerate(profile.cpu.clusters):
        if cluster.mhz is not None and (cluster.status == "unknown" or not cluster.source.strip()):
            yield Fault(f"cpu.clusters.{number}.mhz", "status and source are missing: a clock has them as figures do")
    if profile.ram.counted != "resident" and not profile.ram.counted_source.strip():
        yield Fault("ram.counted", f"counted_source is missing: who says that {profile.ram.counted} memory counts?")
    taken = {name for name in profile.aliases if profile.aliases.count(name) > 1 or name in (profile.name, "host")}
    for name in sorted(taken):
        yield Fault("aliases", f"{name!r} is given twice" if name != "host" else "'host' means the machine at hand")
