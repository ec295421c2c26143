"""Bundles: laying the files out, sealing them with a manifest, verifying and opening what stands there."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekit import __version__, manifest, runtimes
from edgekit.chat_format import chat_format
from edgekit.checkpoint.formats import SETUP_KEYS
from edgekit.device import DeviceProfile
from edgekit.errors import BadBundle
from edgekit.limits import Limits
from edgekit.manifest import MANIFEST_NAME, FileEntry, Manifest, PlanSummary
from edgekit.model import SourceModel, normalise_config, normalise_tokenizer_config
from edgekit.model.companions import companion
from edgekit.report import Report
from edgekit.resources import use_python_runtime
from edgekit.strategies import Artifact, TensorSignature

# What makes the folder a Hugging Face-layout model for other tools. Some are copied as they are, some written in the
# spelling that transformers 4 and 5 both read: 4 takes a wrong rotary base from version 5's without a word.
_NORMALISED = {"config.json": normalise_config, "tokenizer_config.json": normalise_tokenizer_config}
_COMPANIONS = (
    "generation_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
)
# How messages of the runtime end that say what to do.
_OWN_REMEDIES = ("remove it", "unpack it and open the folder, models load by path", "update edgekit-runtime")
_TOOLS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "gguf", "llama-cpp-python")


@dataclass(frozen=True)
class Staged:
    """A bundle laid out in its temporary folder, complete but for what measuring it will add."""

    folder: Path
    artifact: Artifact
    manifest: Manifest


def stage(
    folder: Path,
    artifact: Artifact,
    model: SourceModel,
    device: DeviceProfile,
    limits: Limits,
    created_utc: str,
    *,
    languages: Sequence[str] = ("python",),
    threads: int | None = None,
) -> Staged:
    """Lay the bundle out in `folder` (replacing what is there), with the wrappers for `languages` and a manifest that
    says "failed" until proven. `model` is what the user brought, and what the provenance names; all else is told of
    what the artifact was made of. `threads` are those that wrappers run on the device unless an app says otherwise.
    """
    packed = artifact.source or model
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(artifact.folder, folder, copy_function=_link_or_copy)
    _copy_companions(packed, folder)
    for language in languages:
        runtimes.assemble(language, folder / "runtime" / language)
    draft = _draft(folder, artifact, packed, model, device, limits, created_utc, threads)
    (folder / MANIFEST_NAME).write_text(draft.to_json(), encoding="utf-8")
    return Staged(folder, artifact, draft)


def notes(draft: Manifest, languages: Sequence[str]) -> tuple[str, ...]:
    """What the wrappers that were asked for cannot do with this bundle."""
    generation, lacking = draft.generation, [each for each in ("c", "java", "swift") if each in languages]
    if not lacking or generation is None or generation.chat_template is None or generation.chat_format is not None:
        return ()
    told = "the chat template is more than a string of turns, and the runtimes in C, Java and Swift have no Jinja"
    return (f"{told}: an app in {', '.join(lacking)} renders the prompt itself and calls generate",)


def seal(staged: Staged, report: Report, golden: Mapping[str, Any], summary: PlanSummary) -> Manifest:
    """Add goldens, report, README and the final manifest to a measured bundle."""
    from edgekit import bundle_readme, html

    folder = staged.folder
    (folder / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
    (folder / "report.html").write_text(html.page(report, staged.manifest), encoding="utf-8")
    (folder / "README.md").write_text(bundle_readme.text(staged.manifest, report, folder), encoding="utf-8")
    anonymous, peak = report.figure("anonymous memory"), report.figure("peak RSS")
    threads = f"{report.host.threads} {'thread' if report.host.threads == 1 else 'threads'}"
    memory = staged.manifest.memory.model_copy(
        update={
            "anonymous_bytes": None if anonymous is None else int(anonymous),
            "peak_rss_bytes": None if peak is None else int(peak),
            "measured_on": None if peak is None else f"{report.host.cpu}, {threads}",
        }
    )
    known = {entry.path: entry for entry in staged.manifest.files}
    sealed = staged.manifest.model_copy(
        update={"status": report.status, "memory": memory, "plan": summary, "files": _entries(folder, known)}
    )
    (folder / MANIFEST_NAME).write_text(sealed.to_json(), encoding="utf-8")
    return sealed


def verify(folder: Path) -> Manifest:
    """Check every hash, size and path of the bundle by the runtime's own code, then the manifest's schema."""
    use_python_runtime()
    import edgekit_runtime

    try:
        raw = edgekit_runtime.verify(folder)
    except edgekit_runtime.BundleInvalid as error:
        raise _refused(str(error), folder) from error
    return _checked(raw, folder)


def _refused(told: str, folder: Path) -> BadBundle:
    """With the remedy that the runtime names, where it names one."""
    for own in _OWN_REMEDIES:
        if told.endswith(f": {own}"):
            return BadBundle(told.removesuffix(f": {own}"), own)
    if not folder.exists():
        return BadBundle(f"there is no {folder}", "name the folder that edgekit pack wrote")
    if folder.is_file():
        return BadBundle(told, "name the folder that edgekit pack wrote")
    if not is_bundle(folder) and (folder / "config.json").is_file():
        return BadBundle(f"{folder} is a model, not a bundle", f"edgekit pack {folder} makes a bundle of it")
    return BadBundle(told, "pack it again, or copy it again from where it came")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle that was verified before."""
    return _checked(json.loads((folder / MANIFEST_NAME).read_bytes()), folder)


