"""The commands: each checks its flags and returns an unexecuted call, which `edgekit.cli` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit import flags, runtimes, tables
from edgekit.errors import BadProfile, EdgekitError, LimitMissed, NoData, UsageError


@dataclass(frozen=True)
class Outcome:
    """What a command came to: a value for machines (or what makes it), text for people (or the pieces it comes in),
    and the error it still ends in, if any.
    """

    value: Any
    text: str | Iterator[str]
    error: EdgekitError | None = None


class Call:
    """A command with its arguments, not yet run. Opaque, so that Fire finds nothing to look into."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[[], Outcome]) -> None:
        self._run = run


def pack(
    model: str,
    *,
    device: str = "host",
    out: str | None = None,
    name: str | None = None,
    strategy: str = "auto",
    eval: str | None = None,  # noqa: A002
    calibration: str | None = None,
    data: str | None = None,
    budget: str | None = None,
    student: str | None = None,
    resume: str | bool = False,
    task: str | None = None,
    revision: str | None = None,
    prefer: str | None = None,
    sensitivity: str | None = None,
    threads: str | None = None,
    runtime: str = "python",
    history: str | None = None,
    max_ram: str | None = None,
    max_disk: str | None = None,
    max_latency_ms: str | None = None,
    min_tokens_per_s: str | None = None,
    min_cosine: str | None = None,
    min_neighbours: str | None = None,
    min_agreement: str | None = None,
    max_kl: str | None = None,
    max_kl_p99: str | None = None,
    min_top1: str | None = None,
    max_perplexity_ratio: str | None = None,
    max_drop: str | None = None,
    max_slowdown: str | None = None,
    context: str | None = None,
    base: str | None = None,
    adapters: str | None = None,
    combination: str | None = None,
    allow_pickle: str | bool = False,
    trust_remote_code: str | bool = False,
    force: str | bool = False,
) -> Call:
    given = dict(locals())
    limits = flags.limits({name: given[name] for name in flags.LIMIT_FLAGS})
    preferences = flags.preferences(given)
    languages, called = runtimes.parse(runtime), flags.name("--name", name)
    training = flags.training(data, budget, student)
    merging = flags.merging(base, adapters, combination)
    permits: Any = {
        name: flags.yes(f"--{name.replace('_', '-')}", given[name])
        for name in ("allow_pickle", "trust_remote_code", "resume", "force")
    }

    def run() -> Outcome:
        from edgekit.packer import pack as pack_model
        from edgekit.progress import watch
        from edgekit.report import to_text

        with watch() as progress:
            packed = pack_model(
                model, device, out=out, strategy=strategy, eval_file=eval, calibration_file=calibration, limits=limits,
                preferences=preferences, languages=languages, task=flags.task(task), revision=revision, name=called,
                history=history, progress=progress, merging=merging, **training, **permits,
            )  # fmt: skip
        value = {"bundle": str(packed.folder), "report": packed.report.model_dump(mode="json")}
        return Outcome(value, f"{to_text(packed.report)}\nbundle: {packed.folder}")

    return Call(run)


def plan(
    model: str,
    *,
    device: str = "host",
    strategy: str = "auto",
    eval: str | None = None,  # noqa: A002
    data: str | None = None,
    budget: str | None = None,
    student: str | None = None,
    task: str | None = None,
    revision: str | None = None,
    prefer: str | None = None,
    sensitivity: str | None = None,
    lengths: str | None = None,
    threads: str | None = None,
    history: str | None = None,
    explain: str | bool = False,
    max_ram: str | None = None,
    max_disk: str | None = None,
    max_latency_ms: str | None = None,
    min_tokens_per_s: str | None = None,
    min_cosine: str | None = None,
    min_neighbours: str | None = None,
    min_agreement: str | None = None,
    max_kl: str | None = None,
    max_kl_p99: str | None = None,
    min_top1: str | None = None,
    max_perplexity_ratio: str | None = None,
    max_drop: str | None = None,
    max_slowdown: str | None = None,
    context: str | None = None,
    base: str | None = None,
    adapters: str | None = None,
    combination: str | None = None,
    allow_pickle: str | bool = False,
    trust_remote_code: str | bool = False,
) -> Call:
    given = dict(locals())
    limits = flags.limits({name: given[name] for name in flags.LIMIT_FLAGS})
    preferences = flags.preferences(given)
    detailed = flags.yes("--explain", explain)
    training = flags.training(data, budget, student)
    merging = flags.merging(base, adapters, combination)
    permits: Any = {
        name: flags.yes(f"--{name.replace('_', '-')}", given[name]) for name in ("allow_pickle", "trust_remote_code")
    }

    def run() -> Outcome:
        from edgekit.packer import plan as plan_model
        from edgekit.progress import watch

        with watch() as progress:
            made = plan_model(
                model, device, strategy=strategy, eval_file=eval, limits=limits, preferences=preferences,
                task=flags.task(task), revision=revision, history=history, progress=progress, merging=merging,
                **training, **permits,
            )  # fmt: skip
        return Outcome(tables.plan_value(made), tables.plan_text(made, explain=detailed))

    return Call(run)


