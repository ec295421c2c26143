"""Vocabularies are proven, not recognised: retrained ones work, and one that llama.cpp cannot follow is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fixtures import tiny_models, tiny_tokenizers
from fixtures.gguf_engine import metadata

from edgekit.errors import BadTokenizer
from edgekit.model import open_model
from edgekit.strategies.gguf import write_gguf
from edgekit.strategies.gguf.architecture import lay_out
from edgekit.strategies.gguf.parity import Proven, prove
from edgekit.strategies.gguf.vocabulary import read_source

pytestmark = pytest.mark.engines

Edit = Callable[[dict[str, Any]], None]


def edited(folder: Path, edit: Edit) -> Path:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def proven(folder: Path, scratch: Path) -> Proven:
    model = open_model(folder)
    layout = lay_out(model)
    return prove(read_source(model, layout.shape.vocabulary), layout.metadata, scratch)


@pytest.mark.parametrize(
    ("style", "pre"), [("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("gpt2", "gpt-2"), ("smollm", "smollm")]
)
def test_the_pre_tokenizer_is_found_for_vocabularies_nobody_listed(style: str, pre: str, tmp_path: Path) -> None:
    found = proven(tiny_models.tiny_llama(tmp_path / "source", style=style), tmp_path)
    assert found.vocabulary.metadata["tokenizer.ggml.pre"] == pre


def split_with(pattern: str) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}

    return edit


def test_a_pattern_that_is_spelled_otherwise_is_found_by_trying(tmp_path: Path) -> None:
    same = tiny_tokenizers.LLAMA3_PATTERN.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'(?i:s|t|re|ve|m|ll|d))")
    folder = edited(tiny_models.tiny_llama(tmp_path / "source"), split_with(same))
    assert proven(folder, tmp_path).vocabulary.metadata["tokenizer.ggml.pre"] == "llama-bpe"


def ignore_no_merges(content: dict[str, Any]) -> None:
    content["model"]["ignore_merges"] = False


def test_merges_that_count_choose_the_name_that_counts_them(tmp_path: Path) -> None:
    folder = edited(tiny_models.tiny_llama(tmp_path / "source"), ignore_no_merges)
    assert proven(folder, tmp_path).vocabulary.metadata["tokenizer.ggml.pre"] == "smaug-bpe"


def lowercase(content: dict[str, Any]) -> None:
    content["normalizer"] = {"type": "Lowercase"}


def prefix_space(content: dict[str, Any]) -> None:
    content["pre_tokenizer"]["pretokenizers"][-1]["add_prefix_space"] = True


def two_before(content: dict[str, Any]) -> None:
    single = content["post_processor"]["single"]
    content["post_processor"]["single"] = [single[0], *single]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (split_with(r"\p{N}{1,2}|\p{L}+|[^\p{L}\p{N}]+"), "llama.cpp has no pre-tokenizer that gives the same ids: '"),
        (lowercase, "llama.cpp has no pre-tokenizer that gives the same ids: 'Hello, world!' from id 1"),
        (prefix_space, "llama.cpp has no pre-tokenizer that gives the same ids: 'Hello, world!' from id 1"),
        (two_before, r"puts ids \[0, 0\] before and \[\] after a text"),
    ],
    ids=["pattern", "lowercase", "prefix space", "two BOS"],
)
def test_a_tokenizer_the_engine_cannot_follow_is_refused(edit: Edit, message: str, tmp_path: Path) -> None:
    folder = edited(tiny_models.tiny_llama(tmp_path / "source"), edit)
    path = tmp_path / "model.gguf"
    with pytest.raises(BadTokenizer, match=message) as caught:
        write_gguf(open_model(folder), path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.glob("*.gguf")) == list(tmp_path.glob(".*")) == []


def test_the_refusal_shows_text_and_both_lists_of_ids(tmp_path: Path) -> None:
    folder = edited(tiny_models.tiny_llama(tmp_path / "source"), lowercase)
    with pytest.raises(BadTokenizer, match=r"from id \d+: \[\d+.*\] expected, \[\d+.*\] as llama-bpe"):
        proven(folder, tmp_path)


def test_swapped_tokens_are_refused(tmp_path: Path) -> None:
    """The wrong vocabulary of the right kind: two merges' results exchange their ids, in the file for the engine."""
    model = open_model(tiny_models.tiny_llama(tmp_path / "source"))
    source = read_source(model, lay_out(model).shape.vocabulary)
    content = json.loads(json.dumps(source.content))
    vocab = content["model"]["vocab"]
    vocab["he"], vocab["er"] = vocab["er"], vocab["he"]
    with pytest.raises(BadTokenizer, match="the same ids"):
        prove(replace(source, content=content), lay_out(model).metadata, tmp_path)


