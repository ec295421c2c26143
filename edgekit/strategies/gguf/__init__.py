"""The gguf strategy: decoders and BERT-type encoders for llama.cpp, in one pass from checkpoint to blocks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.costs import Estimate, Setting
from edgekit.device import DeviceProfile
from edgekit.errors import BadInput, BadModel, NoSpace
from edgekit.model import SourceModel
from edgekit.progress import Progress, Silent
from edgekit.strategies import Artifact, Candidate, Rejection
from edgekit.strategies.gguf import estimate
from edgekit.strategies.gguf.architecture import Layout, lay_out
from edgekit.strategies.gguf.presets import OFFERED, PRESETS, Preset, TypeChoice, choose
from edgekit.strategies.gguf.rope import Metadata

AS_IS = "as-is"
_TASKS = ("causal-lm", "embedding")
# What llama-cpp-python's own build needs at least; aarch64 builds run anywhere.
_MIN_ISA: dict[str, tuple[str, ...]] = {"x86_64": ("avx2",), "aarch64": ()}


def propose(model: SourceModel, setting: Setting) -> Iterator[Candidate | Rejection]:
    """One candidate for each preset, the most faithful first; or the one reason why there is none."""
    if model.task not in _TASKS:
        yield Rejection("gguf", f"llama.cpp does not run {model.task} models", remedy="use an ONNX strategy")
    elif model.format == "gguf":
        yield _as_is(model, setting)
    elif model.format != "hf":
        yield Rejection("gguf", f"a model of format {model.format} cannot be written as GGUF")
    else:
        try:
            layout = lay_out(model)
            vocabulary_bytes = estimate.metadata_bytes(_expected_vocabulary(model, layout))
        except BadInput as error:
            yield Rejection("gguf", error.message, remedy=error.remedy, estimated=False)
            return
        for name in OFFERED:
            yield _candidate(model, layout, PRESETS[name], vocabulary_bytes, setting)


def make(
    candidate: Candidate, model: SourceModel, device: DeviceProfile, workdir: Path, progress: Progress
) -> Artifact:
    """`model-<preset>.gguf` in a new folder; for a GGUF source its own file under its own name."""
    _ = device  # one file serves every device: the engine picks its kernels when it loads
    _require_space(workdir, candidate.disk_bytes)
    folder = Path(tempfile.mkdtemp(prefix="gguf-", dir=workdir))
    preset = candidate.options["preset"]
    if preset == AS_IS:
        if model.file is None:
            raise BadModel(f"{model.source}: no GGUF file to take as it is")
        progress.step(f"copy {model.file.name}")
        shutil.copyfile(model.file, folder / model.file.name)
        return Artifact(candidate, folder, model.file.name, min_isa=_MIN_ISA)
    name = f"model-{preset}.gguf"
    written = write_gguf(model, folder / name, preset, progress)
    return Artifact(
        candidate,
        folder,
        name,
        min_isa=_MIN_ISA,
        notes=written.notes,
        engine_tokenizes=written.engine_tokenizes,
        unicode_form="NFC" if written.composes else None,
    )


@dataclass(frozen=True)
class Written:
    """What a user should know of a file written, and what its runtime must: see Artifact."""

    notes: tuple[str, ...]
    engine_tokenizes: bool
    composes: bool


def write_gguf(
    model: SourceModel,
    path: Path,
    preset: str = "F16",
    progress: Progress | None = None,
    choice: TypeChoice | None = None,
) -> Written:
    """Write `model` as GGUF.

    `preset` is one of PRESETS ("F32" and "BF16" beside those offered). `choice` replaces the preset's tensor types.
    The tokenizer is proven first: BadTokenizer comes before any weight is read. Needs gguf and llama-cpp-python.
    """
    from edgekit.checkpoint import open_checkpoint
    from edgekit.strategies.gguf.parity import prove
    from edgekit.strategies.gguf.vocabulary import read_source
    from edgekit.strategies.gguf.writer import write_tensors

    progress = progress or Silent()
    layout = lay_out(model)
    progress.step("compare the tokenizers")
    with tempfile.TemporaryDirectory(prefix=".vocabulary-", dir=path.parent) as scratch:
        proven = prove(read_source(model, layout.shape.vocabulary), layout.metadata, Path(scratch))
    choice = choice or choice_of(layout, PRESETS[preset])
    metadata = _metadata(layout, PRESETS[preset]) | proven.vocabulary.metadata
    progress.step(f"write {path.name}", estimate.data_bytes(layout.targets, choice))
    with open_checkpoint(model) as checkpoint:
        write_tensors(path, metadata, layout.targets, choice, checkpoint, progress)
    return Written((*layout.notes, *proven.notes), proven.exact, proven.composes)


def choice_of(layout: Layout, preset: Preset) -> TypeChoice:
    shape = layout.shape
    return choose(preset, layout.targets, layout.family.arch, shape.layers, shape.grouped_query)


def _metadata(layout: Layout, preset: Preset) -> Metadata:
    return layout.metadata | {"general.quantization_version": 2, "general.file_type": preset.file_type}


def _expected_vocabulary(model: SourceModel, layout: Layout) -> Metadata:
    """The likeliest vocabulary, unproven: what counts here is its size, and that there is one."""
    from edgekit.strategies.gguf.vocabulary import read_source, vocabularies

    source = read_source(model, layout.shape.vocabulary)
    return next(vocabularies(source, (), ())).metadata


def _candidate(
    model: SourceModel,
    layout: Layout,
    preset: Preset,
    vocabulary_bytes: int,
    setting: Setting,
) -> Candidate:
    device, context_tokens = setting.device, setting.context_tokens
    choice, shape = choice_of(layout, preset), layout.shape
    data = estimate.data_bytes(layout.targets, choice)
    header = estimate.metadata_bytes(_metadata(layout, preset)) + vocabulary_bytes
    disk = data + estimate.header_bytes(header, layout.targets)
    decodes = model.task == "causal-lm"
    kv_bytes = shape.kv_bytes_per_token * min(context_tokens, shape.context) if decodes else 0
    # An untied embedding is looked up by row, not read whole.
    tied = all(target.name != "output.weight" for target in layout.targets)
    read = (
        data
        if tied
        else data - estimate.data_bytes((t for t in layout.targets if t.name == "token_embd.weight"), choice)
    )
    repacked = estimate.repacked_bytes(layout.targets, choice, device)
    return Candidate(
        strategy="gguf",
        engine="llama.cpp",
        options={"preset": preset.name},
        faithfulness=preset.faithfulness,
        disk_bytes=Estimate(disk - 256, disk + 256, "tensor shapes and types, and the vocabulary"),
        ram_bytes=estimate.ram_bytes(disk, kv_bytes, repacked, shape.width, shape.vocabulary),
        kv_bytes=kv_bytes,
        tokens_per_s=estimate.tokens_per_s(read, device) if decodes else None,
        notes=layout.notes,
        min_isa=_MIN_ISA,
    )


def _as_is(model: SourceModel, setting: Setting) -> Candidate | Rejection:
    device, context_tokens = setting.device, setting.context_tokens
    if model.file is None:
        return Rejection("gguf", f"{model.source}: no GGUF file")
    size = model.file.stat().st_size
    embedding = next((tensor for tensor in model.tensors if tensor.name == "token_embd.weight"), None)
    if embedding is None or len(embedding.shape) != 2:
        return Rejection("gguf", f"{model.file.name} has no token embedding", estimated=False)
    vocabulary, width = embedding.shape
    decodes = model.task == "causal-lm"
    context = min(context_tokens, model.text.max_tokens) if model.text else context_tokens
    kv_bytes = estimate.stored_kv_bytes_per_token(model.tensors, width) * context if decodes else 0
    bits = 8 * size / max(model.parameters, 1)
    return Candidate(
        strategy="gguf",
        engine="llama.cpp",
        options={"preset": AS_IS},
        faithfulness=min(bits, 32.0),
        disk_bytes=Estimate(size, size, "the file as it is"),
        ram_bytes=estimate.ram_bytes(size, kv_bytes, size, width, vocabulary),
        kv_bytes=kv_bytes,
        tokens_per_s=estimate.tokens_per_s(size, device) if decodes else None,
        notes=("bundled as it is: there is no unquantized original to compare it with",) if model.quantized else (),
        min_isa=_MIN_ISA,
    )


def _require_space(folder: Path, needed: Estimate) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed.low:
        raise NoSpace(
            f"{folder}: {free / 2**20:.2f} MiB free, the file needs {needed.low / 2**20:.2f} MiB",
            "free some space or choose a smaller preset",
        )
