"""What is this? A model or a bundle, described from configuration, headers and manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgekit.bundle import is_bundle, verify
from edgekit.model import SourceModel, open_model
from edgekit.model.adapted import is_adapter
from edgekit.model.adapter_facts import adapter_facts
from edgekit.model.kinds import kind_of_model
from edgekit.model.opening import located


def inspect(
    path: str | Path, *, revision: str | None = None, allow_pickle: bool = False, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Facts about a bundle (verified first), a source model or an adapter (whose base need not be there), as plain
    values. No weights are loaded.
    """
    if is_bundle(Path(path)):
        return {"what": "bundle", **verify(Path(path)).model_dump(mode="json")}
    folder = located(path, revision, None, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code).path
    if folder.is_dir() and is_adapter(folder):
        return {"what": "adapter", **adapter_facts(folder, str(path), allow_pickle=allow_pickle)}
    model = open_model(path, revision=revision, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    return {"what": "model", **describe(model)}


def describe(model: SourceModel) -> dict[str, Any]:
    """A source model in the words of docs/architecture.md, with the evidence for its task and kind."""
    kind = kind_of_model(model)
    dtypes: Counter[str] = Counter()
    for tensor in model.tensors:
        dtypes[tensor.dtype] += tensor.elements
    return {
        "name": model.name,
        "source": model.source,
        "format": model.format,
        "task": model.task,
        "kind": kind.name,
        "kind_evidence": list(kind.evidence),
        "deployment": list(kind.deployment),
        "architecture": model.architecture,
        "parameters": model.parameters,
        "stored_as": dict(dtypes),
        "quantized": model.quantized,
        "max_tokens": model.text.max_tokens if model.text else None,
        "chat_template": bool(model.text and model.text.chat_template),
        "labels": list(model.labels),
        "pooling": model.pooling,
        "normalize": model.normalize,
        "licence": model.licence,
        "revision": model.revision,
        "evidence": list(model.evidence),
    }
