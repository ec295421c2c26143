"""What is asked of a bundle: validate, compare, run, demo, verify; inspect and runtime."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgekit import flags, runtimes, tables
from edgekit.commands.outcome import Call, Outcome
from edgekit.errors import LimitMissed, UsageError


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
