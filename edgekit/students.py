"""Students: smaller models of the source's family, shaped so that they fit a device once distilled and quantized."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Student:
    """A model of the source's family with fewer layers, or narrower ones. `bytes` is its file packed as `packed_as`."""

    parameters: int
    layers: int
    hidden: int
    bytes: int
    packed_as: str
