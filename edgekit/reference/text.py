"""The source's own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.errors import UnsupportedModel
from edgekit.model import SourceModel
from edgekit.resources import use_python_runtime
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
        self._template = model.text.chat_template
        self._special_texts = tuple(_special_text(model, name) for name in ("bos_token", "eos_token"))

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int] | None:
        """The template alone decides on special tokens, which are spelt as tokenizer_config.json has them."""
        text = rendered(self._template, messages, *self._special_texts)
        return None if text is None else list(self._tokenizer.encode(text, add_special_tokens=False).ids)

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


def rendered(template: str | None, messages: Sequence[Mapping[str, str]], bos: str, eos: str) -> str | None:
    """As the Python runtime renders it; None where there is no template, or it refuses the messages."""
    use_python_runtime()
    from edgekit_runtime import BadInput, _chat

    if template is None:
        return None
    try:
        return _chat.render(template, [dict(each) for each in messages], bos, eos)
    except BadInput:
        return None


def _special_text(model: SourceModel, name: str) -> str:
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        path = None if model.folder is None else model.folder / file
        if path is not None and path.is_file():
            token = json.loads(path.read_bytes()).get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                return token
    return ""
