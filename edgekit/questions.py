"""What both sides are asked: inputs from the user's data or what stands in for it, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from edgekit.errors import BadEvalData
from edgekit.evaluation import EvalSet, Input
from edgekit.fidelity import Truth
from edgekit.limits import Limits
from edgekit.model import SourceModel
from edgekit.reference import Reference, TextReference

DECODE_TOKENS = 32
# What a language model's goldens ask besides the evaluation's inputs: a text, and the first of these conversations that
# the chat template takes and the context holds.
GOLDEN_TEXT = "The ferry leaves at half past six; a ☕ is 3,14 €."
GOLDEN_CHATS: Sequence[Sequence[Mapping[str, str]]] = (
    (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a café? 🌍"},
        {"role": "assistant", "content": "A place to sit."},
        {"role": "user", "content": " Thanks!\n"},
    ),
    (
        {"role": "user", "content": "What is a café? 🌍"},
        {"role": "assistant", "content": "A place to sit."},
        {"role": "user", "content": " Thanks!\n"},
    ),
    ({"role": "user", "content": "Hi 🌍"},),
)
_LATENCY_TOKENS = 128
_LM_WINDOW_TOKENS = 256
_LM_MAX_TOKENS = 8192
_LM_MAX_LOGIT_BYTES = 2**30
_SAMPLED_SEQUENCES = 4
_SAMPLED_TOKENS = 128


@dataclass(frozen=True)
class Prompt:
    """A text, or messages, with the token ids that the source's tokenizer makes of them."""

    given: str | Sequence[Mapping[str, str]]
    ids: Sequence[int]


@dataclass(frozen=True)
class Questions:
    """What both sides are asked: the inputs, what is known of them, one input to time, and the longest the bundle
    takes, on which its memory is measured (None where all inputs are of one size). `latency_tokens` is the length of
    the input that is timed, 0 where there are no tokens. `prompts` are asked for the goldens alone, of language models.
    """

    inputs: Sequence[Input]
    truth: Truth
    latency: Input
    latency_told: str
    origin: str
    longest: Input | None = None
    latency_tokens: int = 0
    prompts: Sequence[Prompt] = ()

    def cut(self, most_inputs: int | None, most_tokens: int | None) -> Questions:
        """The first inputs only, and of token ids the first `most_tokens` in all, but two at least."""
        inputs = list(self.inputs if most_inputs is None else self.inputs[:most_inputs])
        if most_tokens is not None and self.truth.ids:
            left, kept = max(2, most_tokens), []
            for ids in cast("list[Sequence[int]]", inputs):
                if left >= 2:
                    kept.append(list(ids[:left]))
                    left -= len(kept[-1])
            inputs = [*kept]
        if [len(each) for each in inputs] == [len(each) for each in self.inputs]:
            return self
        told = f"the first {len(inputs)} of {len(self.inputs)} inputs"
        if self.truth.ids:
            told += f", {sum(map(len, inputs))} tokens,"
        truth = self.truth.first(len(inputs), [len(each) for each in inputs])
        return replace(self, inputs=inputs, truth=truth, origin=f"{told} of {self.origin}")


def ask(model: SourceModel, reference: Reference, data: EvalSet | None, fallback: EvalSet, limits: Limits) -> Questions:
    """Turn evaluation data (the user's, or `fallback`) into inputs for both sides."""
    if model.task == "causal-lm":
        return _ask_language_model(model, cast(TextReference, reference), data, limits)
    data = data or fallback
    if data.arrays:
        truth = Truth(targets=_targets(data, model), multi_label=_is_multi_label(model))
        return Questions(data.arrays, truth, data.arrays[0], "one input", data.origin)
    return _ask_text(model, cast(TextReference, reference), data)


def _is_multi_label(model: SourceModel) -> bool:
    return model.config.get("problem_type") == "multi_label_classification"


def _ask_text(model: SourceModel, reference: TextReference, data: EvalSet) -> Questions:
    texts = data.texts or tuple(" ".join(words) for words in data.words)
    targets = _word_targets(data, model, reference) if data.words else _targets(data, model)
    longest = min(_LATENCY_TOKENS, model.text.max_tokens if model.text else _LATENCY_TOKENS)
    latency, count = _text_of(longest, texts, reference)
    fullest, _ = _text_of(model.text.max_tokens, texts, reference) if model.text else (None, 0)
    truth = Truth(targets=targets, pair_scores=data.pair_scores, multi_label=_is_multi_label(model))
    return Questions(texts, truth, latency, f"one text of {count} tokens", data.origin, fullest, count)


