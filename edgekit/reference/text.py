"""The source's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.errors import UnsupportedModel
from edgekit.model import SourceModel
from edgekit.torch_model import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class SourceText:
    """The source's own tokenizer."""

    def __init__(self, model: SourceModel) -> None:
        if model.text is None:
            raise UnsupportedModel(f"{model.name} has no tokenizer", "give the folder it came from, or --task")
        self._tokenizer: Tokenizer = load_tokenizer(model)
        self._max_tokens = model.text.max_tokens

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def ids(self, text: str) -> list[int]:
        """Ids cut to the model's longest input, special tokens kept."""
        self._tokenizer.enable_truncation(self._max_tokens)
        ids: list[int] = self._tokenizer.encode(text).ids
        self._tokenizer.no_truncation()
        return ids

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        begins: dict[int, int] = {}
        for index, (start, end) in enumerate(self._tokenizer.encode(text).offsets):
            while start < end and text[start].isspace():  # byte-level tokens carry the space before a word
                start += 1
            if start < end:
                begins.setdefault(start, index)
        rows = [begins.get(start) for start in starts]
        return [row if row is not None and row < self._max_tokens - 1 else None for row in rows]
