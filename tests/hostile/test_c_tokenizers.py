"""A tokenizer.json that is none, or is made to do harm: the C runtime refuses it in a line, without a sanitizer's word,
and the bundle still opens for tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures import c_runtime, c_text, tiny_tokenizers
from fixtures.c_text import Tokens
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.engines

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
WORDPIECE = {"vocab": {"[UNK]": 0, "a": 1, "##b": 2}, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100, "type": "WordPiece"}  # fmt: skip
DEEP = json.loads("[" * 70 + "]" * 70)
ADDED = {"id": 0, "content": "x", **dict.fromkeys(FLAGS, False)}
UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "it is not an object"),
    ({"model": {}}, "uses the model"),
    ({"model": {"type": "WordLevel", "vocab": {}}}, 'uses the model "WordLevel"'),
    ({"model": WORDPIECE | {"vocab": ["a"]}}, "its vocabulary is not an object"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": 0, "a": 0}}}, "an id is given twice"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": -1}}}, "an id is out of range"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": 2**31}}}, "an id is out of range"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": 10**30}}}, "an id is out of range"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": 0.5}}}, "an id is out of range"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": "0"}}}, "an id is no number"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": [0]}}}, "an id is no number"),
    ({"model": WORDPIECE | {"vocab": {}}}, "its unk_token '[UNK]' is not in its vocabulary"),
    ({"model": WORDPIECE | {"unk_token": 3}}, "unk_token is not a string"),
    ({"model": WORDPIECE | {"continuing_subword_prefix": "#" * 65}}, "continuing_subword_prefix"),
    ({"model": WORDPIECE | {"max_input_chars_per_word": -1}}, "max_input_chars_per_word is no number"),
    ({"model": WORDPIECE | {"vocab": DEEP}}, "nested too deep"),
    ({"decoder": DEEP}, "nested too deep"),
    ({"normalizer": {"type": "Lowercase"}}, "uses the normalizer Lowercase"),
    ({"normalizer": {"type": "BertNormalizer"}}, "clean_text of its normalizer"),
    ({"normalizer": ["BertNormalizer"]}, "its normalizer has no type"),
    ({"pre_tokenizer": {"type": "Whitespace"}}, "uses the pre-tokenizer Whitespace"),
    ({"post_processor": {"type": "ByteLevel", "trim_offsets": True}}, "uses the post-processor ByteLevel"),
    ({"post_processor": {"type": "RobertaProcessing", "trim_offsets": True}}, "RobertaProcessing with trim_offsets"),
    ({"post_processor": {"type": "BertProcessing"}}, "lacks its two special tokens"),
    ({"post_processor": {"type": "TemplateProcessing", "single": [], "pair": 3}}, "has no template"),
    ({"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}]}},
     "a sequence that is not there"),
    ({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}]}},
     "names a special token that it does not define"),
    ({"added_tokens": {}}, "added_tokens is not a list"),
    ({"added_tokens": [{"content": 3}]}, "an added token is not a string"),
    ({"added_tokens": [ADDED | {"id": -1}]}, "an added token's id is out of range"),
    ({"added_tokens": [{"id": 0, "content": "x"}]}, "an added token lacks a flag"),
    ({"added_tokens": [ADDED, ADDED]}, "the token 'x' is added twice"),
    ({"model": WORDPIECE | {"vocab": {"[UNK]": 1}}, "added_tokens": [ADDED]}, "gets the id 1 of another"),
    ({"added_tokens": [ADDED | {"content": "\x01", "normalized": True}],
      "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}},
     "of which normalization leaves nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "words"), UNUSABLE, ids=[words for _, words in UNUSABLE])
def test_a_tokenizer_that_cannot_be_used(c_tokens: Path, tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    document = {"version": "1.0", "added_tokens": [], "model": WORDPIECE} | parts
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    with Tokens(c_tokens / "tokens", c_text.bundle(tmp_path)) as tokens:
        answer = tokens.encode("a")
    assert answer["code"] == "LoadFailed"
    assert words in answer["message"]
    assert answer["message"].startswith("tokenizer.json ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is not an object"),
        (b"{", "a key is expected"),
        (b'{"a"', "a colon is missing"),
        (b'{"a": "', "a string does not end"),
        (b'{"a": "\\', "a string does not end"),
        (b'{"a": [}', "a bracket is not opened"),
        (b'{"model": {}} x', "something follows its end"),
        (b'{"model": {}, "model": {}}', "a key stands twice"),
        (b'{"a": "\xff"}', "it is not UTF-8"),
        (b'{"a": 1}', "it has no model"),
        (b'{"model": {"type": "WordPiece", "vocab": {"a": 0, "a": 1}}}', "a token stands twice"),
        (b'{"model": {"type": "WordPiece", "vocab": {"\\u0000": 0}}}', "an escape stands for no character"),
        (b'{"model": {"type": "WordPiece", "vocab": {"\\ud800": 0}}}', "an escape stands for no character"),
        (b'{"model": {"type": "WordPiece", "vocab": {3: 0}}}', "a token is not a string"),
    ],
)
def test_a_file_that_is_no_tokenizer(c_tokens: Path, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with Tokens(c_tokens / "tokens", c_text.bundle(tmp_path)) as tokens:
        answer = tokens.encode("a")
    assert answer["code"] == "LoadFailed"
    assert words in answer["message"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: b" " * (2**26 + 1), "larger than 64 MiB"),
        (lambda: _colliding(), "made to be slow to look up"),
        (lambda: _of_many_added_tokens(), "added_tokens is not a list of at most 40000"),
    ],
)
def test_more_than_is_read(c_tokens: Path, tmp_path: Path, make: Callable[[], bytes], words: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(make())
    with Tokens(c_tokens / "tokens", c_text.bundle(tmp_path)) as tokens:
        answer = tokens.encode("a")
    assert answer["code"] == "LoadFailed"
    assert words in answer["message"]


def _of_many_added_tokens() -> bytes:
    added = [ADDED | {"content": str(index)} for index in range(40001)]
    return json.dumps({"added_tokens": added, "model": WORDPIECE}).encode()


def _colliding() -> bytes:
    """A vocabulary whose tokens all belong in one 64th of the table."""
    found: dict[str, int] = {"[UNK]": 0}
    number = 0
    while len(found) < 5000:
        number += 1
        value = 14695981039346656037
        for byte in b"%d" % number:
            value = ((value ^ byte) * 1099511628211) % 2**64
        if (value ^ value >> 29) % 16384 < 256:
            found[str(number)] = len(found)
    return json.dumps({"added_tokens": [], "model": WORDPIECE | {"vocab": found}}).encode()


PIECES = st.one_of(st.sampled_from([b'"', b"{", b"]", b"\\", b",", b"9", b"null"]), st.binary(max_size=3))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_bytes_changed_at_random(c_tokens: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("changed")
    tiny_tokenizers.wordpiece(folder, vocab_size=60)
    content = bytearray((folder / "tokenizer.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(content) - 1))
        length = data.draw(st.integers(0, 3))
        content[start : start + length] = data.draw(PIECES)
    (folder / "tokenizer.json").write_bytes(content)
    with Tokens(c_tokens / "tokens", c_text.bundle(folder)) as tokens:
        answer = tokens.encode("the [MASK] quick É fox")
    assert "ids" in answer or answer["code"] == "LoadFailed"


def test_a_bundle_of_tensors_has_none_and_opens(c_tokens: Path, tmp_path: Path) -> None:
    with Tokens(c_tokens / "tokens", c_text.bundle(tmp_path, task="tensors", text=None)) as tokens:
        assert tokens.encode("a")["code"] == "WrongTask"


def test_a_tokenizer_that_the_manifest_does_not_list(c_tokens: Path, tmp_path: Path) -> None:
    bundle = c_text.bundle(tmp_path, text={"tokenizer": "../tokenizer.json", "max_tokens": 8})
    answer = json.loads(c_runtime.run_c([c_tokens / "tokens", bundle]).stdout)
    assert answer["code"] == "BundleInvalid"
    assert "not among the listed files" in answer["message"]


def test_a_tokenizer_without_added_tokens(c_tokens: Path, tmp_path: Path) -> None:
    tiny_tokenizers.wordpiece(tmp_path, vocab_size=60)
    stored = json.loads((tmp_path / "tokenizer.json").read_bytes())
    for changed in ({**stored, "added_tokens": []}, {key: stored[key] for key in stored if key != "added_tokens"}):
        (tmp_path / "tokenizer.json").write_text(json.dumps(changed), encoding="utf-8")
        with Tokens(c_tokens / "tokens", c_text.bundle(tmp_path)) as tokens:
            answer = tokens.encode("the quick fox")
        assert "ids" in answer or answer["code"] == "LoadFailed"
