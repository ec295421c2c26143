"""Text to the tensors an encoder takes: tokenizer.json, truncation, padding to the longest of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._versions import check
from .errors import BadInput, LoadFailed

Text = str | tuple[str, str]
Tensors = dict[str, npt.NDArray[Any]]

# What the library counts in holds no more; no text has so many.
_MOST_TOKENS = 2**31 - 1


def check_texts(texts: Any, pairs: bool = False) -> list[Text]:
    """`texts` as a list of valid strings, or of pairs of them if `pairs`; a string alone becomes a list of one."""
    if isinstance(texts, str):
        texts = [texts]
    try:
        listed = list(texts)
    except TypeError as error:
        raise BadInput(f"texts are {type(texts).__name__}, expected a string or a list of strings") from error
    for text in listed:
        parts = text if pairs and isinstance(text, tuple) and len(text) == 2 else (text,)
        for part in parts:
            check_text(part)
    return listed


def check_text(text: Any) -> str:
    if not isinstance(text, str):
        raise BadInput(f"a text is {type(text).__name__}, expected str")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"a text holds a lone surrogate at character {error.start}: it is not valid Unicode") from error
    return text


class Encoder:
    """A bundle's tokenizer. `inputs` are the graph's input names with their NumPy dtypes: only those are fed."""

    _COLUMNS: Mapping[str, str] = {
        "input_ids": "ids",
        "attention_mask": "attention_mask",
        "token_type_ids": "type_ids",
    }

    def __init__(self, tokenizer_json: Path, max_tokens: int, inputs: Mapping[str, npt.DTypeLike]) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise LoadFailed(f"the tokenizers library cannot be imported ({error}): pip install tokenizers") from error
        check("tokenizers", getattr(tokenizers, "__version__", None))
        if unknown := set(inputs) - set(self._COLUMNS):
            raise LoadFailed(f"the graph wants {', '.join(sorted(unknown))}, which text alone does not give")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_json))
        except Exception as error:
            raise LoadFailed(f"{tokenizer_json.name} is not a tokenizer this version reads: {error}") from error
        padding = self._tokenizer.padding or {}
        self._pad = {"input_ids": int(padding.get("pad_id", self._pad_id()))}
        special = self._tokenizer.num_special_tokens_to_add(False)
        if max_tokens <= special:
            raise LoadFailed(f"text.max_tokens is {max_tokens}, and {special} special tokens stand in every text")
        self._tokenizer.no_padding()  # often set to a fixed length; a batch is padded here, on the right, and masked
        self._max_tokens, self._inputs = min(max_tokens, _MOST_TOKENS), dict(inputs)

    def _pad_id(self) -> int:
        known = (self._tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|padding|>"))
        return next((token_id for token_id in known if token_id is not None), 0)

    def ids(self, text: str, add_special: bool = True) -> list[int]:
        """All ids of `text`, by default with special tokens, never truncated."""
        self._tokenizer.no_truncation()
        return list(self._tokenizer.encode(text, add_special_tokens=add_special).ids)

    def encode(self, texts: Sequence[Text]) -> list[Any]:
        """One tokenizers.Encoding per text, cut to max_tokens; what was cut off stands in its `overflowing`."""
        self._tokenizer.enable_truncation(self._max_tokens)
        return list(self._tokenizer.encode_batch(list(texts)))

    def batches(self, encodings: Sequence[Any], batch_size: int) -> Iterator[tuple[list[int], Tensors]]:
        """(positions in `encodings`, tensors [batch, longest]) with encodings of like length together."""
        order = sorted(range(len(encodings)), key=lambda position: len(encodings[position].ids))
        for start in range(0, len(order), batch_size):
            positions = order[start : start + batch_size]
            yield positions, self._tensors([encodings[position] for position in positions])

    def _tensors(self, encodings: Sequence[Any]) -> Tensors:
        longest = max(1, max(len(encoding.ids) for encoding in encodings))
        tensors: Tensors = {}
        for name, dtype in self._inputs.items():
            tensor = np.full((len(encodings), longest), self._pad.get(name, 0), dtype)
            for row, encoding in zip(tensor, encodings, strict=True):
                values = getattr(encoding, self._COLUMNS[name])
                row[: len(values)] = values
            tensors[name] = tensor
        return tensors
