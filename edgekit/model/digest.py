"""One digest over all that defines a source model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgekit.model.source import AdapterPart, Merged, SourceModel

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes, streamed."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def source_sha256(model: SourceModel) -> str:
    """SHA-256 over (relative name, SHA-256 of the content) of the model's files; of a torch module, over its tensors.

    Where the model lies does not count, nor when it was written. Of a model merged from adapters, over theirs and the
    base's: the merged weights differ in their last bits between machines.
    """
    digest = hashlib.sha256()
    if model.merged is not None:
        digest.update(f"merged {model.merged.combination}\0{source_sha256(model.merged.base)}\n".encode())
        for part in model.merged.adapters:
            digest.update(f"{part.weight!r}\0{adapter_sha256(part)}\n".encode())
        return digest.hexdigest()
    if model.module is not None:
        for name, tensor in sorted(model.module.state_dict().items()):
            digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(_tensor_bytes(tensor))
        return digest.hexdigest()
    folder = model.folder or (model.file.parent if model.file else Path())
    for relative in sorted(model.files):
        digest.update(f"{relative.as_posix()}\0{file_sha256(folder / relative)}\n".encode())
    return digest.hexdigest()


def adapter_sha256(part: AdapterPart) -> str:
    """SHA-256 over (name, SHA-256 of the content) of the adapter's files."""
    digest = hashlib.sha256()
    for relative in sorted(part.files):
        digest.update(f"{relative.as_posix()}\0{file_sha256(part.folder / relative)}\n".encode())
    return digest.hexdigest()


def ingredients(merged: Merged) -> dict[str, Any]:
    """Adapters and base, as they were named, with the digests of their files: the manifest's `merged`."""
    base = {"source": merged.base.source, "revision": merged.base.revision, "sha256": source_sha256(merged.base)}
    adapters = [
        {
            "source": part.source,
            "revision": part.revision,
            "sha256": adapter_sha256(part),
            "weight": part.weight,
        }
        for part in merged.adapters
    ]
    return {"base": base, "adapters": adapters, "combination": merged.combination}


def _tensor_bytes(tensor: Any) -> memoryview:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")
