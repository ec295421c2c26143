"""What the gguf strategy offers for a model: each file it could write, weighed once, and its costs on a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from edgekit.costs import Estimate, Setting
from edgekit.model import SourceModel, TensorInfo
from edgekit.strategies import Candidate, Rejection, priced
from edgekit.strategies.gguf import repack
from edgekit.strategies.gguf.architecture import Layout, lay_out
from edgekit.strategies.gguf.estimate import Attention, Load, work
from edgekit.strategies.gguf.file_size import header_bytes, metadata_bytes
from edgekit.strategies.gguf.presets import Preset, TypeChoice, choose, is_quantizable, offered
from edgekit.strategies.gguf.rope import Metadata
from edgekit.strategies.gguf.targets import Target
from edgekit.strategies.gguf.vocabulary_size import VocabularySize, measure_vocabulary
from edgekit.strategies.gguf.weights import EMBEDDING, Weights, weigh

AS_IS = "as-is"
# What llama-cpp-python's own build needs at least; aarch64 builds run anywhere.
MIN_ISA: Mapping[str, tuple[str, ...]] = {"x86_64": ("avx2",), "aarch64": ()}
_SUPER_BLOCK = 256
# Special ids are only known once the tokenizer is proven.
_UNPROVEN_BYTES = 256


@dataclass(frozen=True)
class File:
    """A file as it would stand in a bundle, on any device."""

    options: Mapping[str, str]
    faithfulness: float
    disk_bytes: Estimate
    load: Load
    notes: tuple[str, ...]


def candidate(file: File, setting: Setting) -> Candidate:
    """The file with its costs in `setting`."""
    repacked = repack.note(file.load.weights, setting.device)
    offered = Candidate(
        strategy="gguf",
        engine="llama.cpp",
        options=file.options,
        faithfulness=file.faithfulness,
        disk_bytes=file.disk_bytes,
        ram_bytes=file.disk_bytes,
        notes=file.notes if repacked is None else (*file.notes, repacked),
        min_isa=MIN_ISA,
    )
    return priced(offered, work(file.load, setting), setting)


class _Same:
    """A model as a key of the cache: equal to itself alone. The cache keeps it alive, so that its id stays its own."""

    def __init__(self, model: SourceModel) -> None:
        self.model = model

    def __hash__(self) -> int:
        return id(self.model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.model is self.model


def planned_files(model: SourceModel) -> tuple[File, ...]:
    """One file for each preset, the most faithful first; BadInput, saying why, where there can be none."""
    tokenizer = None if model.text is None else model.text.tokenizer_json
    status = tokenizer.stat() if tokenizer is not None and tokenizer.is_file() else None
    return _planned_files(_Same(model), None if status is None else (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=2)
def _planned_files(key: _Same, _tokenizer: tuple[int, int] | None) -> tuple[File, ...]:
    model = key.model
    layout = lay_out(model)
    vocabulary = measure_vocabulary(model, layout.shape.vocabulary)
    widened = _widened(layout)
    return tuple(_planned_file(model, layout, preset, vocabulary, widened) for preset in offered(layout.targets))


def _planned_file(
    model: SourceModel, layout: Layout, preset: Preset, vocabulary: VocabularySize, widened: Mapping[str, Target]
) -> File:
    choice = choice_of(layout, preset)
    decodes = model.task == "causal-lm"
    tensors = [TensorInfo(target.name, choice(target), target.shape) for target in layout.targets]
    weights = weigh(tensors, decodes)
    metadata = metadata_bytes(file_metadata(layout, preset)) + vocabulary.gguf_bytes
    disk = weights.data_bytes + header_bytes(metadata, layout.targets)
    off = _UNPROVEN_BYTES + vocabulary.uncertain_bytes
    return File(
        options=preset.options,
        faithfulness=preset.faithfulness,
        disk_bytes=Estimate(disk - off, disk + off, "tensor shapes and types, and the vocabulary"),
        load=Load(weights, vocabulary, _attention(layout, decodes), _longest(model, layout)),
        notes=(*layout.notes, *_carried_notes(model, preset), *_fallback_notes(tensors, choice, widened)),
    )


def _longest(model: SourceModel, layout: Layout) -> int:
    """What the bundle's context is made for: sentence encoders are often cut shorter than their positions reach."""
    positions = layout.shape.context
    return positions if model.text is None else min(positions, model.text.max_tokens)


