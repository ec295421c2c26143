"""An adapter as a source model: its base is found, and both are merged into a temporary folder that is then opened."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import adapters
from edgekit.adapters.pieces import FLOATS, Combination
from edgekit.checkpoint import open_checkpoint, safetensors_header
from edgekit.checkpoint.safetensors import safetensors_files
from edgekit.errors import BadAdapter, HubUnreachable, ModelNotFound
from edgekit.model.companions import companion
from edgekit.model.config import read_json
from edgekit.model.heads import Head, exchanged_head
from edgekit.model.pooling import read_sentence_setup
from edgekit.model.scratch import Scratch
from edgekit.model.source import AdapterPart, Merged, SourceModel
from edgekit.model.tokenizer import TOKENIZER_FILES
from edgekit.progress import Progress

CONFIG = "adapter_config.json"
_WITH_THE_ADAPTER = ("README.md", CONFIG, "adapter_model.safetensors", "adapter_model.bin")
READERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json")
"""With one of these an adapter has a tokenizer of its own."""
_BESIDE_THE_MODEL = ("README.md", "preprocessor_config.json", "generation_config.json")
_FOUR_BIT = re.compile(
    r"(-(unsloth|bnb|4bit|8bit|gptq|awq|int4|int8|fp8|w4a16|autoround|quantized[^/]*))+$", re.IGNORECASE
)

OpenBase = Callable[[str, str | None], SourceModel]


@dataclass(frozen=True)
class Recipe:
    """What is to be merged: `base` as the user named it, None where the first adapter says it."""

    parts: tuple[AdapterPart, ...]
    base: str | None = None
    combination: Combination = "cat"
    allow_pickle: bool = False


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def adapter_part(folder: Path, source: str, revision: str | None, weight: float) -> AdapterPart:
    names = {Path(name) for name in (*_WITH_THE_ADAPTER, *TOKENIZER_FILES) if (folder / name).is_file()}
    return AdapterPart(source, folder, tuple(sorted({*names, *_sentence_files(folder)})), revision, weight)


def _sentence_files(folder: Path) -> tuple[Path, ...]:
    """What says how an adapter of an encoder is pooled, where sentence-transformers saved it."""
    setup = read_sentence_setup(folder)
    return setup.files if setup is not None and setup.encoder.resolve() == folder.resolve() else ()


def open_merged(
    recipe: Recipe,
    open_base: OpenBase,
    open_folder: Callable[[Path], SourceModel],
    progress: Progress,
    *,
    weights: bool,
) -> SourceModel:
    """The merged model, in a temporary folder that lives as long as the value returned and its copies.

    Without `weights` its weight files are of the right size and hold zeros, which take no room: to plan by.
    BadAdapter where the base is not found, is quantized, or is another architecture's.
    """
    with _prepared(recipe, open_base) as prepared:
        scratch = Scratch(adapters.writing.total_bytes(prepared.layout) if weights else 0)
        try:
            prepared.write(scratch.folder, progress, weights=weights)
            model = open_folder(scratch.folder)
        except BaseException:
            scratch.remove()
            raise
    merged = Merged(prepared.base, recipe.parts, recipe.combination, scratch)
    return replace(model, merged=merged, evidence=(*model.evidence, *prepared.told()))


def write_merged(
    recipe: Recipe, open_base: OpenBase, folder: Path, progress: Progress
) -> tuple[Merged, tuple[str, ...]]:
    """The merged model's files in `folder`, with what was done, in words."""
    with _prepared(recipe, open_base) as prepared:
        prepared.write(folder, progress, weights=True)
        return Merged(prepared.base, recipe.parts, recipe.combination, None), prepared.told()


def merged_bytes(recipe: Recipe, open_base: OpenBase) -> int:
    """How large the merged weights will be."""
    with _prepared(recipe, open_base) as prepared:
        return adapters.writing.total_bytes(prepared.layout)


