"""An adapter with another head than its base's: a classifier trained on a language model's checkpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.adapters import Layout, Weighted
from edgekit.errors import BadAdapter, MissingEngine
from edgekit.model.source import SourceModel, Task

_TASKS: dict[str, tuple[Task, str]] = {
    "SEQ_CLS": ("text-classification", "ForSequenceClassification"),
    "TOKEN_CLS": ("token-classification", "ForTokenClassification"),
}
# Stored under these the last matrix of a head has a row for each label.
_LAST = re.compile(r"(^|\.)(score|classifier|classifier\.out_proj)\.weight$")


@dataclass(frozen=True)
class Head:
    """The architecture that PEFT's task type names, its number of labels, and the tensors it has."""

    architecture: str
    labels: int
    names: frozenset[str]

    def keeps(self, name: str) -> bool:
        return _current(name) in self.names

    def check(self, base: SourceModel, layout: Layout) -> None:
        """BadAdapter where the architecture needs a tensor that neither the base nor the adapter has."""
        have = {_current(piece.info.name) for _, pieces in layout.shards for piece in pieces}
        missing = sorted(self.names - have)
        if missing:
            raise BadAdapter(
                f"{self.architecture} needs {len(missing)} tensors that neither {base.source} nor the adapter has, "
                f"{missing[0]} first",
                "they were drawn at random when it was trained: save it with them in modules_to_save",
            )


def exchanged_head(base: SourceModel, given: Sequence[Weighted]) -> Head | None:
    """The head that the adapter was trained with, None where it is the base's. BadAdapter where it is not stored."""
    adapter = given[0].adapter
    if adapter.config.task_type not in _TASKS:
        return None
    task, ending = _TASKS[adapter.config.task_type]
    found = [key for name, key in adapter.saved.items() if _LAST.search(name)]
    labels = adapter.store.tensors[found[0]].shape[0] if len(found) == 1 else 0
    if base.task == task and (not labels or labels == len(base.labels)):
        return None
    if not labels:
        raise BadAdapter(
            f"{adapter.where} is a classifier's and holds no head, and {base.source} does {base.task}",
            "save it again with the head in modules_to_save",
        )
    architecture = base.architecture if base.task == task else _architecture(base, ending)
    return Head(architecture, labels, _parameters(base, architecture, labels))


def _architecture(base: SourceModel, ending: str) -> str:
    try:
        from transformers.models.auto import modeling_auto
    except ImportError as error:
        raise MissingEngine(
            f"{base.source}: a classifier's adapter needs transformers", "pip install torch transformers"
        ) from error
    kind = "SEQUENCE" if ending.startswith("ForSequence") else "TOKEN"
    names = getattr(modeling_auto, f"MODEL_FOR_{kind}_CLASSIFICATION_MAPPING_NAMES")
    found = names.get(base.model_type)
    if found is None:
        raise BadAdapter(f"{base.source}: transformers has no {ending} for model_type {base.model_type!r}")
    return str(found)


def _parameters(base: SourceModel, architecture: str, labels: int) -> frozenset[str]:
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[base.model_type].from_dict({**base.config, "num_labels": labels})
    with torch.device("meta"):
        module = getattr(transformers, architecture)(config)
    return frozenset(name for name, _ in module.named_parameters())


def _current(name: str) -> str:
    """Checkpoints of 2018 call a norm's weight gamma and its bias beta; transformers reads them still."""
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
