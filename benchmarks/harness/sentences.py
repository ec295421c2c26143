"""Text that every machine has: sentences from the docstrings of Python's standard library, and edgekit's own sample."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from edgekit import resources

_WORDS = range(6, 33)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_sentences(count: int) -> list[str]:
    """`count` different English sentences, evenly spaced over the library's modules in alphabetical order.

    The same for one version of Python on one system. Sources are parsed, never imported.
    """
    found = dict.fromkeys(sentence for path in _sources() for sentence in _sentences(path))
    everything = list(found)
    if len(everything) < count:
        raise SystemExit(f"the standard library's docstrings hold {len(everything)} sentences, {count} were asked for")
    return [everything[index * len(everything) // count] for index in range(count)]


def multilingual_sentences() -> list[str]:
    """The sample that edgekit validates with when it is given no other text."""
    text = resources.sample_text().read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


def _sources() -> Iterator[Path]:
    for name in sorted(sys.stdlib_module_names):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            yield Path(spec.origin)


def _sentences(path: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
                    plain = re.fullmatch(r"[A-Z][a-z]*[ ,][^>\\|=_]*[.!?]", sentence)
                    if plain and len(sentence.split()) in _WORDS:
                        yield sentence
