"""distill, qat, prune and merge: models made of models."""

from __future__ import annotations

from typing import Any

from edgekit import flags
from edgekit.commands.outcome import Call, Outcome
from edgekit.errors import NoData, UsageError


def distill(
    teacher: str,
    *,
    data: str | None = None,
    student: str | None = None,
    budget: str | None = None,
    temperature: str | None = None,
    learning_rate: str | None = None,
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
    training = flags.training(data, budget, student, learning_rate)
    softness, start_from = flags.temperature("--temperature", temperature), flags.seed("--seed", seed)
    permits = flags.permits(given, "resume", "allow_pickle", "trust_remote_code", "force")
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
    learning_rate: str | None = None,
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
    permits = flags.permits(given, "resume", "allow_pickle", "trust_remote_code", "force")
    spent: dict[str, Any] = {} if budget is None else {"budget_s": flags.duration("--budget", budget)}
    start_from, pace = flags.seed("--seed", seed), flags.learning_rate("--learning-rate", learning_rate)
    if deployment is None:
        raise UsageError("edgekit qat needs to know what it trains for", "give --for onnx-int8 or --for gguf-Q4_0")
    if data is None:
        raise NoData("edgekit qat needs rows to train on", "give --data FILE; they need no labels")

    def run() -> Outcome:
        from edgekit.progress import watch
        from edgekit.quantaware.story import qat as train_for
        from edgekit.quantaware.story import told

        with watch() as progress:
            made = train_for(
                model, deployment, data, device=device, learning_rate=pace, seed=start_from, out=out,
                task=flags.task(task), revision=revision, progress=progress, **spent, **permits,
            )  # fmt: skip
        value = {"model": str(made.folder), "training": made.record.model_dump(mode="json")}
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
    learning_rate: str | None = None,
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
    start_from, pace = flags.seed("--seed", seed), flags.learning_rate("--learning-rate", learning_rate)
    permits = flags.permits(given, "allow_pickle", "trust_remote_code", "force")
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
                model, data, Amounts(layers=gone, **shares), importance=measure, recover_s=recover_s,
                learning_rate=pace, seed=start_from, out=out, task=flags.task(task), revision=revision,
                progress=progress, **permits,
            )  # fmt: skip
        value = {"model": str(made.folder), "pruning": made.record.model_dump(mode="json")}
        return Outcome(value, f"{pruned_text(made.record)}\nmodel: {made.folder}")

    return Call(run)


def merge(
    adapter: str,
    *,
    out: str | None = None,
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
