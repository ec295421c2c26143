"""Goldens: a few inputs with the bundle's own answers, recorded by the code that will replay them in an app."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.evaluation import Input
from edgekit.questions import Questions
from edgekit.resources import use_python_runtime

_CASES = 4
_TOKENS = 32


def record(bundle: Path, questions: Questions) -> dict[str, Any]:
    """golden.json as a value (see docs/manifest.md): the first inputs of the validation and the bundle's answers."""
    use_python_runtime()
    import edgekit_runtime
    from edgekit_runtime import goldens

    with edgekit_runtime.open(bundle, verify=False) as session:
        return goldens.document(
            [
                goldens.make_case(session, _short(each), f"input {index}")
                for index, each in enumerate(questions.inputs[:_CASES])
            ]
        )


def _short(each: Input) -> Input:
    """Token ids cut short: the first step's logits are compared, and a golden should be quick on a slow device."""
    return each if isinstance(each, (str, Mapping)) else each[:_TOKENS]