def distill(
    teacher: str,
    *,
    data: str | None = None,
    student: str | None = None,
    budget: str | None = None,
    temperature: str | None = None,
    seed: str = "0",
    out: str | None = None,
    resume: str | bool = False,
    task: str | None = None,
    revision: str | None = None,
    allow_pickle: str | bool = False,
    trust_remote_code: str | bool = False,
    force: str | bool = False,
) -> Call:
    given = dict(locals())
    training = flags.training(data, budget, student)
    softness, start_from = flags.temperature("--temperature", temperature), flags.seed("--seed", seed)
    permits: Any = {
        name: flags.yes(f"--{name.replace('_', '-')}", given[name])
        for name in ("resume", "allow_pickle", "trust_remote_code", "force")
    }
    if data is None:
        raise NoData("edgekit distill needs rows to train on", "give --data FILE; they need no labels")

    def run() -> Outcome:
        from edgekit.distilled_table import distilled_text
        from edgekit.distilling import distill as distill_model
        from edgekit.progress import watch

        with watch() as progress:
            made = distill_model(
                teacher, **training, temperature=softness, seed=start_from, out=out, task=flags.task(task),
                revision=revision, progress=progress, **permits,
            )  # fmt: skip
        value = {"student": str(made.folder), "training": made.record.model_dump(mode="json")}
        told = distilled_text(made.record) if made.record.compared else "trained along; the first process writes it"
        return Outcome(value, f"{told}\nstudent: {made.folder}")

    return Call(run)


def qat(
    model: str,
    *,
    for_: str | None = None,
    data: str | None = None,
    device: str = "host",
    budget: str | None = None,
    seed: str = "0",
    out: str | None = None,
    resume: str | bool = False,
    task: str | None = None,
    revision: str | None = None,
    allow_pickle: str | bool = False,
    trust_remote_code: str | bool = False,
    force: str | bool = False,
) -> Call:
    given = dict(locals())
    deployment: Any = flags.choice("--for", for_, ("onnx-int8", "gguf-Q4_0"))
    permits: Any = {
        name: flags.yes(f"--{name.replace('_', '-')}", given[name])
        for name in ("resume", "allow_pickle", "trust_remote_code", "force")
    }
    spent: dict[str, Any] = {} if budget is None else {"budget_s": flags.duration("--budget", budget)}
    start_from = flags.seed("--seed", seed)
    if deployment is None:
        raise UsageError("edgekit qat needs to know what it trains for", "give --for onnx-int8 or --for gguf-Q4_0")
    if data is None:
        raise NoData("edgekit qat needs rows to train on", "give --data FILE; they need no labels")

    def run() -> Outcome:
        from edgekit.progress import watch
        from edgekit.qat.story import qat as train_for
        from edgekit.qat.story import told

        with watch() as progress:
            made = train_for(
                model, deployment, data, device=device, seed=start_from, out=out, task=flags.task(task),
                revision=revision, progress=progress, **spent, **permits,
            )  # fmt: skip
        value = {"model": str(made.folder), "training": asdict(made.record)}
        return Outcome(value, f"{told(made)}\nmodel: {made.folder}")

    return Call(run)


