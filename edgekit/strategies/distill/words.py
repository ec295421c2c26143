"""Students in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.device import detect
from edgekit.errors import UnsupportedModel
from edgekit.students.families import family_of
from edgekit.training.recipe import Trained


def shape_told(config: Mapping[str, Any], teacher: Mapping[str, Any], parameters: int) -> str:
    """ "3 of 6 layers, 384 wide, 17.4 million parameters", as far as the configurations tell."""
    size = f"{parameters / 1e6:,.1f} million parameters" if parameters >= 1e5 else f"{parameters:,} parameters"
    try:
        keys = family_of(str(config.get("model_type", ""))).keys
    except UnsupportedModel:
        return size
    layers, width, heads = (config.get(key) for key in (keys.layers, keys.hidden, keys.heads))
    if layers is None or width is None:
        return size
    same = config.get("model_type") == teacher.get("model_type")
    of = f" of {teacher.get(keys.layers)}" if same and teacher.get(keys.layers) is not None else ""
    was = f" (from {teacher.get(keys.hidden)})" if same and teacher.get(keys.hidden) not in (None, width) else ""
    return f"{layers}{of} layers, {width} wide{was}, {heads} heads, {size}"


def machine_told(trained: Trained) -> str:
    """ "AMD EPYC, fp32, 2 processes": what it was trained on, and in what."""
    processes = f", {trained.processes} processes" if trained.processes > 1 else ""
    return f"{detect(measure=False).soc}, {trained.precision}{processes}"


def duration_told(seconds: float) -> str:
    """ "45 s", "20 min", "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"
