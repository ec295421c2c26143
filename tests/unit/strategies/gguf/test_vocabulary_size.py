"""Counting a tokenizer.json without reading it, against reading it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fixtures import tiny_tokenizers
from fixtures.gguf_models import LLAMA, planned
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import BadTokenizer
from edgekit.model import TextSetup
from edgekit.strategies.gguf import vocabulary_size
from edgekit.strategies.gguf.vocabulary_size import cut, measure_vocabulary

TEXTS = st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=60, unique=True)
LAYOUTS: list[dict[str, Any]] = [
    {"ensure_ascii": False, "indent": 2},
    {"ensure_ascii": False, "separators": (",", ":")},
    {"ensure_ascii": False},
    {"ensure_ascii": True},
]


def tokenizer(texts: list[str], merges: list[Any] | None, kind: str = "BPE") -> dict[str, Any]:
    vocab = {text: number for number, text in enumerate(texts)}
    model: dict[str, Any] = {"type": kind, "unk_token": None, "vocab": vocab}
    if merges is not None:
        model["merges"] = merges
    return {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "ByteLevel"}, "model": model}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(TEXTS, st.sampled_from(["texts", "pairs", "none"]))
def test_counts_are_those_of_the_whole_file(layout: dict[str, Any], texts: list[str], form: str) -> None:
    pairs = list(pairwise(texts))
    merges = {"texts": [" ".join(pair) for pair in pairs], "pairs": [list(pair) for pair in pairs], "none": None}[form]
    found = cut(json.dumps(tokenizer(texts, merges), **layout).encode("utf-8", "surrogatepass"))
    assert found is not None
    rest, tokens, counted = found
    assert rest["model"]["type"] == "BPE"
    assert tokens.number == len(texts)
    assert counted.number == (len(pairs) if merges is not None else 0)
    exact = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    joined = sum(len(" ".join(pair).encode("utf-8", "surrogatepass")) for pair in pairs)
    room = 10  # the first entry has no white space before it, the last no comma behind it
    assert abs(tokens.text_bytes - exact) <= room
    assert merges is None or abs(counted.text_bytes - joined) <= room


def test_texts_that_look_like_json_do_not_end_the_vocabulary() -> None:
    texts = ["}", '"', '},"merges":[', "]}}", "5},", "\\", '\\"', '"vocab":{', "{", "ab", "}}}"]
    merges = ["] }", '" }', "] ]", "a b"]
    for layout in LAYOUTS:
        found = cut(json.dumps(tokenizer(texts, merges), **layout).encode())
        assert found is not None
        assert (found[1].number, found[2].number) == (len(texts), len(merges))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"model": {"vocab": {',
        b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}',
        b'{"other": {"vocab": {"a": 0}}}}',
        b'{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}, "added_tokens": []}',
        b'{"model": {"merges": ["a b"], "type": "BPE", "vocab": {"a": 0, "b": {"c": 1}}}}',
        b'{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}',
        b'{"model": ["vocab", {"vocab": {"a": 0}}]}',
        b"[" * 5000 + b'"vocab": {"a": 0}}}',
    ],
)
def test_other_layouts_are_left_to_reading_whole(raw: bytes) -> None:
    assert cut(raw) is None


@pytest.mark.parametrize("kind", ["llama3", "gpt2", "sentencepiece", "wordpiece"])
def test_a_large_file_is_counted_as_a_small_one_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "sentencepiece":
        rows = tiny_tokenizers.sentencepiece_bpe(tmp_path)
    elif kind == "wordpiece":
        rows = tiny_tokenizers.wordpiece(tmp_path)
    else:
        rows = tiny_tokenizers.byte_level(tmp_path, style=kind)
    model = planned(LLAMA | {"vocab_size": rows}, text=TextSetup(512, tmp_path / "tokenizer.json"))
    exact = measure_vocabulary(model, rows)
    monkeypatch.setattr(vocabulary_size, "READ_WHOLE_BYTES", 0)
    counted = measure_vocabulary(model, rows)
    assert exact.uncertain_bytes == 0
    assert (counted.tokens, counted.merges, counted.json_merges) == (exact.tokens, exact.merges, exact.json_merges)
    assert counted.needs_tokenizer_json == exact.needs_tokenizer_json
    assert abs(counted.gguf_bytes - exact.gguf_bytes) <= counted.uncertain_bytes
    with pytest.raises(BadTokenizer, match="embeddings"):
        measure_vocabulary(model, 10)


def test_a_large_unigram_tokenizer_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_size, "READ_WHOLE_BYTES", 0)
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "Unigram", "vocab": [["a", 0.0]', encoding="utf-8")
    with pytest.raises(BadTokenizer, match="a Unigram tokenizer"):
        measure_vocabulary(planned(LLAMA, text=TextSetup(512, path)), 100)


@pytest.mark.parametrize("threshold", [0, 1_000_000])
@pytest.mark.parametrize(
    "part",
    [{"pre_tokenizer": "x"}, {"pre_tokenizer": [1]}, {"pre_tokenizer": {}}, {"normalizer": [1]}, {"added_tokens": [1]}],
)
def test_parts_of_another_type_are_refused(
    part: dict[str, Any], threshold: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary_size, "READ_WHOLE_BYTES", threshold)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer(["a", "b"], ["a b"]) | part), encoding="utf-8")
    model = planned(LLAMA, text=TextSetup(512, path))
    if threshold or "added_tokens" not in part:
        with pytest.raises(BadTokenizer):
            measure_vocabulary(model, 100)
    else:
        assert measure_vocabulary(model, 100).tokens == 100  # counting does not look at them


def test_a_file_of_escapes_alone_is_left_to_reading_whole() -> None:
    text = json.dumps(tokenizer(["\\" * (1 << 21), "b"], []))
    assert cut(text.encode()) is None


def test_a_changed_file_is_counted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_size, "READ_WHOLE_BYTES", 0)
    path = tmp_path / "tokenizer.json"
    model = planned(LLAMA, text=TextSetup(512, path))
    sizes = []
    for texts in (["a", "b"], ["a", "b", "c" * 40]):
        path.write_text(json.dumps(tokenizer(texts, [])), encoding="utf-8")
        sizes.append(measure_vocabulary(model, 100).gguf_bytes)
    assert sizes[1] - sizes[0] == pytest.approx(40 - len("[PAD000000]"), abs=3)
