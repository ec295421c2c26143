"""Source models: what the user brought, read from configuration and headers. No weights are loaded here."""

from __future__ import annotations

from edgekit.model.source import Format, ImageSetup, Kind, Pooling, SourceModel, Task, TensorInfo, TextSetup

__all__ = ["Format", "ImageSetup", "Kind", "Pooling", "SourceModel", "Task", "TensorInfo", "TextSetup"]