def _checked(raw: Any, folder: Path) -> Manifest:
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise BadBundle(f"{folder / MANIFEST_NAME}: {where}: {first['msg']}", "pack it again") from error


def is_bundle(path: Path) -> bool:
    return (path / MANIFEST_NAME).is_file()


def _link_or_copy(source: str, target: str) -> None:
    """Hard links where the file system has them: weights are big, and staged files are never changed in place."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _copy_companions(model: SourceModel, folder: Path) -> None:
    if model.folder is not None and model.format == "hf":
        for name in _COMPANIONS:
            if (source := companion(model.folder, name)) is not None:
                shutil.copyfile(source, folder / name)
        for name, normalise in _NORMALISED.items():
            if (source := companion(model.folder, name)) is not None:
                content = normalise(json.loads(source.read_bytes()))
                if model.quantization is not None:  # the bundle's weights are packed otherwise
                    content = {key: value for key, value in content.items() if key not in SETUP_KEYS}
                (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if model.text is None:
        return
    if model.text.tokenizer_json is not None:
        shutil.copyfile(model.text.tokenizer_json, folder / "tokenizer.json")
    if model.text.chat_template is not None:
        (folder / "chat_template.jinja").write_text(model.text.chat_template, encoding="utf-8")


def _draft(
    folder: Path,
    artifact: Artifact,
    model: SourceModel,
    brought: SourceModel,
    device: DeviceProfile,
    limits: Limits,
    created_utc: str,
    threads: int | None,
) -> Manifest:
    from edgekit.model import source_sha256

    candidate = artifact.candidate
    return Manifest(
        name=brought.name,
        task=model.task,
        kind=model.kind,
        engine=candidate.engine,
        strategy=candidate.label,
        status="failed",
        model_file=artifact.model_file,
        files=_entries(folder, {}),
        inputs=_signatures(artifact.inputs),
        outputs=_signatures(artifact.outputs),
        text=_text(model, artifact),
        image=None if model.image is None else manifest.ImageSpec(**vars(model.image)),
        labels=model.labels,
        problem_type=_problem_type(model),
        embedding=_embedding(model),
        generation=_generation(model, limits, folder / artifact.model_file) if model.task == "causal-lm" else None,
        min_isa=dict(artifact.min_isa),
        memory=manifest.Memory(
            file_bytes=_model_bytes(artifact),
            anonymous_bytes=None,
            kv_bytes=candidate.kv_bytes,
            peak_rss_bytes=None,
            measured_on=None,
        ),
        device=manifest.Device(
            name=device.name, title=device.title, ram_budget_bytes=device.ram_budget_bytes, threads=threads
        ),
        plan=PlanSummary(chosen=candidate.label, tried=(), rejected=()),
        provenance=manifest.Provenance(
            source=manifest.at_home(brought.source),
            revision=brought.revision,
            source_sha256=source_sha256(brought),
            licence=brought.licence,
            tools=_tools(),
            created_utc=created_utc,
            merged=_merged_from(brought),
            trained_on=None if artifact.training is None else artifact.training.origin,
        ),
        limits=_limits(model, limits),
    )


def _limits(model: SourceModel, limits: Limits) -> dict[str, float | int | None]:
    """Those that were held; a context is a language model's alone."""
    has_context = model.task == "causal-lm"
    return {name: value for name, value in vars(limits).items() if has_context or name != "context_tokens"}