@dataclass(frozen=True)
class _Prepared:
    recipe: Recipe
    base: SourceModel
    layout: adapters.Layout
    head: Head | None

    def told(self) -> tuple[str, ...]:
        """Evidence lines."""
        names = ", ".join(
            f"{each.source}{f' x {each.weight:g}' if each.weight != 1 else ''}" for each in self.recipe.parts
        )
        changed = f"{self.layout.changed} tensor{'s' if self.layout.changed != 1 else ''} changed"
        lines = [f"merged: adapter {names} into {self.base.source}, {changed}"]
        if self.layout.unties:
            lines.append("the output is no longer tied to the input embedding: the adapter changes only one of them")
        if self.layout.vocabulary is not None:
            lines.append(f"{self.layout.vocabulary} rows of vocabulary, as the adapter has them")
        if self.head is not None:
            lines.append(f"{self.head.architecture} with {self.head.labels} labels, which an adapter does not name")
        grid = self.base.quantization
        if grid is not None and grid.lossless:
            lines.append(
                f"the base's weights lie on the grid of {grid.lossless}, the merged ones no longer: QAT is undone"
            )
        return (*lines, *self.layout.notes)

    def write(self, folder: Path, progress: Progress, *, weights: bool) -> None:
        assert self.base.folder is not None
        own, base = self.recipe.parts[0].folder, self.base.folder
        reader = own if any((own / name).is_file() for name in READERS) else base
        code = [path.name for path in base.glob("*.py")] if self.base.trust_remote_code else []
        licences = [path.name for path in base.glob("LICEN[SC]E*")]
        kept = [each.as_posix() for each in self.base.files if not _is_weights(each)]
        for name in {*kept, *_BESIDE_THE_MODEL, *licences, *code} - {*TOKENIZER_FILES, "config.json"}:
            _copy(base, name, folder)
        for name in TOKENIZER_FILES:
            _copy(reader, name, folder)
        for relative in (Path("chat_template.jinja"), *_sentence_files(own)):
            _copy(own, relative.as_posix(), folder)
        (folder / "config.json").write_text(json.dumps(self._config(), indent=2) + "\n", encoding="utf-8")
        if weights:
            adapters.write_weights(self.layout, folder, progress)
        else:
            adapters.sparse_weights(self.layout, folder)

    def _config(self) -> dict[str, Any]:
        assert self.base.folder is not None
        stored = read_json(self.base.folder / "config.json")
        config = {key: value for key, value in stored.items() if "qat" not in key.lower()}  # undone by the merge
        if self.layout.unties:
            config["tie_word_embeddings"] = False
        if self.layout.vocabulary is not None:
            config["vocab_size"] = self.layout.vocabulary
        if self.head is not None:
            names = {str(index): f"LABEL_{index}" for index in range(self.head.labels)}
            config |= {"architectures": [self.head.architecture], "id2label": names}
            config["label2id"] = {name: int(index) for index, name in names.items()}
        return config


@contextmanager
def _prepared(recipe: Recipe, open_base: OpenBase) -> Iterator[_Prepared]:
    """Everything opened, checked and laid out; nothing written."""
    configs = [_config_of(part) for part in recipe.parts]
    base = _found_base(recipe, configs, open_base)
    _check_base(base)
    assert base.folder is not None
    with ExitStack() as opened:
        given = [
            adapters.Weighted(
                opened.enter_context(adapters.Adapter.open(part.folder, config, allow_pickle=recipe.allow_pickle)),
                part.weight,
            )
            for part, config in zip(recipe.parts, configs, strict=True)
        ]
        head = exchanged_head(base, given)
        store = opened.enter_context(open_checkpoint(base))
        told = adapters.Base(
            path=base.source,
            folder=base.folder,
            store=store,
            shards=_shards(base),
            config=base.config,
            decodes=base.task == "causal-lm" and head is None,
            **({"keeps": head.keeps} if head is not None else {}),
        )
        layout = adapters.laid_out(told, given, recipe.combination)
        if head is not None:
            head.check(base, layout)
        others = tuple(
            f"{part.source} names another base, {config.base}: what it learnt may not hold on this one"
            for part, config in zip(recipe.parts, configs, strict=True)
            if config.base not in (None, configs[0].base)
        )
        yield _Prepared(recipe, base, replace(layout, notes=(*layout.notes, *others)), head)


