"""pack and plan."""

from __future__ import annotations

from edgekit import flags, runtimes, tables
from edgekit.commands.outcome import Call, Outcome


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
    learning_rate: str | None = None,
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
    training = flags.training(data, budget, student, learning_rate)
    merging = flags.merging(base, adapters, combination)
    permits = flags.permits(given, "allow_pickle", "trust_remote_code", "resume", "force")

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
    permits = flags.permits(given, "allow_pickle", "trust_remote_code")

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
