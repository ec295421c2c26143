"""tokenizer.json of any vocabulary size: a few real rules, and as many made-up words as are wanted.

Only its size and its rules are true to life: both the engines' tokenizers and transformers' accept it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_DIGITS = {"Llama": r"\p{N}{1,3}", "Qwen2": r"\p{N}"}
_NAMED = {"Llama": ("<|begin_of_text|>", "<|end_of_text|>"), "Qwen2": (None, "<|endoftext|>")}


def word_pieces(folder: Path, size: int) -> None:
    """WordPiece as BERT has it, uncased: letters, their continuations, and made-up words."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*_SPECIAL, *characters, *(f"##{letter}" for letter in characters)]
    pieces += [word for word, _ in zip(_words(), range(size - len(pieces)), strict=False)]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", _SPECIAL.index("[CLS]")), ("[SEP]", _SPECIAL.index("[SEP]"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{name.strip('[]').lower()}_token": name for name in _SPECIAL}
    _configure(folder, named | {"tokenizer_class": "BertTokenizerFast", "do_lower_case": "true"})


def byte_pairs(folder: Path, size: int, model: str) -> None:
    """Byte-level BPE that splits as Llama 3 or Qwen2 does: the bytes, and merges of made-up words."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    bos, eos = _NAMED[model]
    special = [name for name in (bos, eos) if name]
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in _words():
        if len(vocabulary) == size - len(special):
            break
        vocabulary[word] = len(vocabulary)
        merges.append((word[:-1], word[-1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    if model == "Qwen2":
        tokenizer.normalizer = normalizers.NFC()
    pattern = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{_DIGITS[model]}{_TAIL}"
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {key: value for key, value in (("bos_token", bos), ("eos_token", eos)) if value}
    _configure(folder, named | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _words() -> Iterator[str]:
    """Different words of two letters, then three and four: each without its last letter is a token before it."""
    for length in (2, 3, 4):
        for letters in product(_LETTERS, repeat=length):
            yield "".join(letters)


def _configure(folder: Path, config: dict[str, str]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
