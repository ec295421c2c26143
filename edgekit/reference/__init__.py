"""The source model, run as it is: what a bundle's answers are compared with.

A reference answers each input with one float32 array: an embedding [width], class logits [labels], token logits
[tokens, labels], next-token logits [tokens, vocabulary], or the flattened outputs of a plain module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edgekit.errors import UnsupportedModel
from edgekit.evaluation import Answer, Input
from edgekit.model import SourceModel
from edgekit.reference.gguf_file import GgufReference
from edgekit.reference.onnx_file import OnnxReference
from edgekit.reference.torch_module import TorchReference

__all__ = ["Reference", "TextReference", "open_reference"]


class Reference(Protocol):
    """The original model. `description` says what ran, for the report."""

    description: str

    def answers(self, inputs: Sequence[Input]) -> Iterator[Answer]: ...


class TextReference(Reference, Protocol):
    """An original that reads text, and, if it is a causal LM, writes it."""

    def tokenize(self, text: str) -> list[int]:
        """Ids with the special tokens the model wants, never truncated."""
        ...

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int] | None:
        """Ids of the prompt that the model's chat template makes of them; None where it has none or refuses them."""
        ...

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        """For each character offset the token that begins there, None where none does (truncated away)."""
        ...

    def decode_ms(self, ids: Sequence[int], steps: int) -> list[float]:
        """Milliseconds of each of `steps` greedy decoding steps after the prompt `ids`, with a KV cache."""
        ...

    def sample(self, sequences: int, tokens: int) -> list[list[int]]:
        """`sequences` texts of `tokens` ids, drawn from the model itself (temperature 1, fixed seed)."""
        ...


def open_reference(model: SourceModel, threads: int, workdir: Path) -> Reference:
    """The best original there is: torch in fp32, the ONNX file itself, or, failing both, the unquantized GGUF."""
    if model.format == "onnx" and model.file is not None:
        return OnnxReference(model, model.file, threads)
    if model.format == "gguf" and model.file is not None:
        return GgufReference(model.file, model, threads, "the source GGUF itself")
    try:
        return TorchReference(model, threads)
    except UnsupportedModel:
        if model.task != "causal-lm":
            raise
    from edgekit.strategies.gguf import write_gguf

    path = workdir / "reference-F16.gguf"
    write_gguf(model, path, "F16")
    return GgufReference(path, model, threads, "the unquantized GGUF (the installed transformers does not know it)")