def _attention(layout: Layout, decodes: bool) -> Attention:
    """With the layers that slide, by the file's own metadata."""
    arch, pattern = layout.family.arch, layout.family.sliding_pattern
    window = layout.metadata.get(f"{arch}.attention.sliding_window")
    if window is None or pattern is None:
        return Attention(decodes)
    slides = layout.metadata.get(f"{arch}.attention.sliding_window_pattern")
    if slides is None:
        slides = [(layer + 1) % pattern != 0 for layer in range(layout.shape.layers)]
    return Attention(decodes, sum(slides), window)


def _carried_notes(model: SourceModel, preset: Preset) -> Iterator[str]:
    """What is carried, and what becomes of the weights that the source did not quantize."""
    stored = model.quantization
    if preset.rest is None or stored is None:
        return
    group = "a scale a row" if stored.group_size is None else f"group {stored.group_size}"
    method = f"{stored.method} {stored.bits:g}-bit" if model.quantized else f"{stored.bits:g}-bit {stored.method}"
    yield f"carried from {method}, {group}: no second loss; what the source did not quantize becomes {preset.rest}"


def _widened(layout: Layout) -> Mapping[str, Target]:
    """The matrices whose rows no block of 256 fits, by name, as they were if one did."""
    return {
        target.name: replace(target, shape=(*target.shape[:-1], _SUPER_BLOCK))
        for target in layout.targets
        if target.columns % _SUPER_BLOCK and is_quantizable(target)
    }


def _fallback_notes(tensors: Iterable[TensorInfo], choice: TypeChoice, widened: Mapping[str, Target]) -> Iterator[str]:
    """What became of the types whose blocks do not fit the rows, and of how much of the matrices."""
    became: Counter[tuple[str, str]] = Counter()
    total = 0
    for tensor in tensors:
        total += tensor.elements if len(tensor.shape) > 1 else 0
        wanted = choice(widened[tensor.name]) if tensor.name in widened else tensor.dtype
        if wanted != tensor.dtype:
            became[wanted, tensor.dtype] += tensor.elements
    if became:
        told = ", ".join(f"{wanted} became {found}" for wanted, found in became)
        share = sum(became.values()) / total
        yield f"{share:.0%} of the weights lie in rows that are no multiple of {_SUPER_BLOCK}: {told}"


def choice_of(layout: Layout, preset: Preset) -> TypeChoice:
    shape = layout.shape
    return choose(preset, layout.targets, layout.family.arch, shape.layers, shape.grouped_query)


def file_metadata(layout: Layout, preset: Preset) -> Metadata:
    """All but the vocabulary's."""
    return layout.metadata | {"general.quantization_version": 2, "general.file_type": preset.file_type}


def as_is(model: SourceModel, setting: Setting) -> Candidate | Rejection:
    """A GGUF file that is bundled as it is."""
    if model.file is None:
        return Rejection("gguf", f"{model.source}: no GGUF file")
    embedding = next((tensor for tensor in model.tensors if tensor.name == EMBEDDING), None)
    if embedding is None or len(embedding.shape) != 2:
        return Rejection("gguf", f"{model.file.name} has no token embedding", estimated=False)
    weights = _weighed(_Same(model))
    size = model.file.stat().st_size
    context = model.text.max_tokens if model.text else setting.context_tokens
    told = ("bundled as it is: there is no unquantized original to compare it with",) if model.quantized else ()
    file = File(
        options={"preset": AS_IS},
        faithfulness=min(8 * size / max(model.parameters, 1), 32.0),
        disk_bytes=Estimate(size, size, "the file as it is"),
        load=Load(weights, _stored_vocabulary(weights, size), Attention(model.task == "causal-lm"), context),
        notes=told,
    )
    return candidate(file, setting)


@lru_cache(maxsize=2)
def _weighed(key: _Same) -> Weights:
    return weigh(key.model.tensors, key.model.task == "causal-lm")


# A file's header holds a text and a type for each token; where it has this much for each, it holds merges as well.
_BYTES_WITH_MERGES = 30


def _stored_vocabulary(weights: Weights, file_bytes: int) -> VocabularySize:
    """Of a file that is there: as many tokens as the embedding has rows, and as many merges if the header has room."""
    header = max(file_bytes - weights.data_bytes, 0)
    merges = weights.vocabulary if header > _BYTES_WITH_MERGES * weights.vocabulary else 0
    return VocabularySize(weights.vocabulary, merges, 0, header, 0, needs_tokenizer_json=False)