def _config_of(part: AdapterPart) -> adapters.AdapterConfig:
    path = part.folder / CONFIG
    if not path.is_file():
        raise BadAdapter(f"{part.source} has no {CONFIG}", "name the folder that save_pretrained() wrote")
    return adapters.AdapterConfig.parse(read_json(path), part.source)


def _found_base(recipe: Recipe, configs: Sequence[adapters.AdapterConfig], open_base: OpenBase) -> SourceModel:
    first, config = recipe.parts[0], configs[0]
    if recipe.base is not None:
        named, revision = recipe.base, config.revision if recipe.base == config.base else None
    elif config.base is not None:
        near = first.folder / config.base
        named, revision = config.base, config.revision
        if not Path(named).exists() and near.is_dir():
            named = str(near)
    else:
        raise BadAdapter(f"{first.source} does not say what its base is", "give it with --base")
    if Path(named).exists():
        revision = None
    if Path(named).is_dir() and is_adapter(Path(named)):
        raise BadAdapter(f"{named}, the base of {first.source}, is an adapter itself", "edgekit merge it first")
    try:
        return open_base(named, revision)
    except (ModelNotFound, HubUnreachable) as error:
        raise BadAdapter(
            f"the base of {first.source} is not found: {error.message}",
            "give it with --base FOLDER, a folder or a hub id",
        ) from error


def _check_base(base: SourceModel) -> None:
    if base.format != "hf" or base.folder is None:
        raise BadAdapter(
            f"{base.source} is a model of format {base.format}: adapters are merged into a Hugging Face folder",
            "give the full-precision base with --base",
        )
    if base.quantized is not None:
        plain = unquantized_name(base)
        raise BadAdapter(
            f"{base.source} is quantized ({base.quantized}): merging into it would round the adapter away",
            f"give the full-precision base with --base{f' {plain}' if plain else ''}",
        )
    if any(part == ".." for relative in base.files for part in relative.parts):
        raise BadAdapter(
            f"{base.source} keeps its encoder in a folder of its own",
            "save it again with sentence-transformers 3 or newer",
        )


def unquantized_name(base: SourceModel) -> str:
    """What a quantized base was made from, by its card, its configuration or its name; "" where nothing says it."""
    assert base.folder is not None
    card = base.folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            head = file.read(8192)
        front = re.match(r"---\s*\n(.*?)\n---", head, re.DOTALL)
        named = front and re.search(r"^base_model:[ \t]*(?:\n[ \t]*-[ \t]*)?[\"']?([\w./-]+)", front[1], re.MULTILINE)
        if named:
            return named[1]
    made_from = base.config.get("_name_or_path")
    if isinstance(made_from, str) and made_from and made_from != base.source and not _FOUR_BIT.search(made_from):
        return made_from
    plain = _FOUR_BIT.sub("", base.source)
    return plain if plain != base.source and "/" in plain and not Path(base.source).exists() else ""


def _shards(base: SourceModel) -> list[tuple[str, list[Any]]]:
    """The weight files with their tensors; of pickles one file, without what is no float."""
    assert base.folder is not None
    files = safetensors_files(base.folder)
    if files:
        return [(path.name, list(safetensors_header(path))) for path in files]
    return [("model.safetensors", [info for info in base.tensors if info.dtype in FLOATS])]


def _is_weights(path: Path) -> bool:
    return path.suffix in (".safetensors", ".bin") or path.name.endswith(".index.json")


def _copy(own: Path, name: str, folder: Path) -> None:
    """The file, if there is one; never one outside of the model by a link."""
    source = companion(own, name)
    if source is not None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