def _ask_language_model(
    model: SourceModel, reference: TextReference, data: EvalSet | None, limits: Limits
) -> Questions:
    context = min(limits.context_tokens, model.text.max_tokens if model.text else limits.context_tokens)
    if data is None:
        ids = reference.sample(_SAMPLED_SEQUENCES, min(_SAMPLED_TOKENS, context))
        origin = f"{len(ids)} texts of {len(ids[0])} tokens drawn from the source model itself (temperature 1, seed 0)"
    else:
        vocabulary = int(model.config.get("vocab_size", 2**17))
        most = min(_LM_MAX_TOKENS, _LM_MAX_LOGIT_BYTES // (4 * vocabulary))
        ids = _windows((reference.tokenize(text) for text in data.texts), min(_LM_WINDOW_TOKENS, context), most)
        origin = f"{data.origin}, {sum(map(len, ids))} tokens in windows of up to {min(_LM_WINDOW_TOKENS, context)}"
    if not ids:
        raise BadEvalData(f"{origin}: no text has two tokens, so nothing follows anything", "give longer texts")
    flat = [token for sequence in ids for token in sequence]
    prompt = (flat * _LATENCY_TOKENS)[: max(1, min(_LATENCY_TOKENS, context - DECODE_TOKENS - 1))]
    told = f"a prompt of {len(prompt)} tokens, {DECODE_TOKENS} decoded"
    prompts = _golden_prompts(reference, context)
    return Questions(ids, Truth(ids=ids), prompt, told, origin, latency_tokens=len(prompt), prompts=prompts)


def _golden_prompts(reference: TextReference, context_tokens: int) -> list[Prompt]:
    """Those that leave room for a token to follow."""
    found = [Prompt(GOLDEN_TEXT, reference.tokenize(GOLDEN_TEXT))]
    for messages in GOLDEN_CHATS:
        ids = reference.chat_ids(messages)
        if ids and len(ids) < context_tokens:
            found.append(Prompt(messages, ids))
            break
    return [each for each in found if 0 < len(each.ids) < context_tokens]


def _windows(texts: Iterable[list[int]], window: int, most: int) -> list[list[int]]:
    """Windows of at least two tokens, `most` tokens in all (of at least one window)."""
    windows: list[list[int]] = []
    taken = 0
    for ids in texts:
        for start in range(0, len(ids), window):
            piece = ids[start : start + window]
            if len(piece) < 2:
                continue
            if windows and taken + len(piece) > most:
                return windows
            windows.append(piece)
            taken += len(piece)
    return windows


def _text_of(tokens: int, texts: Sequence[str], reference: TextReference) -> tuple[str, int]:
    """Words of `texts` joined into one text of at most `tokens` tokens (one word at least), and how many it has."""
    words = [word for text in texts for word in text.split()] or ["edge"]
    words = (words * (tokens // len(words) + 1))[:tokens]
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if len(reference.tokenize(" ".join(words[:middle]))) <= tokens:
            low = middle
        else:
            high = middle - 1
    text = " ".join(words[:low])
    return text, len(reference.tokenize(text))


def _targets(data: EvalSet, model: SourceModel) -> list[list[tuple[int, int]]] | None:
    if data.labels is None:
        return None
    return [[(0, model.labels.index(str(label)))] for label in data.labels]


def _word_targets(data: EvalSet, model: SourceModel, reference: TextReference) -> list[list[tuple[int, int]]] | None:
    """The first token of each word carries its label, as in the CoNLL convention."""
    if data.labels is None:
        return None
    targets = []
    for words, labels in zip(data.words, data.labels, strict=True):
        starts = np.cumsum([0] + [len(word) + 1 for word in words[:-1]])
        rows = reference.rows_at(" ".join(words), [int(start) for start in starts])
        targets.append(
            [(row, model.labels.index(label)) for row, label in zip(rows, labels, strict=True) if row is not None]
        )
    if not any(targets):
        raise BadEvalData(f"{data.origin}: no labelled word is within the model's longest input", "give shorter rows")
    return targets
