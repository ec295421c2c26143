"""Terms against amounts done by hand; what must hold for every context."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.devices import device, figure, setting
from fixtures.gguf_models import stored_llama
from hypothesis import given
from hypothesis import strategies as st

from edgekit.costs import Setting, Term, Work
from edgekit.costs.factors import Factors, Row
from edgekit.costs.roofline import seconds
from edgekit.strategies.gguf.estimate import Attention, Load, work
from edgekit.strategies.gguf.vocabulary_size import VocabularySize
from edgekit.strategies.gguf.weights import weigh

LAYERS = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64)
TABLE = 100 * 64
VOCABULARY = VocabularySize(100, 90, 90, 3000, 0, needs_tokenizer_json=False)
LLAMA = Load(weigh(stored_llama(), decodes=True), VOCABULARY, Attention(causal=True), 2048)
BERT = replace(LLAMA, weights=weigh(stored_llama()[:1] + stored_llama()[2:], decodes=False), attention=Attention(False))


def terms(work: Work, phase: str, tokens: int) -> dict[str, Term]:
    found = {term.name: term for term in work.terms[phase][tokens]}  # type: ignore[index]
    assert len(found) == len(work.terms[phase][tokens])  # type: ignore[index]
    return found


def memory(load: Load, context: int, *features: str) -> dict[str, float]:
    return {term.name: term.bytes for term in work(load, setting(device(*features), context)).memory}


def test_a_step_is_every_weight_once_the_cache_and_the_graph() -> None:
    step = terms(work(LLAMA, setting(device(), 1024)), "decode", 128)
    assert step["Q4_0 weights"] == Term("Q4_0 weights", 2 * LAYERS, "flops")
    assert step["Q8_0 weights"].amount == 2 * TABLE
    assert step["attention"].amount == 2 * 4 * 64 * 128
    read = LAYERS // 32 * 18 + (TABLE // 32 * 34 + 16) + 5 * 64 * 4  # padded to 32 bytes
    assert step["bytes read"] == Term("bytes read", read + 128 * 2 * (32 + 32) * 2, "bytes")
    assert step["operations"].unit == "seconds"


def test_decoding_is_told_at_the_timed_length_first_and_at_the_whole_context() -> None:
    told = work(LLAMA, setting(device(), 1024)).terms["decode"]
    assert list(told) == [128, 1024]
    assert list(work(LLAMA, setting(device(), 64)).terms["decode"]) == [64]
    near, far = (terms(work(LLAMA, setting(device(), 1024)), "decode", before) for before in told)
    assert far["attention"].amount == 8 * near["attention"].amount
    assert far["Q4_0 weights"] == near["Q4_0 weights"]


def test_a_prompt_goes_in_by_batches_of_which_only_the_last_token_is_scored() -> None:
    asked = replace(setting(device(), 1024), lengths=(200,))
    prompt = terms(work(LLAMA, asked), "prefill", 200)
    assert prompt["Q4_0 products"].amount == 2 * LAYERS * 200
    assert prompt["Q8_0 products"].amount == 2 * TABLE * 2
    assert prompt["attention"].amount == 2 * 4 * 64 * (200 * 201 // 2)
    step = terms(work(LLAMA, asked), "decode", 128)
    assert prompt["operations"].amount == 2 * step["operations"].amount
    assert prompt["bytes read"].amount == 2 * (step["bytes read"].amount - 128 * 2 * 128)


def test_lengths_beyond_the_context_are_told_at_the_context() -> None:
    told = work(LLAMA, replace(setting(device(), 256), lengths=(16, 512, 4096))).terms["prefill"]
    assert list(told) == [16, 256]


def test_an_encoder_sees_every_token_from_every_token_and_scores_none() -> None:
    told = work(BERT, setting(device()))
    assert list(told.terms) == ["encode"]
    text = terms(told, "encode", 128)
    assert text["attention"].amount == 2 * 4 * 64 * 128 * 128
    assert "Q8_0 products" not in text
    assert {term.part for term in told.memory} == {"file", "anonymous", "activations"}


def test_sliding_layers_see_no_further_than_their_window() -> None:
    slides = Attention(causal=True, sliding=3, window=16)
    assert slides.seen(4, 10) == 40
    assert slides.seen(4, 100) == 100 + 3 * 16
    assert slides.seen_in_all(4, 100) == sum(slides.seen(4, before) for before in range(1, 101))
    assert Attention(causal=True).seen_in_all(2, 5) == 2 * 15


def test_memory_is_the_file_the_cache_and_what_the_engine_builds() -> None:
    held = memory(LLAMA, 1000)
    assert held["mapped file"] == LLAMA.weights.data_bytes
    assert held["KV cache"] == 1024 * 2 * 2 * (32 + 32)
    assert held["logits"] == 2 * 4 * 100
    assert "repacked weights" not in held
    assert "tokenizers" not in held
    assert memory(LLAMA, 1000, "avx2")["repacked weights"] == LAYERS // 32 * 18


def test_the_tokenizers_library_counts_where_the_engine_s_ids_differ() -> None:
    differs = replace(LLAMA, vocabulary=replace(VOCABULARY, needs_tokenizer_json=True))
    held = memory(differs, 256)
    assert held["tokenizers library"] > 5e6
    more = replace(differs, vocabulary=replace(differs.vocabulary, json_merges=1090))
    assert memory(more, 256)["tokenizers"] - held["tokenizers"] == 140 * 1000


def test_an_encoder_s_context_holds_a_row_of_the_vocabulary_for_every_token() -> None:
    assert memory(BERT, 16)["logits"] == 4 * 100 * BERT.context


def test_what_shapes_do_not_tell_has_memory_and_no_speed() -> None:
    odd = replace(LLAMA, weights=replace(LLAMA.weights, known=False))
    told = work(odd, setting(device()))
    assert told.terms == {}
    assert told.memory


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_a_longer_context_never_takes_less(context: int, more: int) -> None:
    one, other = (work(LLAMA, setting(device("avx2"), tokens)) for tokens in (context, context + more))
    for few, many in zip(one.memory, other.memory, strict=True):
        assert few.name == many.name
        assert few.bytes <= many.bytes
    steps = [list(told.terms["decode"].values())[-1] for told in (one, other)]
    assert all(few.amount <= many.amount for few, many in zip(*steps, strict=True))


def priced_in(setting: Setting) -> float | None:
    estimate = seconds(work(LLAMA, setting).terms["decode"][128], "llama.cpp", "decode", setting)
    return None if estimate is None else estimate.mid


def test_time_is_told_only_where_rates_and_factors_are_known() -> None:
    names = {term.name for term in work(LLAMA, setting(device())).terms["decode"][128]}
    row = Row("llama.cpp", "decode", "avx2", dict.fromkeys(names, 1.0), 1.0, 1.0, 1, "test")
    known = device("avx2", fp32_flops_per_s=figure(1e11))
    bandwidth = type(known.memory_bandwidth)(sustained_bytes_per_s=figure(1e10))
    with_both = known.model_copy(update={"memory_bandwidth": bandwidth})
    assert priced_in(setting(with_both, factors=Factors((row,)))) is not None
    assert priced_in(setting(known, factors=Factors((row,)))) is None
    assert priced_in(setting(with_both, factors=Factors(()))) is None
    without = replace(row, factors={name: 1.0 for name in names if name != "Q4_0 weights"})
    assert priced_in(setting(with_both, factors=Factors((without,)))) is None


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_no_term_is_named_twice(phase: str) -> None:
    same = replace(LLAMA, weights=weigh(stored_llama("Q8_0"), decodes=True))
    for found in work(same, setting(device())).terms[phase].values():  # type: ignore[index]
        names = [term.name for term in found]
        assert len(set(names)) == len(names)