def prune(
    model: str,
    *,
    data: str | None = None,
    heads: str | None = None,
    ffn: str | None = None,
    layers: str | None = None,
    unstructured: str | None = None,
    importance: str = "taylor",
    recover: str = "5min",
    seed: str = "0",
    out: str | None = None,
    task: str | None = None,
    revision: str | None = None,
    allow_pickle: str | bool = False,
    trust_remote_code: str | bool = False,
    force: str | bool = False,
) -> Call:
    given = dict(locals())
    shares = {name: flags.share(f"--{name}", given[name]) for name in ("heads", "ffn", "unstructured")}
    gone = flags.whole("--layers", layers) or 0
    measure: Any = flags.choice("--importance", importance, ("taylor", "activation"))
    recover_s = None if recover == "none" else flags.duration("--recover", recover)
    start_from = flags.seed("--seed", seed)
    permits: Any = {
        name: flags.yes(f"--{name.replace('_', '-')}", given[name])
        for name in ("allow_pickle", "trust_remote_code", "force")
    }
    if not gone and not any(shares.values()):
        raise UsageError("nothing is to be pruned", "give some of --heads 25%, --ffn 50%, --layers 2")
    if shares["unstructured"] and (gone or shares["heads"] or shares["ffn"]):
        raise UsageError("--unstructured goes alone", "prune structures first, and then what is left")
    if data is None:
        raise NoData("edgekit prune needs rows to measure what matters on", "give --data FILE; they need no labels")

    def run() -> Outcome:
        from edgekit.progress import watch
        from edgekit.pruning import Amounts
        from edgekit.pruning import prune as prune_model
        from edgekit.pruning.words import pruned_text

        with watch() as progress:
            made = prune_model(
                model, data, Amounts(layers=gone, **shares), importance=measure, recover_s=recover_s, seed=start_from,
                out=out, task=flags.task(task), revision=revision, progress=progress, **permits,
            )  # fmt: skip
        value = {"model": str(made.folder), "pruning": made.record.model_dump(mode="json")}
        return Outcome(value, f"{pruned_text(made.record)}\nmodel: {made.folder}")

    return Call(run)


def validate(
    bundle: str,
    *,
    model: str | None = None,
    eval: str | None = None,  # noqa: A002
    device: str | None = None,
    threads: str | None = None,
    on: str = "local",
    history: str | None = None,
    html: str | None = None,
    save: str | None = None,
    allow_pickle: str | bool = False,
    trust_remote_code: str | bool = False,
    force: str | bool = False,
) -> Call:
    workers = flags.whole("--threads", threads)
    pickle, remote = flags.yes("--allow-pickle", allow_pickle), flags.yes("--trust-remote-code", trust_remote_code)
    replace = flags.yes("--force", force)
    wanted = flags.files({"--html": html, "--save": save})

    def run() -> Outcome:
        from edgekit.output import check_file, write_file
        from edgekit.progress import watch
        from edgekit.report import to_text
        from edgekit.revalidate import validate as validate_bundle

        for path in wanted.values():
            check_file(path, force=replace)
        with watch() as progress:
            report = validate_bundle(
                bundle, model=model, eval_file=eval, device=device, threads=workers, target=on, history=history,
                allow_pickle=pickle, trust_remote_code=remote, progress=progress,
            )  # fmt: skip
        if "--save" in wanted:
            write_file(wanted["--save"], report.to_json(), force=replace)
        if "--html" in wanted:
            from edgekit.bundle import read_manifest
            from edgekit.html import page

            write_file(wanted["--html"], page(report, read_manifest(Path(bundle))), force=replace)
        missed = ", ".join(row.name for row in report.missed)
        error = LimitMissed(f"{bundle} missed {missed}", "the table shows by how much") if missed else None
        written = "".join(f"\n{flag[2:]}: {path}" for flag, path in wanted.items())
        return Outcome(report.model_dump(mode="json"), to_text(report) + written, error)

    return Call(run)


def compare(
    *bundles: str,
    reports: str | None = None,
    html: str | None = None,
    force: str | bool = False,
) -> Call:
    if not bundles or (len(bundles) == 1 and reports is None):
        raise UsageError("edgekit compare needs two bundles or more", "edgekit compare --help")
    replace = flags.yes("--force", force)
    wanted = flags.files({"--html": html})
    further = [] if reports is None else [word for word in reports.split(",") if word]

    def run() -> Outcome:
        from edgekit.comparing import compare as compare_bundles
        from edgekit.comparison_table import comparison_text
        from edgekit.output import check_file, write_file

        for path in wanted.values():
            check_file(path, force=replace)
        found = compare_bundles(*bundles, reports=further)
        if "--html" in wanted:
            from edgekit.html import comparison_page

            write_file(wanted["--html"], comparison_page(found), force=replace)
        return Outcome(found.value(), comparison_text(found))

    return Call(run)


def run(bundle: str, *inputs: str, threads: str | None = None, max_tokens: str | None = None) -> Call:
    workers, most = flags.whole("--threads", threads), flags.whole("--max-tokens", max_tokens)

    def start() -> Outcome:
        from edgekit.running import run as run_bundle

        result = run_bundle(bundle, inputs, threads=workers, max_tokens=most)
        if isinstance(result, list):
            return Outcome(result, tables.run_text(result, inputs))
        return Outcome(lambda: {"text": "".join(result)}, result)

    return Call(start)


