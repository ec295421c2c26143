"""Tokenizers that the C runtime leaves to onnxruntime-extensions: the tokenizers library's ids, or a named refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fixtures import c_text, tiny_tokenizers
from fixtures.c_text import TEXTS, Tokens, expected
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

pytestmark = pytest.mark.engines

BYTE_LEVEL = ("llama3", "qwen2", "gpt2", "roberta")


def borrowed(c_tokens: Path, bundle: Path) -> Tokens:
    return Tokens(c_tokens / "tokens-plain", bundle, *c_text.extensions_library())


@pytest.mark.parametrize("style", BYTE_LEVEL)
def test_byte_level_tokenizers(c_tokens: Path, tmp_path: Path, style: str) -> None:
    tiny_tokenizers.byte_level(tmp_path, style=style)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    names = " ".join(token.content for token in tokenizer.get_added_tokens_decoder().values())
    with borrowed(c_tokens, c_text.bundle(tmp_path)) as tokens:
        for text, pair in zip((*TEXTS, names), (*TEXTS[1:], names, ""), strict=True):
            for given_pair, special, limit in ((None, True, 0), (None, False, 0), (pair, True, 12)):
                found = tokens.encode(text, given_pair, special, limit)
                wanted = expected(tokenizer, text, given_pair, special, limit)
                assert {name: found[name] for name in ("ids", "types", "special")} == {
                    name: wanted[name] for name in ("ids", "types", "special")
                }


def unigram(folder: Path, tokenizer_class: str = "XLMRobertaTokenizer") -> Tokenizer:
    """Unigram as SentencePiece has it, its normalizer with a table of nothing."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("s", -3.5)]
    pieces += [(letter, -4.0 - index / 100) for index, letter in enumerate("abcdefghijklmnopqrtuvwxyz.")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    nothing = (1024).to_bytes(4, "little") + bytes(1025)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(nothing)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config = {"tokenizer_class": tokenizer_class, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tokenizer


def goldens(folder: Path, tokenizer: Tokenizer, text: str, wrong: bool = False) -> None:
    ids = tokenizer.encode(text).ids
    case = {"name": "a", "input": {"text": text}, "expected": {"token_ids": [*ids[:-1], ids[-1] + wrong]}}
    (folder / "golden.json").write_text(json.dumps({"schema_version": 1, "cases": [case]}), encoding="utf-8")


def test_unigram_where_a_golden_proves_it(c_tokens: Path, tmp_path: Path) -> None:
    tokenizer = unigram(tmp_path)
    goldens(tmp_path, tokenizer, "the sky is blue.")
    with borrowed(c_tokens, c_text.bundle(tmp_path)) as tokens:
        for text in ("the grass", "a", "", "red and green."):
            assert tokens.encode(text)["ids"] == tokenizer.encode(text).ids


def without_goldens(folder: Path) -> None:
    unigram(folder)


def of_another_class(folder: Path) -> None:
    goldens(folder, unigram(folder, "PreTrainedTokenizerFast"), "the sky")


def with_other_goldens(folder: Path) -> None:
    goldens(folder, unigram(folder), "the sky", wrong=True)


def with_prefix_space(folder: Path) -> None:
    tiny_tokenizers.byte_level(folder, style="gpt2")
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (without_goldens, "no golden of the bundle proves"),
        (of_another_class, "none of XLM-RoBERTa's and T5's"),
        (with_other_goldens, "gives other ids than the bundle's tokenizer, from token"),
        (with_prefix_space, "gives other ids for it"),
        (partial(tiny_tokenizers.byte_level, style="smollm"), "gives other ids for it"),
        (partial(tiny_tokenizers.sentencepiece_bpe, style="llama"), "gives other ids for it"),
        (partial(tiny_tokenizers.sentencepiece_bpe, style="gemma"), "gives other ids for it"),
    ],
)
def test_what_the_other_library_gets_wrong_is_refused(
    c_tokens: Path, tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path)
    with borrowed(c_tokens, c_text.bundle(tmp_path)) as tokens:
        answer = tokens.encode("the sky")
    assert answer["code"] == "LoadFailed"
    assert words in answer["message"]


def test_the_other_library_is_missing_or_another(c_tokens: Path, tmp_path: Path) -> None:
    tiny_tokenizers.byte_level(tmp_path)
    bundle = c_text.bundle(tmp_path)
    libc = next(Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if "/libc" in line)
    for library, words in ((None, "name it in text_library"), (tmp_path / "no.so", "no.so"), (libc, "C interface")):
        with Tokens(c_tokens / "tokens", bundle, library) as tokens:
            answer = tokens.encode("a")
        assert answer["code"] == "LoadFailed"
        assert words in answer["message"]


def test_tokens_without_offsets_are_not_classified(c_tokens: Path, tmp_path: Path) -> None:
    tiny_tokenizers.byte_level(tmp_path)
    bundle = c_text.bundle(tmp_path, task="token-classification", kind="classifier", labels=["O"])
    with borrowed(c_tokens, bundle) as tokens:
        answer = tokens.encode("a")
    assert (answer["code"], "gives no offsets" in answer["message"]) == ("LoadFailed", True)
