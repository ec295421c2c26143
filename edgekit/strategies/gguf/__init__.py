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
from edgekit.strategies.gguf import offers
from edgekit.strategies.gguf.architecture import lay_out
from edgekit.strategies.gguf.file_size import data_bytes
from edgekit.strategies.gguf.offers import AS_IS, MIN_ISA, choice_of, file_metadata
from edgekit.strategies.gguf.presets import OFFERED, PRESETS, Preset, TypeChoice, preset_of

__all__ = ["AS_IS", "OFFERED", "PRESETS", "Written", "choice_of", "make", "propose", "write_gguf"]

_TASKS = ("causal-lm", "embedding")


def propose(model: SourceModel, setting: Setting) -> Iterator[Candidate | Rejection]:
    """One candidate for each preset, the most faithful first; or the one reason why there is none."""
    if model.task not in _TASKS:
        yield Rejection("gguf", f"llama.cpp does not run {model.task} models", remedy="use an ONNX strategy")
    elif model.format == "gguf":
        yield offers.as_is(model, setting)
    elif model.format != "hf":
        yield Rejection("gguf", f"a model of format {model.format} cannot be written as GGUF")
    else:
        try:
            files = offers.planned_files(model)
        except BadInput as error:
            yield Rejection("gguf", error.message, remedy=error.remedy, estimated=False)
            return
        for file in files:
            yield offers.candidate(file, setting)


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
        return Artifact(candidate, folder, model.file.name, min_isa=MIN_ISA)
    name = f"model-{preset}.gguf"
    written = write_gguf(model, folder / name, preset_of(candidate.options, lay_out(model).targets), progress)
    return Artifact(
        candidate,
        folder,
        name,
        min_isa=MIN_ISA,
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
    preset: str | Preset = "F16",
    progress: Progress | None = None,
    choice: TypeChoice | None = None,
) -> Written:
    """Write `model` as GGUF.

    `preset` is one of PRESETS by name ("F32" and "BF16" beside those offered), or one that carries. `choice` replaces
    the preset's tensor types.
    The tokenizer is proven first: BadTokenizer comes before any weight is read. Needs gguf and llama-cpp-python.
    """
    from edgekit.checkpoint import open_checkpoint
    from edgekit.strategies.gguf.lattice import Tally
    from edgekit.strategies.gguf.parity import prove
    from edgekit.strategies.gguf.vocabulary import read_source
    from edgekit.strategies.gguf.writer import write_tensors

    progress = progress or Silent()
    layout = lay_out(model)
    progress.step("compare the tokenizers")
    with tempfile.TemporaryDirectory(prefix=".vocabulary-", dir=path.parent) as scratch:
        proven = prove(read_source(model, layout.shape.vocabulary), layout.metadata, Path(scratch))
    preset = PRESETS[preset] if isinstance(preset, str) else preset
    choice = choice or choice_of(layout, preset)
    tally = Tally()
    metadata = file_metadata(layout, preset) | proven.vocabulary.metadata
    progress.step(f"write {path.name}", data_bytes(layout.targets, choice))
    with open_checkpoint(model) as checkpoint:
        write_tensors(path, metadata, layout.targets, choice, checkpoint, progress, tally=tally)
    carried = (tally.told(),) if tally.blocks else ()
    return Written((*layout.notes, *carried, *proven.notes), proven.exact, proven.composes)


def _require_space(folder: Path, needed: Estimate) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed.low:
        raise NoSpace(
            f"{folder}: {free / 2**20:.2f} MiB free, the file needs {needed.low / 2**20:.2f} MiB",
            "free some space or choose a smaller preset",
        )