def test_added_tokens_inside_a_text_are_compared(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    tiny_models.tiny_llama(folder)
    size = tiny_tokenizers.byte_level(folder, extra_tokens=("<tool>", "  ", "résumé", "\n\n\n"))
    config = json.loads((folder / "config.json").read_text())
    assert size > config["vocab_size"]
    folder = tiny_models.tiny_llama(tmp_path / "larger", vocab_size=size)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tmp_path / "source" / name).read_bytes())
    found = proven(folder, tmp_path).vocabulary.metadata
    types = dict(zip(found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"], strict=True))
    assert types["<tool>"] == types["résumé"] == 4


def prepend_first(content: dict[str, Any]) -> None:
    content["normalizer"] = None
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


def test_spaces_the_engine_adds_and_metaspace_does_not_are_noted(tmp_path: Path) -> None:
    folder = edited(tiny_models.tiny_mistral(tmp_path / "source"), prepend_first)
    found = proven(folder, tmp_path)
    (note,) = found.notes
    assert not found.exact
    assert note.startswith("the engine puts a space before a text that starts with one, and after special tokens")


def phi3_tokens(content: dict[str, Any]) -> None:
    content["added_tokens"] = [token | {"rstrip": token["content"] == "</s>"} for token in content["added_tokens"]]
    size = len(content["model"]["vocab"])
    for number, name in enumerate(("<|endoftext|>", "<|assistant|>", "<|end|>"), start=size):
        token = {"id": number, "content": name, "special": True, "normalized": False, "single_word": False}
        content["added_tokens"].append(token | {"lstrip": False, "rstrip": name != "<|endoftext|>"})


def test_tokens_that_strip_what_follows_are_followed_where_the_engine_can(tmp_path: Path) -> None:
    folder = edited(tiny_models.tiny_phi3(tmp_path / "source", vocab_size=700), phi3_tokens)
    found = proven(folder, tmp_path)
    assert "phi-3" in found.vocabulary.metadata["general.name"]
    assert found.notes == ()


def test_a_name_that_would_switch_a_habit_on_is_withheld(tmp_path: Path) -> None:
    folder = tiny_models.tiny_mistral(tmp_path / "not-a-phi3-at-all")
    write_gguf(open_model(folder), tmp_path / "model.gguf", "Q8_0")
    assert "phi3" not in metadata(tmp_path / "model.gguf")["general.name"]


def incomplete_merges(content: dict[str, Any]) -> None:
    seen: set[str] = set()
    kept = []
    for left, right in content["model"]["merges"]:
        across_lines = "\n" in left + right and (left + right).strip("\n")
        if left + right not in seen and not across_lines:
            kept.append([left, right])
            seen.add(left + right)
    content["model"]["merges"] = kept


def test_pieces_whose_merges_are_incomplete_are_ranked_by_pair(tmp_path: Path) -> None:
    """A BPE trained by `tokenizers` has one merge a piece: scores of pieces would merge pairs it never learnt."""
    folder = edited(tiny_models.tiny_gemma2(tmp_path / "source"), incomplete_merges)
    assert proven(folder, tmp_path).vocabulary.metadata["tokenizer.ggml.model"] == "gemma4"


def test_what_stripping_marks_changes_is_noted_for_uncased_wordpiece_alone(tmp_path: Path) -> None:
    uncased = tiny_models.tiny_sentence_encoder(tmp_path / "uncased")
    cased = tiny_models.tiny_sentence_encoder(tmp_path / "cased", lowercase=False)
    found = proven(uncased, tmp_path)
    assert not found.exact
    assert found.notes[0].startswith("the engine strips vowel signs")
    assert proven(cased, tmp_path).exact


def test_a_tokenizer_that_composes_its_input_is_told_apart(tmp_path: Path) -> None:
    composing = proven(tiny_models.tiny_qwen2(tmp_path / "qwen2"), tmp_path)
    plain = proven(tiny_models.tiny_llama(tmp_path / "llama"), tmp_path)
    assert (composing.composes, plain.composes) == (True, False)
    assert composing.exact
    assert plain.exact
    assert "pass composed text (NFC)" in composing.notes[0]


def without_byte(content: dict[str, Any]) -> None:
    del content["model"]["vocab"]["<0xE3>"]


def two_alike(content: dict[str, Any]) -> None:
    vocab = content["model"]["vocab"]
    words = {word for word in vocab if not word.startswith(("##", "["))}
    continued = next(word for word in vocab if word.startswith("##") and len(word) > 3)
    vocab["▁" + next(iter(words))] = vocab.pop(continued)
    vocab["##▁" + next(iter(words))] = vocab.pop(next(word for word in vocab if word.startswith("##")))


@pytest.mark.parametrize(
    ("make", "edit", "message"),
    [
        (tiny_models.tiny_mistral, without_byte, "the byte token <0xE3> is missing"),
        (tiny_models.tiny_sentence_encoder, two_alike, "as the engine would store them"),
        (
            tiny_models.tiny_mistral,
            lambda content: content.update(model={"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}),
            "a Unigram tokenizer cannot be written",
        ),
    ],
    ids=["byte token", "duplicate", "unigram"],
)
def test_what_would_abort_the_engine_is_refused_first(
    make: Callable[[Path], Path], edit: Edit, message: str, tmp_path: Path
) -> None:
    folder = edited(make(tmp_path / "source"), edit)
    with pytest.raises(BadTokenizer, match=message):
        write_gguf(open_model(folder), tmp_path / "model.gguf")


def test_more_tokens_than_embeddings_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.tiny_llama(tmp_path / "source")
    size = tiny_tokenizers.byte_level(folder, vocab_size=540)
    with pytest.raises(BadTokenizer, match=rf"token id {size - 1} is beyond the model's \d+ embeddings"):
        write_gguf(open_model(folder), tmp_path / "model.gguf")


GROWN = partial(tiny_models.tiny_llama, vocab_size=600)


def test_embeddings_without_a_token_are_unused(tmp_path: Path) -> None:
    found = proven(GROWN(tmp_path / "source"), tmp_path).vocabulary.metadata
    assert found["tokenizer.ggml.tokens"][-1] == "[PAD599]"
    assert found["tokenizer.ggml.token_type"][-1] == 5
