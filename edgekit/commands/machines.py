"""devices and targets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit import flags, tables
from edgekit.commands.outcome import Call, Outcome
from edgekit.errors import BadProfile, UsageError


def devices_list() -> Call:
    def start() -> Outcome:
        from edgekit.device import summaries

        return Outcome(_whole_profiles, tables.devices_text(summaries()))

    return Call(start)


def _whole_profiles() -> list[Any]:
    from edgekit.device import profiles

    return [profile.model_dump(mode="json") for profile in profiles()]


def devices_show(name: str) -> Call:
    def start() -> Outcome:
        from edgekit.device import load_profile, to_toml

        profile = load_profile(name)
        return Outcome(profile.model_dump(mode="json"), to_toml(profile))

    return Call(start)


def devices_detect() -> Call:
    def start() -> Outcome:
        from edgekit.device import load_profile, to_toml

        profile = load_profile("host", measure_host=True)
        return Outcome(profile.model_dump(mode="json"), to_toml(profile))

    return Call(start)


def devices_check(file: str) -> Call:
    def start() -> Outcome:
        from edgekit.device import check_profile

        faults = check_profile(Path(file))
        told = f"{file}: {len(faults)} {'fault' if len(faults) == 1 else 'faults'}"
        error = BadProfile(told, "each is listed above") if faults else None
        return Outcome({"file": file, "faults": faults}, "\n".join(faults) or f"{file}: no fault found", error)

    return Call(start)


def targets_list() -> Call:
    def start() -> Outcome:
        from edgekit.targets.listing import listed

        found = listed()
        return Outcome([asdict(each) for each in found], tables.targets_text(found))

    return Call(start)


def targets_prepare(
    *names: str,
    engine: str = "onnxruntime",
    download: str | None = None,
    from_: str | None = None,
    mirror: str | None = None,
    force: str | bool = False,
) -> Call:
    anew, address = flags.yes("--force", force), {} if mirror is None else {"mirror": mirror}
    if download is not None and (from_ is not None or anew):
        raise UsageError("--download only fetches: nothing is prepared", "give it without --from and --force")
    if from_ is not None and mirror is not None:
        raise UsageError("--from fetches nothing", "give it without --mirror")

    def start() -> Outcome:
        from edgekit.progress import watch
        from edgekit.targets import preparing

        with watch() as progress:
            options: Any = {"engine": engine, "progress": progress, **address}
            if download is not None:
                steps = preparing.download(Path(download), names, **options)
            else:
                source = None if from_ is None else Path(from_)
                steps = preparing.prepare(names, source=source, force=anew, **options)
        return Outcome([asdict(each) for each in steps], tables.steps_text(steps))

    return Call(start)


def targets_clean(name: str | None = None) -> Call:
    def start() -> Outcome:
        from edgekit import targets
        from edgekit.targets import preparing

        if name is not None and ":" in name:
            told = targets.clean(name)
            return Outcome({"target": name, "told": told}, told)
        removed = preparing.clean(name or "")
        return Outcome({"removed": removed}, f"removed {', '.join(removed)}" if removed else "nothing was prepared")

    return Call(start)