def demo(
    bundle: str,
    *,
    port: str | None = None,
    host: str | None = None,
    open: str | bool = False,  # noqa: A002
    no_open: str | bool = False,
    export: str | None = None,
    force: str | bool = False,
) -> Call:
    replace = flags.yes("--force", force)
    if replace and export is None:
        raise UsageError("--force replaces what --export wrote before", "give it with --export DIR")
    number, show, hide = flags.port("--port", port), flags.yes("--open", open), flags.yes("--no-open", no_open)
    if show and hide:
        raise UsageError("--open and --no-open exclude one another", "give one of them, or none")
    if export is not None and (port is not None or host is not None or show):
        raise UsageError("--export writes the page and serves nothing", "give it without --port, --host and --open")

    def start() -> Outcome:
        from edgekit import demo as page
        from edgekit.progress import watch

        with watch() as progress:
            if export is not None:
                written = page.export(bundle, export, force=replace, progress=progress)
                return Outcome({"page": str(written)}, page.told_export(written))
            found = page.demo(bundle, port=number, host=host or page.LOOPBACK, progress=progress)
        opens = page.should_open(show, hide)
        return Outcome(page.events(found, show=opens), page.told(found, show=opens))

    return Call(start)


def inspect_(
    path: str, *, revision: str | None = None, allow_pickle: str | bool = False, trust_remote_code: str | bool = False
) -> Call:
    pickle, remote = flags.yes("--allow-pickle", allow_pickle), flags.yes("--trust-remote-code", trust_remote_code)

    def start() -> Outcome:
        from edgekit.inspection import inspect as inspect_path

        facts = inspect_path(path, revision=revision, allow_pickle=pickle, trust_remote_code=remote)
        return Outcome(facts, tables.facts_text(facts))

    return Call(start)


def merge(
    adapter: str,
    *,
    out: str,
    base: str | None = None,
    adapters: str | None = None,
    combination: str | None = None,
    revision: str | None = None,
    allow_pickle: str | bool = False,
    trust_remote_code: str | bool = False,
    force: str | bool = False,
) -> Call:
    merging = flags.merging(base, adapters, combination)
    pickle, remote = flags.yes("--allow-pickle", allow_pickle), flags.yes("--trust-remote-code", trust_remote_code)
    replace = flags.yes("--force", force)

    def start() -> Outcome:
        from edgekit.merging import merge as merge_adapter
        from edgekit.progress import watch

        with watch() as progress:
            made = merge_adapter(
                adapter, out=out, revision=revision, allow_pickle=pickle, trust_remote_code=remote, force=replace,
                progress=progress, **merging,
            )  # fmt: skip
        value = {"model": str(made.folder), "made_of": made.made_of, "notes": list(made.told)}
        return Outcome(value, "\n".join((*made.told, f"model: {made.folder}")))

    return Call(start)


def verify(bundle: str) -> Call:
    def start() -> Outcome:
        from edgekit.bundle import verify as verify_bundle

        manifest = verify_bundle(Path(bundle))
        value = {"bundle": bundle, "files": len(manifest.files), "status": manifest.status}
        return Outcome(value, f"{bundle}: {len(manifest.files)} files, every hash right; validation: {manifest.status}")

    return Call(start)


def runtime_(language: str, *, out: str | None = None, force: str | bool = False) -> Call:
    chosen = runtimes.one(language)
    replace = flags.yes("--force", force)

    def start() -> Outcome:
        made = runtimes.write(chosen, Path(out or f"edgekit-{chosen}"), force=replace)
        told = f"{made.folder}: the {chosen} wrapper, {made.files} files, {made.size_bytes / 1e3:.0f} kB"
        return Outcome(asdict(made) | {"folder": str(made.folder)}, told)

    return Call(start)


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


COMMANDS: dict[str, Callable[..., Call]] = {
    "pack": pack,
    "plan": plan,
    "distill": distill,
    "prune": prune,
    "qat": qat,
    "validate": validate,
    "compare": compare,
    "run": run,
    "demo": demo,
    "inspect": inspect_,
    "merge": merge,
    "verify": verify,
    "runtime": runtime_,
    "devices list": devices_list,
    "devices show": devices_show,
    "devices detect": devices_detect,
    "devices check": devices_check,
    "targets list": targets_list,
    "targets prepare": targets_prepare,
    "targets clean": targets_clean,
}
