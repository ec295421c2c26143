"""The C runtime's tokenizer: WordPiece token for token as the tokenizers library has it, offsets too; NFC as Python has
it. Under the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from fixtures import c_runtime, c_text
from fixtures.c_text import TEXTS, Tokens, expected
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

pytestmark = pytest.mark.engines

NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Marks that change places, characters that become several or none, spaces of all kinds, and what is new to Unicode.
CHARACTERS = (
    "abcdeABCDE .,!-_[]#'\t\n\x0b\x85\xa0\u3000\u2028\u0300\u0301\u0323\u0327\u0315\u0334\u0344\u0f73\u0f75\u0f81\u302e"
    "\U0001d165\U0001d16d\U00011938\U00016ff0\u1ac0\u07fd\u05b0\u05b9\u064b中각\ud7a3\u1100\u1161\u11a8é\u1e69\u1f82İıßΣ"
    "\u212b\u2126\ufb1d\uf900\U0002f800\u200b\ufffd\ufeff\x7f\x01\U0001f680"
)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minilm")
    shutil.copy(c_text.minilm_tokenizer(), folder / "tokenizer.json")
    return c_text.bundle(folder)


@pytest.fixture(scope="module")
def asked(c_tokens: Path, minilm: Path) -> Iterator[tuple[Tokens, Tokenizer]]:
    with Tokens(c_tokens / "tokens", minilm) as tokens:
        yield tokens, Tokenizer.from_file(str(minilm / "tokenizer.json"))


def changed(folder: Path, to: Path, **parts: Any) -> Path:
    """The tokenizer of `folder`, some of its parts replaced, as a bundle at `to`."""
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    for name, part in parts.items():
        document[name] = document[name] | part if isinstance(part, dict) and document.get(name) else part
    to.mkdir()
    (to / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    return c_text.bundle(to)


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("limit", [0, 4, 9])
def test_texts_and_pairs_of_them(asked: tuple[Tokens, Tokenizer], special: bool, limit: int) -> None:
    tokens, tokenizer = asked
    for text, pair in zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True):
        assert tokens.encode(text, None, special, limit) == expected(tokenizer, text, None, special, limit)
        assert tokens.encode(text, pair, special, limit) == expected(tokenizer, text, pair, special, limit)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8])
def test_a_pair_is_cut_longest_first(asked: tuple[Tokens, Tokenizer], limit: int) -> None:
    tokens, tokenizer = asked
    for first in range(7):
        for second in range(7):
            text, pair = "a " * first, "b " * second
            assert tokens.encode(text, pair, False, limit) == expected(tokenizer, text, pair, False, limit)


@pytest.mark.parametrize(
    "normalizer",
    [
        {},
        {"lowercase": False, "strip_accents": True, "clean_text": False},
        {"strip_accents": False, "clean_text": False, "handle_chinese_chars": False},
    ],
)
def test_every_character_there_is(c_tokens: Path, minilm: Path, tmp_path: Path, normalizer: dict[str, bool]) -> None:
    bundle = changed(minilm, tmp_path / "b", normalizer=normalizer)
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    with Tokens(c_tokens / "tokens-plain", bundle) as tokens:
        for text in c_text.every_character():
            assert tokens.encode(text, special=False) == expected(tokenizer, text, special=False)


@given(st.text(max_size=40), st.one_of(st.none(), st.text(max_size=20)), st.booleans(), st.sampled_from([0, 3, 7]))
@settings(max_examples=400, deadline=None)
def test_any_text(asked: tuple[Tokens, Tokenizer], text: str, pair: str | None, special: bool, limit: int) -> None:
    tokens, tokenizer = asked
    text, pair = text.replace("\0", ""), pair and pair.replace("\0", "")
    assert tokens.encode(text, pair, special, limit) == expected(tokenizer, text, pair, special, limit)


@given(st.text(st.sampled_from(CHARACTERS), max_size=30))
@settings(max_examples=600, deadline=None)
def test_nfc_is_pythons(asked: tuple[Tokens, Tokenizer], text: str) -> None:
    for each in (text, unicodedata.normalize("NFD", text)):
        assert asked[0].nfc(each) == unicodedata.normalize("NFC", each)


same_unicode = pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="the tables have the Unicode of Python 3.11"
)


@same_unicode
def test_nfc_of_every_character(asked: tuple[Tokens, Tokenizer]) -> None:
    marks = "".join(chr(point) for point in range(0x110000) if unicodedata.combining(chr(point)))
    for text in (*c_text.every_character(), *TEXTS, marks, marks[::-1]):
        for each in (text, unicodedata.normalize("NFD", text)):
            assert asked[0].nfc(each) == unicodedata.normalize("NFC", each)


FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
added_tokens = st.dictionaries(
    st.sampled_from(
        ["abc", "Abc", "É", "ab c", " x", "x ", "  ", " ", "[x]", "中", "e\u0301", "İ", "-", "a-b", "foo_"]
    ),
    st.fixed_dictionaries({name: st.booleans() for name in FLAGS}),
    max_size=6,
)


@st.composite
def tokenizers_of_words(draw: st.DrawFn) -> Tokenizer:
    """A WordPiece tokenizer of few tokens, with any of the parts that the C runtime has."""
    prefix = draw(st.sampled_from(["##", "", "é"]))
    pieces = draw(st.lists(st.text("abcdeABCDEéè.,!中iσßs\u0307\u0323\u302e \u1100\u1161", min_size=1, max_size=3)))
    words = dict.fromkeys([*NAMES, *"abcde", *pieces, *(prefix + piece for piece in (*"abcde", *pieces))])
    vocabulary = {token: index for index, token in enumerate(words)}
    longest = draw(st.sampled_from([0, 1, 4, 100]))
    tokenizer = Tokenizer(
        models.WordPiece(
            vocabulary, unk_token=NAMES[1], continuing_subword_prefix=prefix, max_input_chars_per_word=longest
        )
    )
    if draw(st.booleans()):
        flags = draw(st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, True, False]), st.booleans()))
        tokenizer.normalizer = normalizers.BertNormalizer(*flags)
    if draw(st.booleans()):
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    processor = draw(st.sampled_from(["bert", "template", "roberta", None]))
    if processor is not None:
        tokenizer.post_processor = _processor(processor)
    tokenizer.add_special_tokens(list(NAMES))
    for content, flags in draw(added_tokens).items():
        tokenizer.add_tokens([AddedToken(content, **flags)])
    return tokenizer


def _processor(name: str) -> processors.PostProcessor:
    if name == "bert":
        return processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    if name == "roberta":
        return processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2), trim_offsets=False)
    several = {"id": "[SEP]", "ids": [3, 4], "tokens": ["[SEP]", "[MASK]"]}
    return processors.TemplateProcessing(
        single="[CLS] $A:1 [SEP]:2", pair="$B:3 [SEP] $A [CLS]:5", special_tokens=[("[CLS]", 2), several]
    )


@given(tokenizers_of_words(), st.data())
@settings(max_examples=80, deadline=None)
def test_any_tokenizer(
    c_tokens: Path, tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    tokenizer.save(str(folder / "tokenizer.json"))
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    texts = st.lists(st.one_of(st.sampled_from(CHARACTERS), st.sampled_from(words)), max_size=20).map("".join)
    with Tokens(c_tokens / "tokens", c_text.bundle(folder)) as tokens:
        for text, pair in data.draw(st.lists(st.tuples(texts, st.one_of(st.none(), texts)), min_size=5)):
            wanted = _expected_or_panic(found, text, pair)
            assert tokens.encode(text, pair) == (wanted or ANY)


def _expected_or_panic(tokenizer: Tokenizer, text: str, pair: str | None) -> dict[str, Any] | None:
    """None where the tokenizers library panics: two added tokens take the same space."""
    try:
        return expected(tokenizer, text, pair)
    except BaseException as error:
        if "bad split" not in str(error):
            raise
    return None


def test_a_file_of_a_time_when_models_had_no_type(c_tokens: Path, minilm: Path, tmp_path: Path) -> None:
    bundle = changed(minilm, tmp_path / "b")
    document = json.loads((bundle / "tokenizer.json").read_text(encoding="utf-8"))
    del document["model"]["type"]
    (bundle / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    with Tokens(c_tokens / "tokens", bundle) as tokens:
        for text in TEXTS:
            assert tokens.encode(text) == expected(tokenizer, text)


@pytest.mark.parametrize("text", [b"\xff", b"a\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xe2\x82"])
def test_what_is_not_utf8_is_bad_input(asked: tuple[Tokens, Tokenizer], text: bytes) -> None:
    answer = asked[0].encode(text)
    assert answer["code"] == "BadInput"
    assert "not valid UTF-8 at byte" in answer["message"]


def test_no_room_for_special_tokens(asked: tuple[Tokens, Tokenizer]) -> None:
    for limit, pair in ((2, None), (2, "b")):
        answer = asked[0].encode("a", pair, True, limit)
        assert answer["code"] == "LoadFailed"
        assert f"text.max_tokens is {limit}" in answer["message"]


@same_unicode
def test_the_tables_are_those_that_the_generator_writes() -> None:
    generator = Path(__file__).parents[2] / "tools" / "unicode_tables.py"
    written = subprocess.run([sys.executable, generator], capture_output=True, text=True, check=True).stdout
    assert written == (c_runtime.SOURCES / "parts" / "unicode_tables.h").read_text(encoding="utf-8")