def _merged_from(brought: SourceModel) -> manifest.MergedFrom | None:
    from edgekit.model.digest import ingredients

    if brought.merged is None:
        return None
    merged = manifest.MergedFrom.model_validate(ingredients(brought.merged))
    base, *adapters = (
        each.model_copy(update={"source": manifest.at_home(each.source)}) for each in (merged.base, *merged.adapters)
    )
    return merged.model_copy(update={"base": base, "adapters": tuple(adapters)})


def _model_bytes(artifact: Artifact) -> int:
    """The model file and its external data, if any: all that the strategy made."""
    return sum(path.stat().st_size for path in artifact.folder.rglob("*") if path.is_file())


def _signatures(tensors: tuple[TensorSignature, ...]) -> tuple[manifest.Signature, ...]:
    return tuple(manifest.Signature(name=each.name, dtype=each.dtype, shape=each.shape) for each in tensors)


def _text(model: SourceModel, artifact: Artifact) -> manifest.TextSpec | None:
    if model.text is None:
        return None
    own = artifact.candidate.engine == "llama.cpp" and artifact.engine_tokenizes
    tokenizer = None if own else "tokenizer.json"
    return manifest.TextSpec(
        tokenizer=tokenizer, max_tokens=model.text.max_tokens, unicode_form=artifact.unicode_form if own else None
    )


def _problem_type(model: SourceModel) -> Any:
    if model.kind != "classifier" or model.task == "token-classification":
        return None
    multi = model.config.get("problem_type") == "multi_label_classification"
    return "multi_label_classification" if multi else "single_label_classification"


def _embedding(model: SourceModel) -> manifest.EmbeddingSpec | None:
    if model.task != "embedding":
        return None
    width = int(model.config.get("hidden_size") or model.config["dim"])  # as DistilBERT calls it
    return manifest.EmbeddingSpec(pooling=model.pooling or "mean", normalize=model.normalize, width=width)


def _generation(model: SourceModel, limits: Limits, model_file: Path) -> manifest.GenerationSpec:
    eos = model.config.get("eos_token_id")
    if model.folder is not None and (model.folder / "generation_config.json").is_file():
        eos = json.loads((model.folder / "generation_config.json").read_bytes()).get("eos_token_id", eos)
    ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    longest = model.text.max_tokens if model.text is not None else limits.context_tokens
    template = model.text.chat_template if model.text is not None else None
    return manifest.GenerationSpec(
        context_tokens=min(limits.context_tokens, longest),
        eos_token_ids=tuple(ids),
        chat_template=None if template is None else "chat_template.jinja",
        chat_format=None if template is None else _chat_format(template, model_file),
    )


def _chat_format(template: str, model_file: Path) -> manifest.ChatFormat | None:
    """The template's, with the special tokens as the file's own vocabulary spells them."""
    use_python_runtime()
    from edgekit_runtime import LoadFailed, _llama

    try:
        return chat_format(template, *_llama.special_texts(model_file))
    except LoadFailed:  # measuring the bundle says so too, and why
        return None


def _tools() -> dict[str, str]:
    tools = {"edgekit": __version__}
    for name in _TOOLS:
        try:
            tools[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return tools


def _entries(folder: Path, known: Mapping[str, FileEntry]) -> tuple[FileEntry, ...]:
    """Every file but the manifest, in path order; hashes already known are not computed again."""
    entries = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST_NAME:
            entries.append(known.get(name) or FileEntry(path=name, size_bytes=path.stat().st_size, sha256=sha256(path)))
    return tuple(entries)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
