"""Bytes of a GGUF file, as the format lays them out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgekit.strategies.gguf.presets import TypeChoice, tensor_bytes
from edgekit.strategies.gguf.rope import Metadata
from edgekit.strategies.gguf.targets import Target

ALIGNMENT = 32


def padded(size: int) -> int:
    """Tensor data begins at multiples of ALIGNMENT bytes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def data_bytes(targets: Iterable[Target], choice: TypeChoice) -> int:
    return sum(padded(tensor_bytes(target, choice(target))) for target in targets)


def metadata_bytes(metadata: Metadata) -> int:
    return sum(8 + len(key.encode()) + 4 + _value_bytes(value) for key, value in metadata.items())


def header_bytes(metadata_size: int, targets: Iterable[Target]) -> int:
    """Bytes before the first tensor's data."""
    size = 24 + metadata_size
    return padded(size + sum(8 + len(target.name) + 4 + 8 * len(target.shape) + 4 + 8 for target in targets))


def _value_bytes(value: Any) -> int:
    if isinstance(value, bool):
        return 1
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, list):
        return 12 + sum(_value_bytes(item) for item in value)
    return 4
