"""An open bundle. One call at a time; `cancel` and `close` may come from another thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from . import _machine, goldens
from ._bundle import folder_of, inside, read_manifest, verify
from ._sample import Sampler
from ._stream import check_stops, decode_utf8, until_stop
from ._text import check_text, check_texts
from .errors import BadInput, BundleInvalid, Busy, Closed, MemoryBudget, WrongTask

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# What llama.cpp takes at the most; far beyond it the engines end the process.
MAX_THREADS = 512
ENGINES = {"onnxruntime": "edgekit_runtime._onnx", "llama.cpp": "edgekit_runtime._llama"}

_CALLS = {
    "embedding": {"embed", "tokenize", "encode", "run"},
    "text-classification": {"classify", "tokenize", "encode", "run"},
    "token-classification": {"classify", "tokenize", "encode", "run"},
    "image-classification": {"classify", "run"},
    "causal-lm": {"tokenize", "chat_ids", "logits", "generate", "chat"},
    "tensors": {"run"},
}
# The engine's method, where its name is another.
_SERVED_BY = {"generate": "prompt", "chat": "chat_prompt", "chat_ids": "chat_prompt"}


class Engine(Protocol):
    """What every engine offers; beyond it, the methods of the calls it can serve."""

    version: str

    def begin(self) -> None: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


class Session:
    """Made by `edgekit_runtime.open`. `info` is the manifest, with what was found here under "runtime"."""

    def __init__(self, engine: Engine, info: dict[str, Any], folder: Path) -> None:
        self.info = info
        self.engine: Any = engine  # for edgekit_runtime itself; an app uses the calls below
        self._folder = folder
        self._in_flight = threading.Lock()  # held from the start of a call to its end, also between two yields
        self._stepping = threading.Lock()  # held while the engine works: close() waits for it
        self._replaying: int | None = None  # the thread whose self_test runs: its calls are parts of that one
        self._closed = False

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """The graph's outputs by name, of tensors named and shaped as the manifest's `inputs` say."""
        with self._call("run") as engine:
            return cast(dict[str, Array], engine.run(inputs))

    def tokenize(self, text: str) -> list[int]:
        """Ids with the special tokens the model wants, never truncated."""
        with self._call("tokenize") as engine:
            return cast(list[int], engine.tokenize(check_text(text)))

    def encode(self, text: str) -> dict[str, Array]:
        """The tensors that `run` takes for one text, cut to max_tokens."""
        with self._call("encode") as engine:
            return cast(dict[str, Array], engine.encode(check_text(text)))

    def embed(self, texts: str | Sequence[str], batch_size: int = 1) -> Floats:
        """float32 [n, width]. Each text is cut to the manifest's max_tokens.

        One text at a time is what was measured. A larger `batch_size` may be faster and takes more memory, and a
        dynamically quantized model scales its activations by the batch: a text's figures then depend on its company.
        """
        with self._call("embed") as engine:
            return cast(Floats, engine.embed(check_texts(texts), _positive("batch_size", batch_size)))

    def classify(self, inputs: Any, batch_size: int = 1) -> list[list[dict[str, Any]]]:
        """Per input, by the task. Text: [{label, score}], best first, of a string or, in a list, a pair. Tokens:
        [{start, end, word, label, score}] over the whole text, by pieces of max_tokens. Images: paths, uint8 arrays
        [height, width, 3], or one float32 array [n, 3, height, width] that is preprocessed already.
        """
        with self._call("classify") as engine:
            if self.info["task"] != "image-classification":
                inputs = check_texts(inputs, pairs=self.info["task"] == "text-classification")
            return cast(list[list[dict[str, Any]]], engine.classify(inputs, _positive("batch_size", batch_size)))

    def chat_ids(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        """The ids of the prompt that `chat` would answer."""
        with self._call("chat_ids") as engine:
            return cast(list[int], engine.chat_prompt(messages, 1)[0])

    def logits(self, ids: Sequence[int], out: Floats | None = None) -> Floats:
        """float32 [len(ids), vocabulary], teacher-forced from an empty context, written into `out` if given."""
        with self._call("logits") as engine:
            return cast(Floats, engine.logits(ids, out))

    def generate(
        self,
        prompt: str | Sequence[int],
        max_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        top_p: float = 1.0,
    ) -> Iterator[str]:
        """The continuation of `prompt`, as it comes. Temperature 0 is greedy. No part of a stop string is emitted.

        `max_tokens` defaults to 256, or to what the context leaves if that is less; a number that does not fit beside
        the prompt raises PromptTooLong. The session stays busy until the iterator is exhausted, closed or forgotten.
        """
        sampler, stops = Sampler(temperature, top_p, seed), check_stops(stop)
        return self._stream("generate", lambda engine: engine.prompt(prompt, max_tokens), sampler, stops)

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        max_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        top_p: float = 1.0,
    ) -> Iterator[str]:
        """The assistant's answer to [{role, content}], as it comes; the bundle's chat template is applied."""
        sampler, stops = Sampler(temperature, top_p, seed), check_stops(stop)
        return self._stream("chat", lambda engine: engine.chat_prompt(messages, max_tokens), sampler, stops)

    def self_test(self) -> list[goldens.Result]:
        """Replay the goldens packed with the model: [{name, passed, difference, tolerance}]."""
        with self._taken():
            self._replaying = threading.get_ident()
            try:
                return goldens.replay(self, goldens.read(self._folder, self.info))
            finally:
                self._replaying = None

    def cancel(self) -> None:
        """Stop the running call: it raises Cancelled, a stream within one token. Without a call, nothing happens."""
        if not self._closed:
            self.engine.cancel()

    def close(self) -> None:
        """Free the model. A running call is cancelled first. Closing twice is allowed."""
        self._closed = True
        self.engine.cancel()
        with self._stepping:
            self.engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(
        self, call: str, prompt: Callable[[Any], tuple[list[int], int]], sampler: Sampler, stops: Sequence[str]
    ) -> Iterator[str]:
        """The answer's texts. Begun already: the prompt is checked, and a cancel() from now on is not lost."""
        stream = self._texts(call, prompt, sampler, stops)
        next(stream)
        return stream

    def _texts(
        self, call: str, prompt: Callable[[Any], tuple[list[int], int]], sampler: Sampler, stops: Sequence[str]
    ) -> Iterator[str]:
        """First "", once the prompt is known to fit, then the answer. Busy until exhausted, closed or forgotten."""
        with self._flight(call) as engine:
            with self._step():
                ids, max_tokens = prompt(engine)
            yield ""
            texts = until_stop(decode_utf8(engine.pieces(ids, max_tokens, sampler)), stops)
            while True:
                with self._step():
                    text = next(texts, None)
                if text is None:
                    return
                yield text

    @contextmanager
    def _call(self, name: str) -> Iterator[Any]:
        """The engine, for a call that is over when it returns."""
        with self._flight(name) as engine, self._step():
            yield engine

    @contextmanager
    def _flight(self, name: str) -> Iterator[Any]:
        """The engine, for the length of one call, between whose steps others may close the session."""
        self._check_open()
        can = [call for call in sorted(_CALLS[self.info["task"]]) if hasattr(self.engine, _SERVED_BY.get(call, call))]
        if name not in can:
            others = ", ".join(f"{call}()" for call in can)
            raise WrongTask(
                f"a bundle for {self.info['task']} with {self.info['engine']} has no {name}(), but {others}"
            )
        if self._replaying == threading.get_ident():
            yield self.engine
            return
        with self._taken():
            yield self.engine

    @contextmanager
    def _taken(self) -> Iterator[None]:
        """Busy until the end; from now on a cancel() is heard."""
        self._check_open()
        if not self._in_flight.acquire(blocking=False):
            raise Busy("another call is running on this session: wait for it, cancel() it, or open a second session")
        try:
            self.engine.begin()
            yield
        finally:
            self._in_flight.release()

    @contextmanager
    def _step(self) -> Iterator[None]:
        with self._stepping:
            self._check_open()
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the session is closed")


