"""Bundles for llama.cpp, through the C functions that llama-cpp-python binds. The file is memory-mapped, CPU only."""

from __future__ import annotations

import ctypes
import operator
import os
import threading
import time
import unicodedata
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _chat
from ._bundle import inside, setting
from ._sample import Sampler
from ._text import Encoder, check_text
from ._versions import check
from .errors import BadInput, Cancelled, LoadFailed, PromptTooLong, RunFailed, WrongTask

Floats = npt.NDArray[np.float32]

# A prompt goes in by pieces of this many tokens: cancel() is heard between them, and the engine's buffers stay small.
BATCH_TOKENS = 128
# Rows of logits fetched at once. The engine reserves this many rows of the vocabulary's width, and aborts beyond them.
OUTPUT_ROWS = 32
# The length of an answer when nobody names one.
DEFAULT_MAX_TOKENS = 256

_LOG_ERROR = 4
_complaints: deque[str] = deque(maxlen=4)


class Engine:
    """One GGUF file and one context. Not safe to call from two threads: the session sees to that."""

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        threads: int,
        low_memory: bool,
        model: Path | None = None,
        isa_safety: bool = True,
    ) -> None:
        del isa_safety  # its sums never saturate
        self._folder, self._manifest = folder, manifest
        embedding = manifest["task"] == "embedding"
        section, key = ("text", "max_tokens") if embedding else ("generation", "context_tokens")
        self._limit = setting(manifest, section, key, int)
        if not 1 <= self._limit < 2**31:
            raise LoadFailed(f"{section}.{key} is {self._limit}, expected 1 to {2**31 - 1}")
        self._llama, self.version = _library()
        model = model or folder / manifest["model_file"]
        self._model, self._context = _load(self._llama, model, self._limit, embedding, threads, low_memory)
        self._batch_tokens = self._limit if embedding else min(BATCH_TOKENS, self._limit)
        self._batch = self._llama.llama_batch_init(self._batch_tokens, 0, 1)
        # Runs once: by close(), when the session is forgotten, or at exit.
        self._free = weakref.finalize(self, _free, self._llama, self._model, self._context, self._batch)
        self._vocab = self._llama.llama_model_get_vocab(self._model)
        self._vocab_size = int(self._llama.llama_vocab_n_tokens(self._vocab))
        self._cancelled = threading.Event()
        text = manifest.get("text") or {}
        # The engine's own vocabulary, unless pack found that it does not give the source's ids on every text.
        self._form: Literal["NFC"] | None = "NFC" if text.get("unicode_form") == "NFC" else None
        self._encoder: Encoder | None = None
        if isinstance(text.get("tokenizer"), str):
            self._encoder = Encoder(
                inside(folder, manifest, text["tokenizer"]), setting(manifest, "text", "max_tokens", int), {}
            )

    def begin(self) -> None:
        """A call starts: forget an earlier cancel."""
        self._cancelled.clear()

    def cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        self._free()

    @property
    def special_texts(self) -> tuple[str, str]:
        """How the vocabulary spells the tokens for the beginning and the end of a text; "" for one it lacks."""
        return _spelt(self._llama, self._vocab)

    @property
    def vocabulary(self) -> int:
        return self._vocab_size

    def tokenize(self, text: str, add_special: bool = True) -> list[int]:
        """Ids with the special tokens the model wants, and those spelt out in the text taken for what they are."""
        check_text(text)
        if self._encoder is not None:
            return self._encoder.ids(text, add_special)
        raw = (unicodedata.normalize(self._form, text) if self._form else text).encode("utf-8")
        room = len(raw) + 16
        while True:
            ids = (ctypes.c_int32 * room)()
            count = self._llama.llama_tokenize(self._vocab, raw, len(raw), ids, room, add_special, True)
            if count >= 0:
                return ids[:count]
            if count == -(2**31):
                raise BadInput(f"a text of {len(raw)} bytes is too long to tokenize")
            room = -count

    def embed(self, texts: Sequence[str], _batch_size: int) -> Floats:
        """One text after another, cut to max_tokens: nothing is padded, so nothing depends on a batch."""
        width = setting(self._manifest, "embedding", "width", int)
        rows = [self._embed_ids(self.tokenize(text), width) for text in texts]
        vectors = np.asarray(rows, np.float32).reshape(len(rows), width)
        if setting(self._manifest, "embedding", "normalize", bool):
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _embed_ids(self, ids: list[int], width: int) -> Floats:
        if len(ids) > self._limit:
            ids = [*ids[: self._limit - 1], ids[-1]]  # the closing special token stays
        self._forget()
        self._decode(self._checked(ids), 0, outputs=len(ids))
        found = self._llama.llama_get_embeddings_seq(self._context, 0)
        have = int(self._llama.llama_model_n_embd_out(self._model))
        if not found or have != width:
            raise RunFailed(f"the engine gives {have if found else 'no'} values per text, the manifest says {width}")
        return np.array(np.ctypeslib.as_array(found, (width,)), np.float32)

    def logits(self, ids: Sequence[int], out: Floats | None) -> Floats:
        """Teacher-forced: row i scores what follows ids[: i + 1]. Written into `out` if given."""
        ids = self._checked(ids)
        if len(ids) > self._limit:
            raise PromptTooLong(f"{len(ids)} tokens do not fit the context of {self._limit}")
        if out is None:
            out = np.empty((len(ids), self._vocab_size), np.float32)
        if out.shape != (len(ids), self._vocab_size) or out.dtype != np.float32:
            raise BadInput(f"out is {out.dtype} {list(out.shape)}, expected float32 [{len(ids)}, {self._vocab_size}]")
        self._forget()
        rows = min(OUTPUT_ROWS, self._batch_tokens)
        for start in range(0, len(ids), rows):
            piece = ids[start : start + rows]
            self._decode(piece, start, outputs=len(piece))
            found = self._llama.llama_get_logits(self._context)
            out[start : start + len(piece)] = np.ctypeslib.as_array(found, (len(piece), self._vocab_size))
        return out

    def prompt(self, prompt: str | Sequence[int], max_tokens: int | None) -> tuple[list[int], int]:
        """The prompt's ids and the most tokens that may follow, once it is certain that both fit the context."""
        if isinstance(prompt, str | bytes | bytearray):  # bytes are sequences of numbers too, but no ids
            prompt = self.tokenize(check_text(prompt))
        ids = self._checked(prompt)
        return self._fitting(ids, max_tokens)

    def chat_prompt(self, messages: Sequence[_chat.Message], max_tokens: int | None) -> tuple[list[int], int]:
        """As `prompt`, of the bundle's chat template; the template alone decides on special tokens."""
        path = (self._manifest.get("generation") or {}).get("chat_template")
        if not isinstance(path, str):
            raise WrongTask(f"{self._manifest['name']} is a base model without a chat template: use generate()")
        try:
            template = inside(self._folder, self._manifest, path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise LoadFailed(f"the chat template {path} cannot be read: {error}") from error
        text = _chat.render(template, messages, *self.special_texts)
        return self._fitting(self._checked(self.tokenize(text, add_special=False)), max_tokens)

    def _fitting(self, ids: list[int], max_tokens: int | None) -> tuple[list[int], int]:
        if max_tokens is None:
            max_tokens = max(1, min(DEFAULT_MAX_TOKENS, self._limit - len(ids)))
        if type(max_tokens) is not int or max_tokens < 1:
            raise BadInput(f"max_tokens is {max_tokens!r}, expected 1 or more")
        if len(ids) >= self._limit:
            does = "exceeds" if len(ids) > self._limit else "fills"
            raise PromptTooLong(f"a prompt of {len(ids)} tokens {does} the context of {self._limit}: shorten it")
        if len(ids) + max_tokens > self._limit:
            raise PromptTooLong(
                f"a prompt of {len(ids)} tokens and up to {max_tokens} of answer exceed the context of {self._limit}:"
                " shorten the prompt or lower max_tokens"
            )
        return ids, max_tokens

    def pieces(self, ids: list[int], max_tokens: int, sampler: Sampler) -> Iterator[bytes]:
        """The bytes of each token that follows `ids`, until one ends the text or `max_tokens` are out."""
        ends = set((self._manifest.get("generation") or {}).get("eos_token_ids") or ())
        for token in self.tokens(ids, max_tokens, sampler):
            if token in ends or self._llama.llama_vocab_is_eog(self._vocab, token):
                return
            yield self._piece(token)

    def tokens(self, ids: Sequence[int], max_tokens: int, sampler: Sampler) -> Iterator[int]:
        """The `max_tokens` ids that follow `ids`; the end of text is not heeded."""
        ids = self._checked(ids)
        self._forget()
        for start in range(0, len(ids), self._batch_tokens):
            self._decode(ids[start : start + self._batch_tokens], start, outputs=1)
        for position in range(len(ids), len(ids) + max_tokens):
            self._check_cancelled()
            found = self._llama.llama_get_logits_ith(self._context, -1)
            token = sampler.pick(np.ctypeslib.as_array(found, (self._vocab_size,)))
            yield token
            if position + 1 < len(ids) + max_tokens:
                self._decode([token], position, outputs=1)

    def step_seconds(self, ids: Sequence[int], steps: int) -> list[float]:
        """Wall time of the prompt with the first token, and of each of `steps` - 1 greedy ones after it."""
        ids, steps = self._fitting(self._checked(ids), steps)
        seconds, started = [], time.perf_counter()
        for _ in self.tokens(ids, steps, Sampler(0, 1, None)):
            seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
        return seconds

    def _checked(self, ids: Sequence[int]) -> list[int]:
        try:
            listed = [operator.index(token) for token in ids]
        except TypeError as error:
            raise BadInput(f"a prompt is {type(ids).__name__}, expected text or a list of token ids") from error
        if not listed:
            raise BadInput("there are no tokens: the text is empty and this model adds none of its own")
        if min(listed) < 0 or max(listed) >= self._vocab_size:
            raise BadInput(f"a token id is {min(listed)} or {max(listed)}, the vocabulary has {self._vocab_size}")
        return listed

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the call was cancelled")

    def _forget(self) -> None:
        memory = self._llama.llama_get_memory(self._context)
        if memory:  # an encoder has none
            self._llama.llama_memory_clear(memory, True)

    def _decode(self, ids: list[int], position: int, outputs: int) -> None:
        """Run tokens at `position`, asking for the results of the last `outputs` of them."""
        self._check_cancelled()
        batch = self._batch
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index >= len(ids) - outputs
        _complaints.clear()
        status = self._llama.llama_decode(self._context, batch)
        if status != 0:
            raise RunFailed(f"llama.cpp could not run {len(ids)} tokens (status {status}): {'; '.join(_complaints)}")

    def _piece(self, token: int) -> bytes:
        """The token's bytes; none for control tokens, which are not text."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._llama.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count


def special_texts(model_file: Path) -> tuple[str, str]:
    """How the file's own vocabulary spells its tokens for the beginning and the end of a text; "" for one it lacks."""
    llama, _ = _library()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(str(model_file).encode("utf-8"), params)
    if not model:
        raise LoadFailed(f"llama.cpp refuses {model_file.name}: {'; '.join(_complaints) or 'no reason given'}")
    try:
        return _spelt(llama, llama.llama_model_get_vocab(model))
    finally:
        llama.llama_model_free(model)


def _spelt(llama: Any, vocab: int) -> tuple[str, str]:
    tokens = (llama.llama_vocab_bos(vocab), llama.llama_vocab_eos(vocab))
    raw = (b"" if token < 0 else llama.llama_vocab_get_text(vocab, token) for token in tokens)
    bos, eos = (text.decode("utf-8", "replace") for text in raw)
    return bos, eos


def _library() -> tuple[Any, str]:
    """(the C functions, "llama-cpp-python VERSION"), silent from here on: complaints go into our errors."""
    try:
        import llama_cpp
        from llama_cpp import llama_cpp as functions
    except (ImportError, OSError, RuntimeError) as error:
        raise LoadFailed(f"the engine cannot be imported ({error}): pip install llama-cpp-python") from error
    version = check("llama-cpp-python", getattr(llama_cpp, "__version__", None))
    functions.llama_log_set(_log_callback(functions), ctypes.c_void_p(0))
    functions.llama_backend_init()
    _load_backends(functions)
    return functions, f"llama-cpp-python {version}"


def _load_backends(functions: Any) -> None:
    """Where the engine was built with one library for each kind of CPU, have it choose and load one.

    Without this it has no CPU to run on. A build with the CPU inside registers it by itself.
    """
    library = functions._lib  # the one that is open: another handle on ggml would be another copy of its state
    if library.ggml_backend_dev_count() == 0:
        folder = Path(functions.__file__).parent / "lib"
        library.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
        library.ggml_backend_load_all_from_path(os.fsencode(folder))
        if library.ggml_backend_dev_count() == 0:
            raise LoadFailed(f"llama.cpp finds no library for this CPU in {folder}: install llama-cpp-python anew")


_callbacks: list[Any] = []  # the engine keeps a bare pointer: ours must live as long as the process


def _log_callback(functions: Any) -> Any:
    if not _callbacks:

        def listen(level: int, text: bytes, _: Any) -> None:
            if level == _LOG_ERROR:
                _complaints.append(text.decode("utf-8", "replace").strip())

        _callbacks.append(functions.llama_log_callback(listen))
    return _callbacks[0]


def _load(llama: Any, model_file: Path, limit: int, embedding: bool, threads: int, low_memory: bool) -> tuple[int, int]:
    """(model, context). `low_memory` leaves the weights in the mapped file, with no private copy repacked for speed."""
    _complaints.clear()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0
    params.load_mode = llama.LLAMA_LOAD_MODE_MMAP
    params.use_extra_bufts = not low_memory
    model = llama.llama_model_load_from_file(str(model_file).encode("utf-8"), params)
    if not model:
        raise LoadFailed(f"llama.cpp refuses {model_file.name}: {'; '.join(_complaints) or 'no reason given'}")
    params = llama.llama_context_default_params()
    params.n_ctx = limit
    params.n_batch = params.n_ubatch = limit if embedding else min(BATCH_TOKENS, limit)
    params.n_outputs_max = limit if embedding else min(OUTPUT_ROWS, limit)
    params.n_threads = params.n_threads_batch = threads
    params.embeddings = embedding
    params.no_perf = True
    context = llama.llama_init_from_model(model, params)
    if not context:
        llama.llama_model_free(model)
        raise LoadFailed(f"llama.cpp opens no context of {limit} tokens: {'; '.join(_complaints) or 'no memory?'}")
    return model, context


def _free(llama: Any, model: int, context: int, batch: Any) -> None:
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
