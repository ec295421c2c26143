"""LoRA adapters, merged into their base one tensor at a time. By PEFT's formulas, without PEFT (docs/adapters.md)."""

from __future__ import annotations

from edgekit.adapters.config import AdapterConfig
from edgekit.adapters.layout import laid_out
from edgekit.adapters.pieces import Base, Layout, Weighted
from edgekit.adapters.stored import Adapter, adapter_file
from edgekit.adapters.writing import sparse_weights, write_weights

__all__ = [
    "Adapter",
    "AdapterConfig",
    "Base",
    "Layout",
    "Weighted",
    "adapter_file",
    "laid_out",
    "sparse_weights",
    "write_weights",
]