def open_session(
    folder: str | os.PathLike[str],
    threads: int | None,
    memory_budget: int | None,
    low_memory: bool,
    verify_files: bool,
) -> Session:
    """See `edgekit_runtime.open`. Everything that can be refused is refused before the engine is imported."""
    root = folder_of(folder)
    info = verify(root) if verify_files else read_manifest(root)
    notes = _check_memory(info, root, memory_budget)
    session = load(root, info, threads, low_memory)
    session.info["runtime"]["notes"] += notes
    return session


def load(
    folder: Path,
    info: dict[str, Any],
    threads: int | None,
    low_memory: bool,
    model: Path | None = None,
    isa_safety: bool = True,
) -> Session:
    """A session on a bundle whose files are known to be right; with `model`, on another file of the same kind.

    Without `isa_safety` int8 sums may saturate where the CPU has no VNNI: for measuring what the guard is worth.
    """
    if info["engine"] not in ENGINES:
        raise BundleInvalid(f"the engine {info['engine']!r} is not one of {', '.join(ENGINES)}")
    notes = _machine.check_isa(info.get("min_isa") or {})
    threads, thread_notes = _threads(info, threads)
    model = model or inside(folder, info, info["model_file"])
    engine = import_module(ENGINES[info["engine"]]).Engine(folder, info, threads, low_memory, model, isa_safety)
    notes += thread_notes
    info["runtime"] = {"engine": engine.version, "threads": threads, "low_memory": low_memory, "notes": notes}
    return Session(engine, info, folder)


def _threads(info: dict[str, Any], asked: int | None) -> tuple[int, list[str]]:
    """Those asked for; else the bundle's, which are its device's fast cores, as far as there are so many here."""
    if asked is not None:
        if _positive("threads", asked) > MAX_THREADS:
            raise BadInput(f"threads is {asked}, expected 1 to {MAX_THREADS}")
        return asked, []
    here, packed = _machine.physical_cores(), (info.get("device") or {}).get("threads")
    if type(packed) is not int or packed < 1:
        return here, []
    if packed <= here:
        return packed, []
    return here, [f"the bundle was packed for {packed} threads, here are {here} cores to use"]


def _check_memory(info: dict[str, Any], folder: Path, memory_budget: int | None) -> list[str]:
    """MemoryBudget if the measured peak, or where none was measured the model's file alone, exceeds the budget."""
    if memory_budget is None:
        return []
    _positive("memory_budget", memory_budget)
    peak = (info.get("memory") or {}).get("peak_rss_bytes")
    if isinstance(peak, int):
        need, what, notes = peak, "took at its measured peak", []
    else:
        need, what = (folder / info["model_file"]).stat().st_size, "has in its file alone"
        notes = ["the manifest has no measured peak: the memory budget was held against the model's file only"]
    if need > memory_budget:
        raise MemoryBudget(
            f"{info['name']} {what} {need / 2**20:.0f} MiB, {memory_budget / 2**20:.0f} MiB are allowed:"
            " raise the budget or pack for a smaller one"
        )
    return notes


def _positive(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise BadInput(f"{name} is {value!r}, expected 1 or more")
    return value
