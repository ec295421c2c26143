"""How much work a GGUF file is for llama.cpp, and what its process holds: amounts from shapes alone.

Terms of time. The names are the keys of the fitted factors. T is a GGML type; a multiplication and an addition count as
two operations.

    "T weights"     decode   flops    2 a weight of type T: one token at a time, every row is a dot product
    "T products"    prefill, flops    2 a weight and token of type T; the output for the last token of a batch only
                    encode
    "attention"     all      flops    4 a query value and token seen: its products with the keys, and with the values
    "bytes read"    all      bytes    weights once a batch, and the cache before the token; an embedding that is not
                                      also the output is looked up by the row
    "operations"    all      seconds  nodes of the graph, each dispatched to all threads and waited for

Products of quantized weights are counted in flops as well: ggml spends most of a dot product on unpacking, in the same
vector units, at the width and clock that the float32 figure states. That figure is known of more devices than one for
8-bit operations; what a CPU's 8-bit instructions gain is in the factors, which are fitted for each ISA.

Terms of memory, as measured in fresh processes of the runtime on x86-64 Linux (peak within a few percent):

    "mapped file"           file          tensor data; the file is mapped and read ahead whole, its header let go of
    "libraries"             file          pages of Python, numpy and the engine
    "process"               anonymous     interpreter, engine, graph; with byte-level BPE its tables
    "vocabulary"            anonymous     tokens and merges in the engine's maps
    "tokenizers library"    file          its pages, where the engine's ids differ from the source's
    "tokenizers"            anonymous     tokenizer.json as that library keeps it
    "repacked weights"      anonymous     copies in the CPU's order, see `repack`
    "KV cache"              kv            float16, filled with zeros at once: all of it is resident
    "activations"           activations   what a batch needs at once, and the mask of its attention
    "logits"                activations   one row of the vocabulary for a decoder (twice: graph and output), for an
                                          encoder one for every token, which the engine reserves without using
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgekit.costs import TIMED_TOKENS, MemoryTerm, Setting, Term, Work
from edgekit.strategies.gguf.repack import repacked
from edgekit.strategies.gguf.vocabulary_size import VocabularySize
from edgekit.strategies.gguf.weights import Weights

BATCH_TOKENS = 128
"""A decoder's prompt goes in by pieces of this many tokens: the runtime's own constant."""
_CACHE_STEP = 256
"""The engine rounds a context up to whole steps of this many tokens."""

_LIBRARY_BYTES = 24_500 << 10
_PROCESS_BYTES, _MERGE_TABLE_BYTES = 26_200 << 10, 2_100 << 10
_TOKEN_BYTES, _MERGE_BYTES = 150, 143
_TOKENIZERS_LIBRARY_BYTES, _TOKENIZERS_BYTES = 5_100 << 10, 700 << 10
_JSON_TOKEN_BYTES, _JSON_MERGE_BYTES = 260, 140
# Floats of a token that are alive at once: residual, normed, and attention's; the feed-forward's with their 8-bit copy.
_LIVE_WIDTHS, _LIVE_INNER, _EIGHT_BIT = 4, 1, 0.27


@dataclass(frozen=True)
class Attention:
    """How far tokens see: `sliding` of the layers no further than `window` tokens back."""

    causal: bool
    sliding: int = 0
    window: int = 0

    def seen(self, layers: int, before: int) -> int:
        """Tokens that one token sees in all layers together, with `before` tokens before it."""
        return (layers - self.sliding) * before + self.sliding * min(before, self.window)

    def seen_in_all(self, layers: int, tokens: int) -> int:
        """What `seen` adds up to over a whole text of `tokens`, each seeing itself as well."""
        if not self.causal:
            return layers * tokens * tokens
        near = min(tokens, self.window)
        slid = near * (near + 1) // 2 + (tokens - near) * self.window
        return (layers - self.sliding) * (tokens * (tokens + 1) // 2) + self.sliding * slid


@dataclass(frozen=True)
class Load:
    """A file as the engine runs it: `context` is the longest the model takes."""

    weights: Weights
    vocabulary: VocabularySize
    attention: Attention
    context: int

    @property
    def decodes(self) -> bool:
        return self.attention.causal

    def context_tokens(self, setting: Setting) -> int:
        return max(1, min(setting.context_tokens, self.context))


def work(load: Load, setting: Setting) -> Work:
    context = load.context_tokens(setting) if load.decodes else load.context
    lengths = sorted({min(length, context) for length in setting.lengths if length > 0})
    memory = tuple(_memory(load, setting, context))
    if not load.weights.known:
        return Work(memory, {})
    if not load.decodes:
        return Work(memory, {"encode": {tokens: tuple(_batch(load, tokens, tokens)) for tokens in lengths}})
    depths = dict.fromkeys((min(TIMED_TOKENS, context), context))
    return Work(
        memory,
        {
            "prefill": {tokens: tuple(_batch(load, tokens, BATCH_TOKENS)) for tokens in lengths},
            "decode": {before: tuple(_step(load, before)) for before in depths},
        },
    )


def _step(load: Load, before: int) -> Iterator[Term]:
    """One token with `before` tokens before it."""
    weights = load.weights
    for ggml_type, count in _added(weights.products, weights.output).items():
        yield Term(f"{ggml_type} weights", 2.0 * count, "flops")
    seen = load.attention.seen(weights.layers, before)
    yield Term("attention", 4.0 * weights.query_width * seen, "flops")
    yield Term("bytes read", weights.read_bytes + 2.0 * weights.cached * seen / max(weights.layers, 1), "bytes")
    yield Term("operations", float(weights.nodes), "seconds")


def _batch(load: Load, tokens: int, batch_tokens: int) -> Iterator[Term]:
    """A text of `tokens` in batches."""
    weights, batches = load.weights, -(-tokens // max(batch_tokens, 1))
    every = {ggml_type: count * tokens for ggml_type, count in weights.products.items()}
    last = {ggml_type: count * batches for ggml_type, count in weights.output.items()}
    for ggml_type, count in _added(every, last).items():
        yield Term(f"{ggml_type} products", 2.0 * count, "flops")
    seen = load.attention.seen_in_all(weights.layers, tokens)
    yield Term("attention", 4.0 * weights.query_width * seen, "flops")
    yield Term("bytes read", float(weights.read_bytes * batches), "bytes")
    yield Term("operations", float(weights.nodes * batches), "seconds")


def _memory(load: Load, setting: Setting, context: int) -> Iterator[MemoryTerm]:
    weights, vocabulary = load.weights, load.vocabulary
    yield MemoryTerm("mapped file", weights.data_bytes, "file")
    yield MemoryTerm("libraries", _LIBRARY_BYTES, "file")
    yield MemoryTerm("process", _PROCESS_BYTES + (_MERGE_TABLE_BYTES if vocabulary.merges else 0), "anonymous")
    texts = _TOKEN_BYTES * vocabulary.tokens + _MERGE_BYTES * vocabulary.merges
    yield MemoryTerm("vocabulary", texts, "anonymous")
    if vocabulary.needs_tokenizer_json:
        yield MemoryTerm("tokenizers library", _TOKENIZERS_LIBRARY_BYTES, "file")
        size = _TOKENIZERS_BYTES + _JSON_TOKEN_BYTES * vocabulary.tokens + _JSON_MERGE_BYTES * vocabulary.json_merges
        yield MemoryTerm("tokenizers", size, "anonymous")
    copies = sum(repacked(weights, setting.device).values())
    if copies:
        yield MemoryTerm("repacked weights", copies, "anonymous")
    batch = min(BATCH_TOKENS, context)
    if load.decodes:
        cells = -(-context // _CACHE_STEP) * _CACHE_STEP
        yield MemoryTerm("KV cache", 2 * weights.cached * cells, "kv")
        rows = 2
    else:
        batch = cells = rows = context
    inner = weights.inner * ((2 if weights.gated else 1) * _LIVE_INNER + _EIGHT_BIT)
    live = 4 * batch * (_LIVE_WIDTHS * weights.width + inner)
    yield MemoryTerm("activations", live + 2 * batch * cells, "activations")
    yield MemoryTerm("logits", 4 * rows * weights.vocabulary, "activations")


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in (*one, *(key for key in other if key not in one))}
