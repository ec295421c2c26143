"""An adapter's stored tensors, told apart by their names as PEFT writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgekit.adapters.config import AdapterConfig
from edgekit.checkpoint import SafetensorsCheckpoint
from edgekit.checkpoint.tensor import TensorInfo
from edgekit.errors import BadAdapter, BadModel

if TYPE_CHECKING:
    from edgekit.checkpoint import Checkpoint

_SAFE, _PICKLE = "adapter_model.safetensors", "adapter_model.bin"
_MAX_NAME = 256
_PREFIX = "base_model.model."
# `default` is the adapter's name in memory, which older trainers left in the file.
_PRODUCT = re.compile(r"(.+)\.lora_(A|B)(?:\.default)?\.(weight|bias)$")
_EMBEDDING = re.compile(r"(.+)\.lora_embedding_(A|B)(?:\.default)?$")
_MAGNITUDE = re.compile(r"(.+)\.lora_magnitude_vector(?:\.default)?(?:\.weight)?$")
_TOKENS = re.compile(r"(.+)\.token_adapter\.trainable_tokens_delta(?:\.default)?$")
_UNKNOWN = re.compile(r"\.(lora_|ia3_|vera_|token_adapter|prompt_|hada_|oft_)")
_WRAPPER = re.compile(r"\.(modules_to_save(\.default)?|base_layer)(?=\.)")


@dataclass
class Parts:
    """The names of the tensors that change one module's weight [outputs, inputs]: A [rank, inputs], B [outputs, rank],
    of LoRA with a bias also that of B [outputs], of DoRA the magnitudes [outputs].
    """

    a: str = ""
    b: str = ""
    bias: str = ""
    magnitude: str = ""
    embedding: bool = False


@dataclass(frozen=True)
class Adapter:
    """An opened adapter. `products` are by module; `saved`, whole tensors that replace the base's, by their name in the
    model; `tokens`, rows of an embedding, by module. The values are names in `store`. Close it, or use it in `with`.
    """

    where: str
    config: AdapterConfig
    store: Checkpoint
    products: Mapping[str, Parts] = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, config: AdapterConfig, *, allow_pickle: bool) -> Adapter:
        """BadAdapter where there are no weights, only pickled ones without permission, or ones of another method."""
        path = adapter_file(folder, allow_pickle)
        try:
            store = _opened(path)
        except BadModel as error:
            raise BadAdapter(f"{folder}: {error.message}", error.remedy) from error
        products, saved, tokens = _told_apart(store.tensors, str(folder))
        _check_products(products, config, store.tensors, str(folder))
        return cls(str(folder), config, store, products, saved, tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.close()


def adapter_file(folder: Path, allow_pickle: bool) -> Path:
    """The adapter's weights: safetensors, or a pickle where there is nothing else and it is allowed."""
    if (folder / _SAFE).is_file():
        return folder / _SAFE
    if not (folder / _PICKLE).is_file():
        remedy = "save it with save_pretrained(); if the folder holds a whole model, remove adapter_config.json"
        raise BadAdapter(f"{folder} has an adapter_config.json and no {_SAFE}", remedy)
    if not allow_pickle:
        raise BadAdapter(
            f"{folder} has its weights as a pickle only ({_PICKLE}), which can run code when it is loaded",
            "pass --allow-pickle to load it weights-only, or save the adapter as safetensors",
        )
    return folder / _PICKLE


def _opened(path: Path) -> Checkpoint:
    if path.name == _SAFE:
        return SafetensorsCheckpoint((path,))
    from edgekit.checkpoint.pytorch import PickleCheckpoint

    return PickleCheckpoint((path,))


def _told_apart(
    tensors: Mapping[str, TensorInfo], where: str
) -> tuple[dict[str, Parts], dict[str, str], dict[str, str]]:
    """(products by module, saved tensors by name, trained rows by module)."""
    products: dict[str, Parts] = {}
    saved: dict[str, str] = {}
    tokens: dict[str, str] = {}
    for key in tensors:
        name = key.removeprefix(_PREFIX)
        if len(name) > _MAX_NAME:
            raise BadAdapter(f"{where}: a tensor's name has {len(name)} characters, the limit is {_MAX_NAME}")
        if ".original_module." in name:  # the base's own values, which old versions of PEFT stored too
            continue
        if match := _PRODUCT.fullmatch(name):
            parts, role = products.setdefault(match[1], Parts()), match[2].lower()
            attribute = role if match[3] == "weight" else "bias"
            if match[3] == "bias" and role == "a":
                raise BadAdapter(f"{where}: tensor {key!r} is unknown to LoRA")
        elif match := _EMBEDDING.fullmatch(name):
            parts, attribute = products.setdefault(match[1], Parts()), match[2].lower()
            parts.embedding = True
        elif match := _MAGNITUDE.fullmatch(name):
            parts, attribute = products.setdefault(match[1], Parts()), "magnitude"
        elif match := _TOKENS.fullmatch(name):
            tokens[match[1]] = key
            continue
        elif _UNKNOWN.search(name):
            raise BadAdapter(f"{where}: tensor {key!r} is unknown to LoRA", "it was saved by another method")
        else:
            plain = _WRAPPER.sub("", name)
            if plain == name or plain not in saved:  # of a grown embedding PEFT stores its wrapper's copy too
                saved[plain] = key
            continue
        if getattr(parts, attribute):
            raise BadAdapter(f"{where}: {match[1]} has two tensors for {attribute}: {key!r} is one")
        setattr(parts, attribute, key)
    if not products and not saved and not tokens:
        raise BadAdapter(f"{where}: its weights hold no tensor", "save the adapter again")
    return products, saved, tokens


def _check_products(
    products: Mapping[str, Parts], config: AdapterConfig, tensors: Mapping[str, TensorInfo], where: str
) -> None:
    """Each product is whole, of the configured rank, and of matching shapes."""
    for module, parts in products.items():
        if not parts.a or not parts.b:
            raise BadAdapter(f"{where}: {module} has only one half of its product", "save the adapter again")
        a, b = tensors[parts.a].shape, tensors[parts.b].shape
        rank = config.rank_of(module)
        if len(a) < 2 or len(b) < 2 or a[0] != b[1] or a[0] != rank:
            raise BadAdapter(
                f"{where}: {module} has A {list(a)} and B {list(b)}, rank {rank} is configured",
                "the weights and adapter_config.json do not belong together",
            )
        if config.dora != bool(parts.magnitude):
            has = "magnitudes" if parts.magnitude else "no magnitudes"
            raise BadAdapter(f"{where}: {module} has {has}, use_dora is {config.dora}")
        for name in (parts.bias, parts.magnitude):
            elements = tensors[name].elements if name else b[0]
            if elements != b[0]:
                raise BadAdapter(f"{where}: {name} has {elements} values, {b[0]} are expected")
