"""Values of command-line flags: text in, checked values out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from edgekit.errors import UsageError
from edgekit.limits import Limits, Prefer, Preferences, Sensitivity

if TYPE_CHECKING:
    from edgekit.model import Task

_SIZE_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip
_TIME_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
MAX_DURATION_S = 30 * 24 * 3600
MAX_LENGTHS = 8
MAX_LENGTH_TOKENS = 2**20
PREFERENCE_FLAGS = ("prefer", "sensitivity", "lengths", "threads")
MAX_WEIGHT = 1000.0
LIMIT_FLAGS = (
    "max_ram", "max_disk", "max_latency_ms", "min_tokens_per_s", "min_cosine", "min_neighbours", "min_agreement",
    "max_kl", "max_kl_p99", "min_top1", "max_perplexity_ratio", "max_drop", "max_slowdown", "context",
)  # fmt: skip


def size(flag: str, text: str | None) -> int | None:
    """ "1.5GB" -> 1500000000; a bare number is bytes."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([A-Za-z]*)", text)
    if match is None or match[2].upper() not in _SIZE_UNITS:
        raise UsageError(f"{flag} is {text!r}", "give bytes or a unit: 800MB, 1.5GB, 512MiB")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def number(flag: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{flag} is {text!r}, not a number", f"give a number, as in {flag} 2") from None
    if not 0 <= value < float("inf"):
        raise UsageError(f"{flag} is {text}", "give a number of at least 0")
    return value


def whole(flag: str, text: str | None) -> int | None:
    value = number(flag, text)
    if value is not None and (value != int(value) or value < 1):
        raise UsageError(f"{flag} is {text}", "give a whole number of at least 1")
    return None if value is None else int(value)


def duration(flag: str, text: str | None) -> float | None:
    """Seconds: "20min" -> 1200.0; s, min and h, and a bare number is seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([a-z]*)", text)
    if match is None or match[2] not in _TIME_UNITS:
        raise UsageError(f"{flag} is {text!r}", "give a time: 90s, 20min, 1.5h")
    seconds = float(match[1]) * _TIME_UNITS[match[2]]
    if not 0 < seconds <= MAX_DURATION_S:
        raise UsageError(f"{flag} is {text}", f"give more than 0 and at most {MAX_DURATION_S // 3600} hours")
    return seconds


def share(flag: str, text: str | None) -> float:
    """ "25%" or "0.25" -> 0.25; 0 for None."""
    if text is None:
        return 0.0
    value = number(flag, text.removesuffix("%")) or 0.0
    value = value / 100 if text.endswith("%") else value
    if not 0 < value < 1:
        raise UsageError(f"{flag} is {text}", "give more than 0% and less than 100%, as in 25%")
    return value


def port(flag: str, text: str | None) -> int:
    """A port to listen on; 0, any that is free, for None."""
    value = whole(flag, text) or 0
    if value > 65535:
        raise UsageError(f"{flag} is {text}", "give one of 1 to 65535")
    return value


def name(flag: str, text: str | None) -> str | None:
    """What something is called; folders are named after it."""
    if text is not None and (not text.strip(" .") or "/" in text or not text.isprintable()):
        raise UsageError(f"{flag} is {text!r}", "give a word or two, without a slash")
    return text


def yes(flag: str, text: str | bool) -> bool:
    if str(text) not in ("True", "False"):
        raise UsageError(f"{flag} takes no value, but {text!r} follows it", f"write {flag} last, or {flag}=True")
    return str(text) == "True"


def permits(given: dict[str, Any], *names: str) -> dict[str, Any]:
    """Of the flags that take no value, those of these names, each under its name."""
    return {name: yes(f"--{name.replace('_', '-')}", given[name]) for name in names}


_LIMIT_PARSERS: dict[str, Callable[[str, str | None], float | None]] = {
    "max_ram": size,
    "max_disk": size,
    "context": whole,
}


_SHARES = ("min_cosine", "min_neighbours", "min_agreement", "min_top1", "max_drop")


def _check_range(name: str, value: float) -> None:
    """Limits that no bundle could hold, or that were surely meant otherwise."""
    flag = f"--{name.replace('_', '-')}"
    if name in _SHARES and value > 1:
        raise UsageError(f"{flag} is {value:g}", "it is a share: give at most 1")
    if name in ("max_ram", "max_disk") and value < 1000:
        meant = f"did you mean {value:g}MB?" if value else "give a size such as 800MB"
        raise UsageError(f"{flag} is {value:g} bytes", meant)


def limits(given: Mapping[str, str | None]) -> Limits:
    """Limits from flags: --max-ram and --max-disk are sizes, --context is max tokens, the rest plain numbers."""
    names = {"max_ram": "max_ram_bytes", "max_disk": "max_disk_bytes", "context": "context_tokens"}
    values = {}
    for name, text in given.items():
        value = _LIMIT_PARSERS.get(name, number)(f"--{name.replace('_', '-')}", text)
        if value is not None:
            _check_range(name, value)
            values[names.get(name, name)] = value
    known = {field.name for field in fields(Limits)}
    assert known >= set(values), values
    return Limits(**values)  # type: ignore[arg-type]


def preferences(given: Mapping[str, str | None]) -> Preferences:
    """Preferences from the flags of PREFERENCE_FLAGS; those that a command does not have are left at their defaults."""
    defaults = Preferences()
    return Preferences(
        prefer=cast("Prefer | None", choice("--prefer", given.get("prefer"), get_args(Prefer))),
        sensitivity=cast(
            "Sensitivity", choice("--sensitivity", given.get("sensitivity"), get_args(Sensitivity)) or "normal"
        ),
        lengths=lengths("--lengths", given.get("lengths")) or defaults.lengths,
        threads=whole("--threads", given.get("threads")),
    )


def choice(flag: str, text: str | None, known: Sequence[str]) -> str | None:
    if text is not None and text not in known:
        raise UsageError(f"{flag} is {text!r}", f"choose one of {', '.join(known)}")
    return text


def lengths(flag: str, text: str | None) -> tuple[int, ...] | None:
    """ "16,128,512" -> (16, 128, 512), in rising order."""
    if text is None:
        return None
    words = text.split(",")
    if len(words) > MAX_LENGTHS or not all(word.strip().isascii() and word.strip().isdigit() for word in words):
        raise UsageError(f"{flag} is {text!r}", f"give up to {MAX_LENGTHS} lengths in tokens, as in 16,128,512")
    found = sorted({int(word) for word in words})
    if not 1 <= found[0] <= found[-1] <= MAX_LENGTH_TOKENS:
        raise UsageError(f"{flag} is {text!r}", f"give lengths of 1 to {MAX_LENGTH_TOKENS} tokens")
    return tuple(found)


def adapters(text: str | None) -> dict[str, float] | None:
    """ "A=0.7,B=0.3" -> {"A": 0.7, "B": 0.3}; an adapter without a weight has 1."""
    if text is None:
        return None
    found: dict[str, float] = {}
    for word in text.split(","):
        source, sign, weight = word.strip().rpartition("=")
        source, weight = (source, weight) if sign else (weight, "1")
        try:
            value = float(weight)
        except ValueError:
            value = float("nan")
        if not source or source in found or not 0 < abs(value) <= MAX_WEIGHT:
            raise UsageError(f"--adapters is {text!r}", "give each adapter once, with a weight: A=0.7,B=0.3")
        found[source] = value
    return found


def merging(base: str | None, adapters_: str | None, combination: str | None) -> dict[str, Any]:
    """What `open_model` takes of --base, --adapters and --combination; what was not given is left out."""
    chosen = choice("--combination", combination, ("cat", "linear"))
    given = {"base": base, "adapters": adapters(adapters_), "combination": chosen}
    return {key: value for key, value in given.items() if value is not None}


def files(given: Mapping[str, str | None]) -> dict[str, Path]:
    """The files that are to be written, by flag; two flags never name the same one."""
    found: dict[str, Path] = {}
    for flag, text in given.items():
        if text is None:
            continue
        if not text:
            raise UsageError(f"{flag} is empty", "name a file")
        same = next((other for other, path in found.items() if path.absolute() == Path(text).absolute()), None)
        if same is not None:
            raise UsageError(f"{same} and {flag} both name {text}", "name two files")
        found[flag] = Path(text)
    return found


def temperature(flag: str, text: str | None) -> float | None:
    value = number(flag, text)
    if value is not None and not 0.1 <= value <= 100:
        raise UsageError(f"{flag} is {text}", "give 0.1 to 100; 1 leaves the teacher's answers as they are")
    return value


def learning_rate(flag: str, text: str | None) -> float | None:
    value = number(flag, text)
    if value is not None and not 0 < value < 1:
        raise UsageError(f"{flag} is {text}", "give a number above 0 and below 1, 0.0001 say")
    return value


def seed(flag: str, text: str) -> int:
    value = number(flag, text) or 0.0
    if value != int(value) or value >= 2**32:
        raise UsageError(f"{flag} is {text}", "give a whole number below 4294967296")
    return int(value)


def training(data: str | None, budget: str | None, student: str | None, rate: str | None = None) -> dict[str, Any]:
    """What is taken of --data, --budget, --student and --learning-rate; what was not given is left out."""
    from edgekit.model import StudentSpec

    asked = {"--budget": budget, "--student": student, "--learning-rate": rate}
    flag = next((name for name, value in asked.items() if value is not None), None)
    if data is None and flag is not None:
        raise UsageError(f"{flag} is about training, and there is nothing to train on", "give --data FILE")
    found: dict[str, Any] = {} if data is None else {"data_file": data}
    if budget is not None:
        found["budget_s"] = duration("--budget", budget)
    if student is not None:
        found["student"] = StudentSpec.parse(student)
    if rate is not None:
        found["learning_rate"] = learning_rate("--learning-rate", rate)
    return found


def task(text: str | None) -> Task | None:
    from edgekit.model import Task

    if text is not None and text not in get_args(Task):
        raise UsageError(f"there is no task {text!r}", f"choose one of {', '.join(get_args(Task))}")
    return cast("Task | None", text)
